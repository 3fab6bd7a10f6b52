"""Tracks in the ledger: which masks stay when anchors change, and how much they take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backend.database import Database
from backend.ledger import Ledger
from backend.ledger.schema import FORMAT
from backend.ledger.track_events import TrackEvent
from backend.ledger.track_parts import Part
from backend.ledger.tracks import Anchor, FrameMask, Key, Track, Tracks
from model.prompt import Box

KEY = Key(1, 2, "region")
BOX = Box(1, 2, 30, 40)


def anchor(id: int, index: int) -> Anchor:
    return Anchor(id, index, index + 1, BOX)


def track(*anchors: Anchor, key: Key = KEY) -> Track:
    return Track(key, "ab" * 32, 90, 120, 100, 25.0, anchors, "nano")


def masks(anchor: int, *frames: int, rle: str = "x" * 20) -> list[FrameMask]:
    return [FrameMask(frame, rle, BOX, 0.9, anchor) for frame in frames]


@pytest.fixture
def tracks(tmp_path: Path) -> Iterator[Tracks]:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield ledger.tracks


def kept(tracks: Tracks, key: Key = KEY) -> list[tuple[int, int]]:
    return [(mask.frame, mask.anchor) for mask in tracks.masks(key)]


def test_a_track_comes_back(tracks: Tracks) -> None:
    """All of it, also after the file was closed; masks in the order of their frames, a gone one without a box."""
    written = replace(
        track(anchor(1, 5)), hidden=((3, 4),), sent=[{"frame": 1}], words={"category": "cup", "caption": ""}
    )
    tracks.save(written)
    tracks.add(KEY, [*masks(1, 6, 5), FrameMask(7, "", None, 0.0, 1)])
    assert tracks.track(KEY) == written and tracks.track(KEY._replace(task_id=3)) is None
    assert kept(tracks) == [(5, 1), (6, 1), (7, 1)] and list(tracks.masks(KEY))[-1].box is None
    assert [mask.frame for mask in tracks.masks(KEY, 6, 6)] == [6]


@pytest.mark.parametrize(
    ("anchors", "expected"),
    [
        ((anchor(1, 10),), [(n, 1) for n in range(5, 20)]),
        ((anchor(1, 10), anchor(2, 15)), [(n, 1) for n in range(5, 15)]),
        ((anchor(3, 10),), []),
        ((anchor(2, 7), anchor(1, 10)), [(n, 1) for n in range(10, 20)]),
    ],
    ids=["as before", "a later one", "drawn anew", "an earlier one"],
)
def test_new_anchors_take_what_is_theirs(tracks: Tracks, anchors: tuple, expected: list) -> None:
    """A correction ends the way of the anchor before it; the first anchor's way goes back to the beginning."""
    tracks.save(track(anchor(1, 10)))
    tracks.add(KEY, masks(1, *range(5, 20)))
    tracks.save(track(*anchors))
    assert kept(tracks) == expected


def test_events_that_nobody_saw_go_with_their_masks(tracks: Tracks) -> None:
    """After a correction they would speak of another object; what was answered is the annotator's, and stays."""
    tracks.save(track(anchor(1, 0)))
    tracks.add(KEY, masks(1, *range(40)))
    said = {"a": (0, "Rolls.", True), "b": (10, "Stops.", False), "c": (20, "", False), "d": (30, "Falls.", True)}
    events = [TrackEvent(id, first, first + 9, *rest) for id, (first, *rest) in said.items()]
    tracks.events.put(KEY, events)
    tracks.save(track(anchor(1, 0), anchor(2, 20)))
    assert [event.region_id for event in tracks.events.of(KEY)] == ["a", "b", "d"]
    assert not tracks.events.extend(KEY, events[0], 12) and tracks.events.extend(KEY, events[1], 25)
    assert [event.last for event in tracks.events.of(KEY)] == [9, 25, 39]
    assert tracks.events.owners(1, 2) == {"a": "region", "d": "region"} and tracks.events.owners(1, 3) == {}
    tracks.events.mark_sent(KEY, [events[1]])
    assert set(tracks.events.owners(1, 2)) == {"a", "b", "d"}


