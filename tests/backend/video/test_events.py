"""What happens to objects, on the timeline: told part by part, once, and never again over what a person made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.app import create_app
from backend.assembly import Backend
from backend.labeling_config import parse
from backend.ledger.track_events import TrackEvent
from backend.video import events as telling
from backend.video.grid import Grid
from backend.video.timeline import timeline
from benchmarks import moving
from tests.backend.conftest import Photos, ready
from tests.backend.video.conftest import ADDRESS, CONFIG, FRAMES, Clip, keyframe, region, request
from tests.backend.video.test_suggest import KEY, ask, objects_in, sequence_of, wait_for, words_of
from tests.model.frames.clips import write

WITHOUT = CONFIG.replace('<TimelineLabels name="event" toName="video">', "<View>").replace(
    "</TimelineLabels>", "</View>"
)
HALF = 0.4


def events_in(results: list[dict[str, Any]], of: str = "region1") -> list[tuple[int, int, str]]:
    """First and last frame, and caption, of the events of an object."""
    captions = {r["id"]: r["value"]["text"][0] for r in results if r["type"] == "textarea"}
    found = [r for r in results if r["type"] == "timelinelabels" and r["parentID"] == of]
    assert all(r["value"]["timelinelabels"] == ["event"] and len(r["value"]["ranges"]) == 1 for r in found)
    ranges = [r["value"]["ranges"][0] for r in found]
    return [(span["start"], span["end"], captions[r["id"]]) for span, r in zip(ranges, found, strict=True)]


@pytest.fixture
def make(make_backend: Callable[..., Backend], photos: Photos, clip: Clip) -> Callable[..., Backend]:
    photos.files[ADDRESS] = clip.data
    return lambda **settings: ready(make_backend(**({"video_seconds": 80} | settings)))


@pytest.fixture
def different_words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each event gets a caption of its own; what the question before it said."""
    asked: list[str] = []
    whole = telling.describe_track

    def describe(pam: Any, frames: Any, masks: Any, labels: Any, options: Any, previous: str) -> Any:
        asked.append(previous)
        return replace(whole(pam, frames, masks, labels, options, previous), caption=f"{len(asked)}.")

    monkeypatch.setattr(telling, "describe_track", describe)
    return asked


def test_a_track_has_events(make: Callable[..., Backend], clip: Clip) -> None:
    """The answer brings parts that follow on each other from the first frame to the last, each with a caption, under
    the object; whoever boxed it in the middle gets them in the same order."""
    backend = make()
    results = ask(create_app(backend).test_client(), request(region("region1", [keyframe(9, clip.boxes[8])])))
    events = events_in(results)
    assert [first for first, _, _ in events] == [1, *(last + 1 for _, last, _ in events[:-1])]
    assert events[-1][1] == FRAMES and all(caption for *_, caption in events)
    assert all(event.is_sent for event in backend.ledger.tracks.events.of(KEY) if event.caption)
    (work,) = create_app(backend).test_client().get("/jobs").json["tracks"]
    assert work["events"] >= 1 and work["state"] == "done"


def test_one_caption_for_each_part_knows_the_last(
    make: Callable[..., Backend], clip: Clip, different_words: list[str]
) -> None:
    """As many questions as parts, whatever the number of frames, each with what was said before."""
    client = create_app(make(video_event_seconds=HALF)).test_client()
    results = ask(client, request(region("region1", [keyframe(1, clip.boxes[0])])))
    events = events_in(results)
    assert [caption for *_, caption in events] == [f"{n}." for n in range(1, len(events) + 1)]
    assert different_words == ["", *(caption for *_, caption in events[:-1])] and 1 <= len(events) <= 3


def test_a_config_without_a_timeline_is_as_it_was(
    make: Callable[..., Backend], clip: Clip, different_words: list[str]
) -> None:
    """No events, and no words asked for any; nor where they are switched off."""
    backend = make()
    body = request(region("region1", [keyframe(1, clip.boxes[0])]), config=WITHOUT)
    assert {r["id"] for r in ask(create_app(backend).test_client(), body)} == {"region1"}
    silent = make(video_event_seconds=0)
    again = request(region("region2", [keyframe(1, clip.boxes[0])]))
    assert {r["id"] for r in ask(create_app(silent).test_client(), again)} == {"region2"}
    assert not different_words and not backend.ledger.tracks.events.of(KEY)


