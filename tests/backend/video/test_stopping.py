"""Work in the background that nobody wants any more, or that is too much: it ends, and can be gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from backend.app import create_app
from backend.assembly import Backend
from backend.errors import JobsUnavailable
from backend.video import board, tracking
from backend.video.track_works import TrackWorks
from backend.video.work import Work
from benchmarks import moving
from model.prompt import Box
from tests.backend.conftest import Photos, ready
from tests.backend.video.conftest import ADDRESS, Clip, keyframe, region, request, webhook
from tests.backend.video.test_suggest import KEY, ask, wait_for
from tests.model.frames.clips import write

LONG = 80
OTHER = "/data/upload/1/other.mp4"


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    frames = [frame.image for frame in moving.clip(moving.Path(seed=5, frames=LONG))]
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    return write(path, frames, rate=25, preset="ultrafast").read_bytes()


@pytest.fixture
def backend(make_backend: Callable[..., Backend], photos: Photos, long_clip: bytes) -> Backend:
    """One that answers at once, and goes on in the background."""
    photos.files[ADDRESS] = photos.files[OTHER] = long_clip
    return ready(make_backend(video_seconds=0.001, video_event_seconds=0))


@pytest.fixture
def client(backend: Backend) -> FlaskClient:
    return create_app(backend).test_client()


def body(clip: Clip, *ids: str, **where: Any) -> dict[str, Any]:
    return request(*(region(id, [keyframe(1, clip.boxes[0])]) for id in ids), **where)


def begin(client: FlaskClient, backend: Backend, asked: dict[str, Any]) -> Work:
    """Ask, and wait until something was found."""
    ask(client, asked)
    work = backend.suggester.videos.tracking.works()[0]
    wait_for(lambda: work.done >= 2)
    return work


def test_a_track_is_cancelled_as_a_training_is(client: FlaskClient, backend: Backend, clip: Clip) -> None:
    """By its id; asked for again it goes on from the last mask that was kept, and ends as if it had never
    been stopped."""
    work = begin(client, backend, body(clip, "region1"))
    (shown,) = client.get("/jobs").json["tracks"]
    assert shown["id"] == work.id and client.get(f"/jobs/{work.id}").json["state"] == "running"
    answer = client.delete(f"/jobs/{work.id}")
    assert (answer.status_code, answer.json["state"], answer.json["message"]) == (200, "cancelled", "by request")
    wait_for(lambda: "pam_studio_tracks 0.0" in client.get("/metrics").text)
    kept = list(backend.ledger.tracks.masks(KEY))
    assert len(kept) < LONG
    ask(client, body(clip, "region1"))
    again = backend.suggester.videos.tracking.one(work.id)
    assert again is not None and again is not work and again.frames >= LONG - len(kept) - 1
    wait_for(lambda: again.is_over)
    masks = list(backend.ledger.tracks.masks(KEY))
    assert again.state == "done" and masks[: len(kept)] == kept and [m.frame for m in masks] == list(range(LONG))


def test_another_process_cancels_a_track(
    client: FlaskClient,
    backend: Backend,
    clip: Clip,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`pam-studio jobs` lists what `GET /jobs` lists, and what it asks to stop stops; the log says how far it is."""
    monkeypatch.setattr(board, "_LOG_SECONDS", 0.0)
    caplog.set_level("INFO")
    work = begin(client, backend, body(clip, "region1"))
    with TrackWorks(backend.settings.data_dir) as seen:
        (listed,) = seen.all()
        assert listed["id"] == work.id and listed["state"] == "running"
        assert seen.ask_to_stop(work.id)["state"] == "running"
        wait_for(lambda: work.is_over)
        assert work.state == "cancelled"
        told = client.get("/jobs").json["tracks"]  # which waits until the end is written down
        assert seen.all() == told
        ask(client, body(clip, "region1"))
        again = backend.suggester.videos.tracking.one(work.id)
        assert again is not None and again is not work
        wait_for(lambda: again.is_over)
        assert f"{work.id} of task 7: " in caplog.text and f" of {again.frames} frames, " in caplog.text
        assert [each["state"] for each in client.get("/jobs").json["tracks"]] == ["done"]
        assert again.state == "done" and [each["state"] for each in seen.all()] == ["done"]


