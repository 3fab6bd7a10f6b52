"""Boxes on videos, over HTTP: real clips, the real model, and a Label Studio that serves the files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from backend.app import create_app
from backend.assembly import Backend
from backend.json_node import Node
from backend.ledger.tracks import Key
from backend.video.keyframes import Keyframe, interpolated, read_sequence
from benchmarks import moving
from model.prompt import Box
from model.region import FIELDS
from tests.backend.conftest import Photos, ready
from tests.backend.video.conftest import ADDRESS, FRAMES, Clip, keyframe, region, request
from tests.model.frames.clips import numbered, write

KEY = Key(3, 7, "region1")


def ask(client: FlaskClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of the one prediction, or nothing."""
    response = client.post("/predict", json=body)
    assert response.status_code == 200, response.json
    return response.json["results"][0]["result"] if response.json["results"] else []


def sequence_of(results: list[dict[str, Any]], id: str = "region1") -> list[dict[str, Any]]:
    (box,) = [r for r in results if r["type"] == "videorectangle" and r["id"] == id]
    return box["value"]["sequence"]


def words_of(results: list[dict[str, Any]], id: str = "region1") -> dict[str, str]:
    return {r["from_name"]: r["value"]["text"][0] for r in results if r["type"] == "textarea" and r["id"] == id}


def objects_in(results: list[dict[str, Any]]) -> set[str]:
    return {r["id"] for r in results if r["type"] == "videorectangle"}


def shown(sequence: list[dict[str, Any]], number: int) -> Box | None:
    """The box that Label Studio draws on a frame, in pixels."""
    shape = interpolated(read_sequence(Node(sequence)), number)
    return None if shape is None else Keyframe(number, shape).box(moving.HEIGHT, moving.WIDTH)


def overlap(box: Box | None, other: Box) -> float:
    if box is None:
        return 0.0
    across, down = (min(box[i + 2], other[i + 2]) - max(box[i], other[i]) for i in (0, 1))
    areas = [(b.x1 - b.x0) * (b.y1 - b.y0) for b in (box, other)]
    both = max(0, across) * max(0, down)
    return both / (sum(areas) - both)


def wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(6000):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("it did not come about within two minutes")


@pytest.fixture
def backend(make_backend: Callable[..., Backend], photos: Photos, clip: Clip) -> Backend:
    photos.files[ADDRESS] = clip.data
    return ready(make_backend(video_seconds=80))


@pytest.fixture
def client(backend: Backend) -> FlaskClient:
    return create_app(backend).test_client()


def test_a_box_is_followed_and_described(client: FlaskClient, backend: Backend, clip: Clip) -> None:
    """One box on a frame in the middle becomes boxes on all frames, both ways, under the region's own id, with words;
    the masks behind them are in the ledger, and the work is to be seen at /jobs and /metrics."""
    results = ask(client, request(region("region1", [keyframe(9, clip.boxes[8])])))
    assert objects_in(results) == {"region1"}
    sequence = sequence_of(results)
    assert len(sequence) < FRAMES
    assert np.mean([overlap(shown(sequence, n + 1), clip.boxes[n]) for n in range(FRAMES)]) > 0.7
    assert set(words_of(results)) == set(FIELDS) and results[0]["value"]["labels"] == ["Object"]
    masks = {mask.frame: mask for mask in backend.ledger.tracks.masks(KEY)}
    assert sorted(masks) == list(range(FRAMES)) and all(mask.rle for mask in masks.values())

    (track,) = client.get("/jobs").json["tracks"]
    assert (track["state"], track["region_id"]) == ("done", "region1")
    assert track["frames"] == {"done": FRAMES, "of": FRAMES}
    metrics = client.get("/metrics").text
    assert "pam_studio_tracked_frames_total" in metrics and "pam_studio_tracks 0.0" in metrics


