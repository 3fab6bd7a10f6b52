"""What happens to objects, on the timeline: told part by part, once, and never again over what a person made of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.app import create_app
from backend.assembly import Backend
from backend.json_node import Node
from backend.labeling_config import parse
from backend.ledger import Ledger
from backend.ledger.track_events import TrackEvent
from backend.ledger.track_parts import Part
from backend.ledger.tracks import Anchor, Key, Track
from backend.predict_request import Saved
from backend.video import events as telling
from backend.video import parts
from backend.video.grid import Grid
from backend.video.timeline import timeline
from benchmarks import moving
from model.prompt import Box
from tests.backend.conftest import Photos, ready
from tests.backend.video.conftest import ADDRESS, CONFIG, FRAMES, Clip, keyframe, region, request
from tests.backend.video.test_suggest import KEY, ask, sequence_of, wait_for, words_of
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
    whole = telling.tell_track

    def tell(pam: Any, frames: Any, masks: Any, options: Any, previous: str) -> str:
        asked.append(previous)
        assert whole(pam, frames, masks, options, previous)
        return f"{len(asked)}."

    monkeypatch.setattr(telling, "tell_track", tell)
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
    """No later answer holds an event again, whatever was mended or taken away, while its object is what it was; and the
    box stays as it is where only an event is new."""
    backend = make(video_event_seconds=HALF)
    client = create_app(backend).test_client()
    first = ask(client, request(region("region1", [keyframe(1, clip.boxes[0])])))
    again = request(region("region1", sequence_of(first), words_of(first)))
    assert ask(client, again) == []
    told = backend.ledger.tracks.events.of(KEY)[-1]
    backend.ledger.tracks.events.put(KEY, [told._replace(caption="It ends.", is_sent=False)])
    assert {r["id"] for r in ask(client, again)} == {told.region_id}
    assert ask(client, again) == []


@pytest.mark.parametrize("is_mended", [False, True], ids=["as it was answered", "mended by a person"])
def test_a_correction_replaces_what_it_makes_wrong(
    make: Callable[..., Backend], clip: Clip, different_words: list[str], is_mended: bool
) -> None:
    """A part of the timeline that overlaps frames that are followed anew is told anew, in its own place: it described
    what was followed by mistake. One that a person mended is left alone, and nothing is told over it."""
    backend = make(video_event_seconds=HALF)
    client = create_app(backend).test_client()
    first = ask(client, request(region("region1", [keyframe(1, clip.boxes[0])])))
    *others, last = [r for r in first if r["type"] == "timelinelabels"]
    assert others
    if is_mended:  # Label Studio sends the parts that have the label
        shown = [r for r in first if r["id"] in {part["id"] for part in (*others, last)}]
        assert ask(client, request(edited(shown, last["id"], "caption"))) == []
    mended = [k for k in sequence_of(first) if k["frame"] != FRAMES - 1] + [keyframe(FRAMES - 1, clip.boxes[3])]
    second = ask(client, request(region("region1", sorted(mended, key=lambda k: k["frame"]), words_of(first))))
    known = {event.region_id: event for event in backend.ledger.tracks.events.of(KEY)}
    answered = {r["id"] for r in second if r["type"] == "timelinelabels"}
    assert not answered & {part["id"] for part in others} and (last["id"] in answered) is not is_mended
    assert (known[last["id"]].caption in {caption for *_, caption in events_in(first)}) is is_mended
    assert sum(event.first <= FRAMES - 2 <= event.last for event in known.values()) == 1
    assert not backend.ledger.tracks.parts.withdrawn(3, 7)
    assert ask(client, request(region("region1", sequence_of(second), words_of(first)))) == []


def edited(results: list[dict[str, Any]], id: str, how: str) -> list[dict[str, Any]]:
    """What a screen shows after a person changed one part."""
    found = []
    for result in results:
        value = dict(result["value"])
        if result["id"] == id and how == "taken away":
            continue
        if result["id"] == id and how == "caption" and result["type"] == "textarea":
            value["text"] = ["Mine."]
        if result["id"] == id and how == "range" and result["type"] == "timelinelabels":
            value["ranges"] = [value["ranges"][0] | {"end": 999}]
        found.append(result | {"value": value})
    return found


NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("how", "late", "is_free"),
    [
        ("not at all", 9, True), ("caption", 9, False), ("range", 9, False), ("taken away", 9, False),
        ("taken away", 1, True), ("taken away", -9, True),
    ],
)  # fmt: skip
def test_what_a_person_made_of_a_part(how: str, late: float, is_free: bool) -> None:
    """A draft that was saved after the answer tells; one that may be older says nothing of it."""
    config, events = parse(CONFIG), [TrackEvent("e", 0, 3, "It  turns."), TrackEvent("f", 4, 9, "It rolls.")]
    results = timeline(events, "r", "Object", config, Grid(25, np.arange(40)))
    sent = {
        e.region_id: Part(e.region_id, e.first + 1, e.last + 1, " ".join(e.caption.split()), NOW.timestamp())
        for e in events
    }
    draft = tuple(edited(results, "e", how))
    saved = [Saved(frozenset({"r", "e", "f"}), NOW + timedelta(seconds=late), draft)]
    assert ("e" in parts.replaceable("r", sent, saved, config)) is is_free
    assert "f" in parts.replaceable("r", sent, saved, config)
    assert parts.replaceable("another", sent, saved, config) == {"e", "f"}
    taken = {"e"} if how in ("caption", "range") else set()
    assert parts.touched([Node(result) for result in draft], sent, config) == taken
    theirs = {id: part._replace(is_theirs=True) for id, part in sent.items()}
    assert not parts.replaceable("r", theirs, [], config)


def test_more_parts_than_there_is_to_tell(tmp_path: Path) -> None:
    """An answer cannot take a region away: a part that stands for nothing any more tells the end of another one."""
    grid, key = Grid(25, np.arange(40)), Key(1, 2, "r")
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        tracks = ledger.tracks
        tracks.save(Track(key, "ab", 90, 120, 40, 25.0, (Anchor(1, 0, 1, Box(1, 2, 3, 4)),), "nano"))
        tracks.parts.put(key, [Part(id, n, n, "Old.", 1.0) for n, id in enumerate("abcd", 1)])
        tracks.events.put(key, [TrackEvent("new", 0, 19, "It rolls."), TrackEvent("gone", 20, 39, "")])
        free = {"a", "b", "c"}  # d is a person's by now
        assert [(e.region_id, e.first) for e in parts.due(tracks, key, grid, free, is_done=False)] == [("a", 0)]
        found = parts.due(tracks, key, grid, free, is_done=True)
        assert [(e.first, e.last) for e in found] == [(0, 4), (5, 9), (10, 19)]
        assert {e.region_id for e in found} == free and {e.caption for e in found} == {"It rolls."}
        assert parts.due(tracks, key, grid, free, is_done=True) == []
        assert set(tracks.parts.withdrawn(1, 2)) == {"d"}
        shown = tracks.parts.of(key)
        assert {shown[e.region_id][1:4] for e in found} == {(e.first + 1, e.last + 1, "It rolls.") for e in found}


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
