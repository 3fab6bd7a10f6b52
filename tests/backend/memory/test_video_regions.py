"""A model has taken over: it is shown the objects of videos that annotators named, each on one frame of its file."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from backend import labeling_config
from backend.app import create_app
from backend.assembly import Backend, assemble
from backend.ledger import Project
from backend.ledger.memories import UNSEEN
from backend.ledger.tracks import Key
from backend.memory.reembedding import Reembedding
from backend.settings import Settings
from backend.video.grid import grid_of
from backend.video.video_files import frames_of
from backend.video.words import Video
from model import PAM, load
from model.frames import FrameLimits
from model.prompt import Box
from tests.backend.conftest import Photos, ready
from tests.backend.label_studio_double import LEGACY, label_studio_double
from tests.backend.models.runs import trained
from tests.backend.video.conftest import ADDRESS, CONFIG, RATE, Clip, keyframe, region, request, webhook
from tests.backend.video.test_suggest import ask, cut, sequence_of, words_of

SECOND = "/data/upload/1/second.mp4"
"""The video of task 8: the same clip, as another file."""

ELSEWHERE = Box(330, 20, 460, 120)
EVERYTHING = {(7, "region1"), (7, "region2"), (8, "region1")}


@pytest.fixture(scope="module")
def other() -> PAM:
    """A model with slightly other weights."""
    return load(trained(1)[0], threads=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return Clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory, nano: PAM, clip: Clip) -> Path:
    """What a server with nano left: two objects, boxed on different frames of task 7's video, and one of task 8's, all
    of them named; and one that was drawn by hand."""
    folder = tmp_path_factory.mktemp("annotated")
    with label_studio_double() as studio:
        photos = Photos(studio)
        photos.files |= videos(clip)
        settings = Settings(
            data_dir=folder, label_studio_url=photos.url, label_studio_api_key=LEGACY, video_seconds=80,
            video_event_seconds=0,
        )  # fmt: skip
        backend = ready(assemble(settings, lambda: nano))
        backend.ledger.remember_project(Project(3, CONFIG))
        client = create_app(backend).test_client()
        first, second = region("region1", [keyframe(9, clip.boxes[8])]), region("region2", [keyframe(5, ELSEWHERE)])
        submit(client, 8, SECOND, named(boxed(client, 8, SECOND, first), {"region1": "teapot"}))
        said = boxed(client, 7, ADDRESS, first, second)
        submit(client, 7, ADDRESS, named(said, {"region1": "teapot", "region2": "corner"}), by_hand())
        backend.close()
    return folder


def videos(clip: Clip) -> dict[str, bytes]:
    return {ADDRESS: clip.data, SECOND: clip.data + b"\0" * 9}


def boxed(client: FlaskClient, task: int, address: str, *regions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results for boxes on a task's video."""
    body = request(*regions, address=address)
    body["tasks"][0]["id"] = task
    return ask(client, body)


def named(results: list[dict[str, Any]], categories: dict[str, str]) -> list[dict[str, Any]]:
    """The regions of an answer, each with a category of the annotator's."""
    return [
        one
        for id, category in categories.items()
        for one in region(id, sequence_of(results, id), words_of(results, id) | {"category": category})
    ]


def by_hand() -> list[dict[str, Any]]:
    return region("by hand", [keyframe(2, Box(5, 5, 60, 60))], {"category": "thing"})


def submit(client: FlaskClient, task: int, address: str, *regions: list[dict[str, Any]]) -> None:
    event = webhook("ANNOTATION_CREATED", [result for one in regions for result in one], task=task, annotation=task)
    event["task"]["data"] = {"video": address}
    assert client.post("/webhook", json=event).status_code == 201


@pytest.fixture
def start(
    annotated: Path, make_backend: Callable[..., Backend], photos: Photos, clip: Clip, tmp_path: Path, monkeypatch: Any
) -> Callable[[PAM], Backend]:
    """Starts a server on what the annotators left; what it does in the background waits to be called."""
    monkeypatch.setattr(Reembedding, "start", lambda self: None)
    photos.files |= videos(clip)
    shutil.copytree(annotated, tmp_path / "data")
    return lambda pam: ready(make_backend(lambda: pam, video_seconds=80, video_event_seconds=0))