def test_what_is_known_is_not_answered_again(client: FlaskClient, clip: Clip, photos: Photos) -> None:
    """A word that was edited makes Label Studio ask again; an answer would replace the region that is being edited."""
    results = ask(client, request(region("region1", [keyframe(1, clip.boxes[0])])))
    again = region("region1", sequence_of(results), words_of(results) | {"caption": "My own words."})
    assert ask(client, request(again)) == []
    assert photos.fetched.count(ADDRESS) == 1


def test_a_box_on_a_later_frame_begins_anew_from_there(client: FlaskClient, backend: Backend, clip: Clip) -> None:
    """A correction changes what comes after it and nothing before; the annotator's words come back as they are, and a
    word that was taken away stays away."""
    first = ask(client, request(region("region1", [keyframe(1, clip.boxes[0])])))
    before = {mask.frame: mask for mask in backend.ledger.tracks.masks(KEY)}
    corner = Box(300, 150, 360, 200)
    mended = [k for k in sequence_of(first) if k["frame"] != 11] + [keyframe(11, corner)]
    mended.sort(key=lambda k: k["frame"])
    results = ask(client, request(region("region1", mended, {"category": "my word"})))
    assert words_of(results) == {"category": "my word"}
    after = {mask.frame: mask for mask in backend.ledger.tracks.masks(KEY)}
    assert all(after[n] == before[n] for n in range(10)) and all(after[n] != before[n] for n in range(10, FRAMES))
    box = shown(sequence_of(results), 11)
    assert box is not None and overlap(box, corner) > 0.3
    track = backend.ledger.tracks.track(KEY)
    assert track is not None and [anchor.number for anchor in track.anchors] == [1, 11]


def test_what_was_switched_off_stays_off(client: FlaskClient, clip: Clip) -> None:
    """The annotator says that the object is not seen after a frame: no answer shows it until the next keyframe."""
    first = sequence_of(ask(client, request(region("region1", [keyframe(1, clip.boxes[0])]))))
    switched = [k | {"enabled": False} if k is first[0] else k for k in first]
    switched = [k for k in switched if not 1 < k["frame"] < 8]
    assert switched[1]["frame"] >= 8
    answered = ask(client, request(region("region1", switched)))
    results = sequence_of(answered) if answered else switched  # nothing to add to what is on the screen
    assert shown(results, 1) is not None and shown(results, 4) is None
    assert shown(results, FRAMES) is not None


def test_a_second_region_leaves_the_first_alone(client: FlaskClient, clip: Clip) -> None:
    """Label Studio sends all regions with the label; only what is new is answered."""
    first = ask(client, request(region("region1", [keyframe(1, clip.boxes[0])])))
    old = region("region1", sequence_of(first), words_of(first))
    results = ask(client, request(old, region("region2", [keyframe(5, Box(250, 100, 330, 180))])))
    assert objects_in(results) == {"region2"} and "region1" not in {r["id"] for r in results}


def test_a_long_way_goes_on_in_the_background(make_backend: Callable[..., Backend], photos: Photos, clip: Clip) -> None:
    """The first answer comes in time with what there is, and ends in a keyframe that is switched off; a later request
    brings the rest."""
    photos.files[ADDRESS] = clip.data
    backend = ready(make_backend(video_seconds=0.001))
    client = create_app(backend).test_client()
    body = request(region("region1", [keyframe(1, clip.boxes[0])]))
    first = ask(client, body)
    sequence = sequence_of(first) if first else body["params"]["context"]["result"][0]["value"]["sequence"]
    assert not first or not sequence[-1]["enabled"]
    works = backend.suggester.videos.tracking.works
    wait_for(lambda: all(work.is_over for work in works()))
    results = ask(client, request(region("region1", sequence)))
    assert overlap(shown(sequence_of(results), FRAMES), clip.boxes[-1]) > 0.5