def test_what_was_answered_is_the_annotators(
    make: Callable[..., Backend], clip: Clip, different_words: list[str]
) -> None:
    """No later answer holds an event again, whatever was mended or taken away; only what nobody saw is told anew after
    a correction, and the box stays as it is where nothing else is new."""
    backend = make(video_event_seconds=HALF)
    client = create_app(backend).test_client()
    first = ask(client, request(region("region1", [keyframe(1, clip.boxes[0])])))
    sent = {r["id"] for r in first if r["type"] == "timelinelabels"}
    sequence = [k for k in sequence_of(first) if k["frame"] != 15]
    mended = sorted([*sequence, keyframe(15, clip.boxes[3])], key=lambda k: k["frame"])
    second = ask(client, request(region("region1", mended, words_of(first))))
    assert objects_in(second) == {"region1"} and not sent & {r["id"] for r in second}

    told = backend.ledger.tracks.events.of(KEY)[-1]
    backend.ledger.tracks.events.put(KEY, [told._replace(region_id="unseen", caption="It ends.", is_sent=False)])
    third = ask(client, request(region("region1", sequence_of(second), words_of(first))))
    assert {r["id"] for r in third} == {"unseen"}
    assert ask(client, request(region("region1", sequence_of(second), words_of(first)))) == []


def test_events_come_while_it_is_followed(
    make: Callable[..., Backend], photos: Photos, clip: Clip, tmp_path: Path, different_words: list[str]
) -> None:
    """A long video is told before its end is known, each frame in one event; a server that is started anew goes on
    after the last."""
    frames = [frame.image for frame in moving.clip(moving.Path(seed=5, frames=260))]
    photos.files[ADDRESS] = write(tmp_path / "long.mp4", frames, rate=25, preset="ultrafast").read_bytes()
    backend = make(video_seconds=0.001, video_event_seconds=1)
    body = request(region("region1", [keyframe(1, clip.boxes[0])]))
    ask(create_app(backend).test_client(), body)
    (work,) = backend.suggester.videos.tracking.works()
    wait_for(lambda: work.events >= 1)
    assert not work.is_over and work.done < 260
    backend.suggester.videos.close()
    before = backend.ledger.tracks.events.of(KEY)
    again = make(video_event_seconds=1)
    ask(create_app(again).test_client(), body)
    wait_for(lambda: all(work.is_over for work in again.suggester.videos.tracking.works()))
    events = again.ledger.tracks.events.of(KEY)
    assert [(e.first, e.caption) for e in events[: len(before)]] == [(e.first, e.caption) for e in before]
    assert [e.first for e in events] == [0, *(e.last + 1 for e in events[:-1])] and events[-1].last == 259


def test_what_is_gone_has_no_event(make: Callable[..., Backend], clip: Clip) -> None:
    """Nor has what the annotator switched off, for longer than a moment."""
    backend = make(video_event_seconds=0.2)
    client = create_app(backend).test_client()
    sequence = [keyframe(1, clip.boxes[0], enabled=False), keyframe(12, clip.boxes[11])]
    results = ask(client, request(region("region1", sequence)))
    shown = [number for first, last, _ in events_in(results) for number in range(first, last + 1)]
    assert 15 in shown and 5 not in shown


@pytest.mark.parametrize(
    ("shown", "event", "expected"),
    [
        ([0, 1, 2, 3], (1, 2), {"start": 2, "end": 3}),
        ([0, 0, 1, 1], (1, 1), {"start": 3, "end": 4}),
        ([0, 3, 6], (1, 4), {"start": 2, "end": 2}),
        ([0, 3, 6], (1, 2), None),
    ],
    ids=["as in the file", "each frame twice", "some are never shown", "none of it is shown"],
)
def test_events_in_the_screens_numbers(shown: list[int], event: tuple[int, int], expected: dict | None) -> None:
    """Label Studio's frames are points in time: a range holds those on which the event's frames are on the screen."""
    results = timeline([TrackEvent("e", *event, "It turns.")], "r", "Object", parse(CONFIG), Grid(25, np.array(shown)))
    ranges = [r["value"]["ranges"][0] for r in results if r["type"] == "timelinelabels"]
    assert ranges == ([expected] if expected else [])


def test_a_label_of_the_objects_own() -> None:
    """A timeline that has the object's label takes it."""
    config = parse(CONFIG.replace('<Label value="event"', '<Label value="Thing"/><Label value="Object"'))
    results = timeline([TrackEvent("e", 0, 1, "Hm.")], "r", "Object", config, Grid(25, np.arange(4)))
    assert results[0]["value"]["timelinelabels"] == ["Object"]


def test_costs_are_bounded(
    make: Callable[..., Backend], clip: Clip, different_words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the object changes, no more than so many captions are written."""
    monkeypatch.setattr(telling, "MAX_EVENTS", 2)
    backend = make(video_event_seconds=0.1)
    results = ask(create_app(backend).test_client(), request(region("region1", [keyframe(1, clip.boxes[0])])))
    assert len(different_words) <= 2 and len(events_in(results)) <= 2