def test_a_list_that_cannot_be_kept(
    client: FlaskClient, backend: Backend, clip: Clip, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing that is followed suffers; the log says why other processes see nothing."""

    def full(*_: object) -> None:
        raise JobsUnavailable("the list of tracks failed: free some space on its disk")

    for what in ("put", "keep_only", "unwanted"):
        monkeypatch.setattr(TrackWorks, what, full)
    work = begin(client, backend, body(clip, "region1"))
    wait_for(lambda: work.is_over)
    assert work.state == "done" and "free some space" in caplog.text
    assert client.get("/jobs").json["tracks"][0]["state"] == "done"


@pytest.mark.parametrize("id", ["track-999", "track", "1e3", "-1"])
def test_a_track_that_is_none(client: FlaskClient, id: str) -> None:
    """Said as of a job."""
    for answer in (client.get(f"/jobs/{id}"), client.delete(f"/jobs/{id}"), client.post(f"/jobs/{id}/cancel")):
        assert answer.status_code == 404 and answer.json["error"]["code"] == "no_such_job"


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([webhook("ANNOTATION_CREATED", region("region1", [keyframe(1, Box(10, 10, 40, 40))]))], "cancelled"),
        ([webhook("ANNOTATION_UPDATED", region("another", [keyframe(1, Box(10, 10, 40, 40))]))], "cancelled"),
        ([webhook("ANNOTATION_CREATED", []), webhook("ANNOTATIONS_DELETED")], "cancelled"),
        ([webhook("TASKS_DELETED")], "cancelled"),
        ([webhook("ANNOTATION_CREATED", [], task=8), webhook("TASKS_DELETED", task=8)], "running"),
        ([webhook("ANNOTATIONS_DELETED", annotation=77)], "running"),
    ],
    ids=["submitted", "region gone", "annotation deleted", "task deleted", "of another task", "of an unknown one"],
)
def test_what_is_done_with_is_followed_no_more(
    client: FlaskClient, backend: Backend, clip: Clip, events: list[dict[str, Any]], state: str
) -> None:
    """Label Studio's webhooks say so; what they say of others is no reason to stop."""
    work = begin(client, backend, body(clip, "region1"))
    for event in events:
        assert client.post("/webhook", json=event).status_code == 201
    assert work.state == state
    backend.suggester.videos.tracking.cancel(KEY)


def test_too_many_wait(client: FlaskClient, backend: Backend, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was asked for longest ago gives way and says why; none is lost: it can be asked for again."""
    monkeypatch.setattr(tracking, "MOST_WORKS", 2)
    ask(client, body(clip, "region1", "region2", "region3"))
    states = {work.key.region_id: work for work in backend.suggester.videos.tracking.works()}
    assert [states[f"region{n}"].state == "cancelled" for n in (1, 2, 3)] == [True, False, False]
    assert "more than 2 objects" in states["region1"].message
    for work in states.values():
        client.delete(f"/jobs/{work.id}")


def test_those_that_were_begun_are_put_away(
    client: FlaskClient, backend: Backend, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A work that others go before is held for a while, then goes on from what the ledger has: all its masks are found,
    and nothing of it stays in memory meanwhile."""
    monkeypatch.setattr(tracking, "_BEGUN", 1)
    first = begin(client, backend, body(clip, "region1"))
    others = [begin(client, backend, body(clip, f"region{n}")) for n in (2, 3)]
    assert first.state == "queued" and first.done < LONG
    for work in others:
        assert client.post(f"/jobs/{work.id}/cancel").json["state"] == "cancelled"
    wait_for(lambda: first.is_over)
    assert first.state == "done"
    assert [mask.frame for mask in backend.ledger.tracks.masks(KEY)] == list(range(LONG))


def test_a_cancelled_work_lets_go_of_its_video(
    make_backend: Callable[..., Backend], photos: Photos, clip: Clip, long_clip: bytes, tmp_path: Path
) -> None:
    """Whether it had begun or not: else the disk would fill with videos that nobody can take away."""
    photos.files[ADDRESS], photos.files[OTHER] = long_clip, clip.data
    backend = ready(make_backend(video_seconds=0.001, video_event_seconds=0, video_cache_bytes=0))
    client = create_app(backend).test_client()
    ask(client, body(clip, "region1", "region2"))
    for work in backend.suggester.videos.tracking.works():
        client.delete(f"/jobs/{work.id}")
    wait_for(lambda: "pam_studio_tracks 0.0" in client.get("/metrics").text)
    ask(client, body(clip, "region3", address=OTHER))
    files = [path for path in (tmp_path / "data" / "videos").iterdir()]
    assert [path.read_bytes() for path in files] == [clip.data]