def test_a_restart_goes_on_where_it_was(make_backend: Callable[..., Backend], photos: Photos, clip: Clip) -> None:
    """A server that stops on the way loses nothing: the next one follows the rest, from the last mask there is."""
    photos.files[ADDRESS] = clip.data
    backend = ready(make_backend(video_seconds=0.001))
    body = request(region("region1", [keyframe(1, clip.boxes[0])]))
    ask(create_app(backend).test_client(), body)
    works = backend.suggester.videos.tracking.works
    wait_for(lambda: any(work.done >= 3 for work in works()))
    backend.suggester.videos.close()
    known = list(backend.ledger.tracks.masks(KEY))
    assert 3 <= len(known)
    again = ready(make_backend(video_seconds=80))
    results = ask(create_app(again).test_client(), body)
    masks = list(again.ledger.tracks.masks(KEY))
    assert masks[: len(known)] == known and [mask.frame for mask in masks] == list(range(FRAMES))
    assert overlap(shown(sequence_of(results), FRAMES), clip.boxes[-1]) > 0.5


def test_a_video_of_four_hours(make_backend: Callable[..., Backend], photos: Photos, tmp_path: Path) -> None:
    """It is followed through as many frames as the settings say, with the same answer time."""
    images = [numbered(n, 48, 80) for n in range(40)]
    path = write(tmp_path / "long.mp4", [images[n % 40] for n in range(14_400)], rate=1, preset="ultrafast")
    photos.files[ADDRESS] = path.read_bytes()
    backend = ready(make_backend(video_seconds=60, video_frames=30))
    results = ask(create_app(backend).test_client(), request(region("region1", [keyframe(1, Box(0, 60, 240, 200))])))
    assert sequence_of(results)[-1]["frame"] <= 31 * 25
    (work,) = backend.suggester.videos.tracking.works()
    assert work.frames == 30


def cut(data: bytes) -> bytes:
    return data[: len(data) // 3]


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (cut, "bad_video", "cannot be read|is damaged|cut off"),
        (lambda data: b"", "video_unavailable|bad_image|bad_video", "empty"),
        (lambda data: b"<html>" * 50, "bad_video", "video of task 7"),
        (lambda data: None, "video_unavailable", "404"),
        (lambda data: data + b"\0" * 2_000_000, "video_too_large", "more than"),
        ("audio", "bad_video", "sound|no pictures"),
        ("nothing", "bad_video", "no frames|cannot be read|no pictures"),
    ],
    ids=["cut off", "empty", "a web page", "missing", "too large", "audio only", "zero frames"],
)
def test_bad_videos_are_told(
    make_backend: Callable[..., Backend], photos: Photos, clip: Clip, tmp_path: Path, spoil: Any, code: str, said: str
) -> None:
    """A video that cannot be had or read is an error that names the task and the reason; the server goes on."""
    import re

    data = without_frames(tmp_path / "none.mp4", spoil) if isinstance(spoil, str) else spoil(clip.data)
    if data is not None:
        photos.files[ADDRESS] = data
    client = create_app(ready(make_backend(max_video_bytes=1_500_000))).test_client()
    answer = client.post("/predict", json=request(region("region1", [keyframe(1, clip.boxes[0])])))
    assert answer.status_code in (413, 422), answer.json
    assert re.fullmatch(code, answer.json["error"]["code"]) and re.search(said, answer.json["error"]["message"])
    assert "/tmp" not in answer.json["error"]["message"]
    assert client.get("/health").status_code == 200


def without_frames(path: Path, kind: str) -> bytes:
    import av

    with av.open(str(path), "w") as out:
        if kind == "audio":
            stream = out.add_stream("aac", rate=16_000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16_000
            out.mux(stream.encode(frame))
            out.mux(stream.encode())
        else:
            stream = out.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            out.start_encoding()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sequence": []}, "holds no box"),
        ({"sequence": [keyframe(1, Box(600, 10, 700, 20))]}, "outside"),
        ({"sequence": "no"}, "a list"),
    ],
)
def test_bad_boxes_are_told(client: FlaskClient, clip: Clip, change: dict, said: str) -> None:
    """A request is not trusted."""
    body = request(region("region1", [keyframe(1, clip.boxes[0])]))
    body["params"]["context"]["result"][0]["value"] |= change
    answer = client.post("/predict", json=body)
    assert 400 <= answer.status_code < 500 and said in answer.json["error"]["message"]