def test_parts_that_may_be_replaced_go_with_their_masks(tracks: Tracks) -> None:
    """What was answered goes where its object is followed anew, if the caller says that it may; its id is still known
    as the object's, and as one that stands for nothing. What is the annotator's never does."""
    tracks.save(track(anchor(1, 0)))
    tracks.add(KEY, masks(1, *range(40)))
    tracks.events.put(KEY, [TrackEvent(id, 10 * n, 10 * n + 9, f"{n}.", True) for n, id in enumerate("abcd")])
    tracks.parts.put(KEY, [Part(id, 10 * n + 1, 10 * n + 10, f"{n}.", 5.0) for n, id in enumerate("abcd")])
    tracks.parts.hand_over(1, 2, ["d", "unknown"])
    assert [part.is_theirs for part in tracks.parts.of(KEY).values()] == [False, False, False, True]
    tracks.save(track(anchor(1, 0), anchor(2, 15)), ["a", "b", "c"])
    assert [event.region_id for event in tracks.events.of(KEY)] == ["a", "d"]
    assert set(tracks.parts.withdrawn(1, 2)) == {"b", "c"} and not tracks.parts.withdrawn(1, 3)
    assert set(tracks.events.owners(1, 2)) == set("abcd")
    tracks.forget(KEY)
    assert not tracks.parts.of(KEY) and not tracks.events.owners(1, 2)


def test_a_forgotten_track_leaves_nothing(tracks: Tracks) -> None:
    """A video that was exchanged under its address: neither masks nor events of the old one may come back."""
    tracks.save(track(anchor(1, 0)))
    tracks.add(KEY, masks(1, 0, 1))
    tracks.events.put(KEY, [TrackEvent("a", 0, 1, "Rolls.", True)])
    tracks.forget(KEY)
    tracks.events.put(KEY, [TrackEvent("b", 0, 1, "Late.")])
    assert tracks.track(KEY) is None and not kept(tracks)
    tracks.save(track(anchor(1, 0)))
    assert not kept(tracks) and not tracks.events.of(KEY)


def test_masks_of_an_anchor_that_is_gone_are_refused(tracks: Tracks) -> None:
    """Work that was under way when the annotator corrected the track must not write into it."""
    tracks.save(track(anchor(2, 0)))
    tracks.add(KEY, [*masks(1, 3), *masks(2, 4)])
    tracks.add(Key(9, 9, "none"), masks(1, 3))
    assert kept(tracks) == [(4, 2)]


def test_the_oldest_tracks_make_room(tmp_path: Path) -> None:
    """Masks are bounded in bytes; what was saved last stays, and so do the tracks themselves."""
    tracks = Tracks(Database(tmp_path / "ledger.sqlite", FORMAT), 5_000)
    keys = [Key(1, n, "region") for n in range(5)]
    for key in keys:
        tracks.save(track(anchor(1, 0), key=key))
        tracks.add(key, masks(1, *range(20)))
    assert [len(kept(tracks, key)) for key in keys] == [0, 0, 0, 20, 20]
    assert tracks.track(keys[0]) is not None


def test_an_older_ledger_is_given_the_tables(tmp_path: Path) -> None:
    """A file that another version of the same format made has none."""
    path = tmp_path / "ledger.sqlite"
    with Ledger(path):
        pass
    database = Database(path, FORMAT)
    with database.writing() as db:
        db.execute("DROP TABLE tracks")
        db.execute("DROP TABLE track_masks")
    database.close()
    with Ledger(path) as ledger:
        ledger.tracks.save(track(anchor(1, 0)))
        assert ledger.tracks.track(KEY) is not None