def seen(backend: Backend, version: str) -> set[tuple[int, str]]:
    """Task and region ids of what a model has seen."""
    return {(task, m.region_id) for task in (7, 8) for m in backend.ledger.memories.of_task(3, task, version)}


def test_the_memory_of_a_video_answers_again(start: Callable[[PAM], Backend], nano: PAM, other: PAM, clip: Clip):
    """After a promotion the new model speaks for itself, until it has seen the objects; a rollback has lost nothing."""
    backend = start(nano)
    client = create_app(backend).test_client()

    def category(id: str) -> str:
        """Of the same object, boxed by somebody else on another frame."""
        return words_of(boxed(client, 9, ADDRESS, region(id, [keyframe(5, clip.boxes[4])])), id)["category"]

    backend.engine.swap(other)
    assert category("swapped") != "teapot"
    assert backend.reembedding.run() == 2
    assert seen(backend, other.version) == EVERYTHING
    assert category("seen") == "teapot"
    told = backend.ledger.suggestion("seen")
    assert told is not None and (told.model_version, told.sources["category"]) == (other.version, "memory")
    assert backend.reembedding.run() == 0
    backend.engine.swap(nano)
    assert category("rolled back") == "teapot"
    assert backend.ledger.memories.of_task(3, 7, UNSEEN) == [], "what was drawn by hand has no mask to be seen by"


def test_it_is_seen_as_it_would_be_described(start: Callable[[PAM], Backend], other: PAM):
    """One kind of embedding, whichever way it came about: on the frame that was boxed, and there alone."""
    backend = start(other)
    backend.reembedding.run()
    videos = backend.suggester.videos
    config = labeling_config.parse(CONFIG)
    with videos.files.using(3, ADDRESS, 7, backend.suggester._studios.of(3)) as file:
        frames = frames_of(file, 7, FrameLimits())
        about = Video(ADDRESS, file, frames, grid_of(frames, RATE), time.monotonic())
        for memory in backend.ledger.memories.of_task(3, 7, other.version):
            track = backend.ledger.tracks.track(Key(3, 7, memory.region_id))
            assert track is not None
            said = videos._words.describe(track, None, about, config).region.embedding
            assert said is not None
            assert said @ memory.embedding.astype(np.float32) == pytest.approx(1, abs=2e-3)


def forget_file(backend: Backend) -> None:
    for file in (backend.settings.data_dir / "videos").iterdir():
        file.unlink()


def damage(backend: Backend, **changes: Any) -> None:
    """Change the mask that region1 of task 7 is looked at by."""
    key = Key(3, 7, "region1")
    (mask,) = backend.ledger.tracks.masks(key, 8, 8)
    backend.ledger.tracks.add(key, [mask._replace(**changes)])


def look_beyond(backend: Backend) -> None:
    """As if the file had had more frames once."""
    key = Key(3, 7, "region1")
    track = backend.ledger.tracks.track(key)
    assert track is not None
    (anchor,) = track.anchors
    damage(backend, frame=500)
    backend.ledger.tracks.update(replace(track, anchors=(replace(anchor, index=500),)))


def gone(backend: Backend, photos: Photos) -> None:
    forget_file(backend)
    del photos.files[ADDRESS]


def exchanged(backend: Backend, photos: Photos) -> None:
    forget_file(backend)
    photos.files[ADDRESS] += b"\0" * 9


def rotten(backend: Backend, _: Photos) -> None:
    """On the server's own disk."""
    with backend.suggester.videos.files.using(3, ADDRESS, 7, backend.suggester._studios.of(3)) as file:
        file.path.write_bytes(cut(file.path.read_bytes()))


SPOILED: dict[str, tuple[Callable[[Backend, Photos], object], set[str], str]] = {
    "the video is gone": (gone, {"region1", "region2"}, "task 7 of project 3 cannot be seen anew: .*404"),
    "it is another one": (exchanged, {"region1", "region2"}, "task 7 .*: the video is another one by now than 2 "),
    "it is damaged": (rotten, {"region1", "region2"}, "task 7 .*: the video of task 7 "),
    "no track": (
        lambda backend, _: backend.ledger.tracks.forget(Key(3, 7, "region1")), {"region1"},
        "no mask is kept of 1 objects in the video of task 7 of project 3, such as region region1",
    ),
    "a damaged mask": (
        lambda backend, _: damage(backend, rle="!!"), {"region1"}, "region region1 of task 7 .*: the COCO RLE"
    ),
    "no such frame": (
        lambda backend, _: look_beyond(backend), {"region1"}, "frame 500 of the video of task 7 .* has 20 frames"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILED)
def test_what_cannot_be_seen_holds_nothing_up(
    case: str,
    start: Callable[[PAM], Backend],
    other: PAM,
    photos: Photos,
    caplog: pytest.LogCaptureFixture,
):
    """Videos and masks that are lost or damaged: a line in the log says which, and all others are seen."""
    spoil, lost, said = SPOILED[case]
    backend = start(other)
    backend.suggester.memories.catch_up(3, labeling_config.parse(CONFIG), other.version)
    assert next(backend.ledger.memories.unseen(other.version)) == (3, 7), "the spoiled one comes first"
    spoil(backend, photos)
    assert backend.reembedding.run() == 2 and backend.reembedding.run() == 0, "it is not tried without end"
    assert seen(backend, other.version) == EVERYTHING - {(7, id) for id in lost}
    assert re.search(said, caplog.text) and str(backend.settings.data_dir) not in caplog.text


def test_a_video_that_comes_back_is_seen_later(
    start: Callable[[PAM], Backend], other: PAM, photos: Photos, monkeypatch: pytest.MonkeyPatch
):
    """As pictures are: a disk that was not mounted loses no memory."""
    backend = start(other)
    content = photos.files[ADDRESS]
    gone(backend, photos)
    backend.reembedding.run()
    photos.files[ADDRESS] = content
    monkeypatch.setattr("backend.memory.reembedding.RETRY_SECONDS", -1.0)
    assert backend.reembedding.run() == 1
    assert seen(backend, other.version) == EVERYTHING


def test_lost_videos_are_tried_last(
    start: Callable[[PAM], Backend], other: PAM, photos: Photos, monkeypatch: pytest.MonkeyPatch
):
    """A look ends where many fail in a row; those that are lost for good must not be what every look begins with."""
    monkeypatch.setattr("backend.memory.reembedding._FAILURES_IN_A_ROW", 1)
    monkeypatch.setattr("backend.memory.reembedding.RETRY_SECONDS", -1.0)
    backend = start(other)
    gone(backend, photos)
    backend.reembedding.run()
    assert seen(backend, other.version) == set()
    backend.reembedding.run()
    assert seen(backend, other.version) == {(8, "region1")}


def test_killed_it_goes_on(start: Callable[[PAM], Backend], other: PAM, monkeypatch: pytest.MonkeyPatch):
    """A server that dies between two objects of a video: the next one looks at what is left, and at nothing twice."""
    looks: list[int] = []
    embed, deadly = other.embed, True

    def dies(found: Any) -> np.ndarray:
        if deadly and len(looks) == 2:
            raise KeyboardInterrupt
        looks.append(len(found))
        return embed(found)

    monkeypatch.setattr(other, "embed", dies)
    killed = start(other)
    with pytest.raises(KeyboardInterrupt):
        killed.reembedding.run()
    assert len(seen(killed, other.version)) == 2
    killed.close()
    deadly = False
    looks.clear()
    again = start(other)
    assert again.reembedding.run() == 1 and looks == [1]
    assert seen(again, other.version) == EVERYTHING
