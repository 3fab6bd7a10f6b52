"""Objects followed through videos: what each track stands on, and its mask on every frame so far."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from backend.database import Database
from backend.ledger.track_events import TrackEvents
from backend.ledger.track_key import IS_KEY, Key, track_id
from backend.ledger.track_parts import TrackParts
from model.prompt import Box

MAX_BYTES = 4 << 30
_ROWS_AT_ONCE = 2000
_ROW_BYTES = 80


@dataclass(frozen=True)
class Anchor:
    """A box that an annotator drew.

    id:     tells the anchors of a track apart for as long as it lives.
    index:  of the frame in the file, from 0.
    number: of the frame in Label Studio, from 1.
    iou:    of the box that the screen showed there until then, 0 where it showed the object as gone; None where it said
            nothing yet.
    """

    id: int
    index: int
    number: int
    box: Box
    iou: float | None = None


@dataclass(frozen=True)
class Track:
    """An object in a video, and what was last answered about it.

    sha256:   of the video's file.
    height, width, frames: of the file, in pixels and frames.
    rate:     Label Studio's frames each second.
    anchors:  what it is followed from, by their frames; each holds until the next, the first backward, too.
    hidden:   stretches of Label Studio's frames, first and last, in which the annotator says that it is not seen.
    sent:     Label Studio's `sequence`, as it was last answered.
    words:    field to what the model says of it; empty where it has not been asked yet.
    """

    key: Key
    sha256: str
    height: int
    width: int
    frames: int
    rate: float
    anchors: tuple[Anchor, ...]
    model_version: str
    hidden: tuple[tuple[int, int], ...] = ()
    sent: Sequence[Mapping[str, Any]] = ()
    words: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Track:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        fields["key"] = Key(*fields["key"])
        fields["anchors"] = tuple(Anchor(**a | {"box": Box(*a["box"])}) for a in fields["anchors"])
        fields["hidden"] = tuple(tuple(stretch) for stretch in fields["hidden"])
        return cls(**fields)


class FrameMask(NamedTuple):
    """An object on one frame of a file, counted from 0.

    rle:    COCO RLE of the mask at the video's size, "" where the object is gone.
    box:    the tightest around the mask, None where the object is gone.
    anchor: id of the anchor that it was followed from.
    """

    frame: int
    rle: str
    box: Box | None
    score: float
    anchor: int


class Tracks:
    """The tracks in a ledger's file. All masks together take MAX_BYTES at most: those of the tracks that were touched
    longest ago go first."""

    def __init__(self, file: Database, max_bytes: int = MAX_BYTES):
        self._file, self._max_bytes = file, max_bytes
        self.events, self.parts = TrackEvents(file), TrackParts(file)

    def track(self, key: Key) -> Track | None:
        rows = self._file.read(f"SELECT body FROM tracks WHERE {IS_KEY}", *key)
        return Track.from_json(rows[0]["body"]) if rows else None

    def number(self, key: Key) -> int | None:
        """What a track is called by, as long as it is kept; None where there is none."""
        rows = self._file.read(f"SELECT id FROM tracks WHERE {IS_KEY}", *key)
        return rows[0]["id"] if rows else None

    def of_task(self, project_id: int, task_id: int) -> list[Track]:
        """The tracks of a task, by their regions."""
        rows = self._file.read(
            "SELECT body FROM tracks WHERE project_id = ? AND task_id = ? ORDER BY region_id", project_id, task_id
        )
        return [Track.from_json(row["body"]) for row in rows]

    def forget(self, key: Key) -> None:
        """Let go of a track, its masks and its events."""
        with self._file.writing() as db:
            if (id := track_id(db, key)) is not None:
                for table in ("track_masks", "track_events", "track_parts"):
                    db.execute(f"DELETE FROM {table} WHERE track = ?", (id,))
                db.execute("DELETE FROM tracks WHERE id = ?", (id,))

    def save(self, track: Track, replaceable: Collection[str] = ()) -> None:
        """Keep a track in place of what was known of it, and let go of the masks that its anchors do not lead to.

        With them go the events that nobody has seen yet, and of those on a screen the ones in `replaceable`, by their
        region ids: the others are the annotator's.
        """
        stops = [*(anchor.index for anchor in track.anchors[1:]), track.frames]
        with self._file.writing() as db:
            db.execute(
                "INSERT INTO tracks (project_id, task_id, region_id, body, touched, bytes) "
                "VALUES (?, ?, ?, ?, (SELECT COALESCE(MAX(touched), 0) + 1 FROM tracks), 0) "
                "ON CONFLICT DO UPDATE SET body = excluded.body, touched = excluded.touched",
                (*track.key, track.to_json()),
            )
            id = track_id(db, track.key)
            marks = ", ".join("?" * len(track.anchors))
            db.execute(
                f"DELETE FROM track_masks WHERE track = ? AND anchor NOT IN ({marks})",
                (id, *(anchor.id for anchor in track.anchors)),
            )
            for anchor, stop in zip(track.anchors, stops, strict=True):
                start = 0 if anchor is track.anchors[0] else anchor.index
                db.execute(
                    "DELETE FROM track_masks WHERE track = ? AND anchor = ? AND NOT (frame >= ? AND frame < ?)",
                    (id, anchor.id, start, stop),
                )
            db.execute(
                "DELETE FROM track_events WHERE track = ? AND (NOT is_sent OR region_id IN "
                "(SELECT value FROM json_each(?))) AND last - first + 1 > (SELECT COUNT(*) FROM track_masks "
                "WHERE track_masks.track = track_events.track AND frame BETWEEN first AND last)",
                (id, json.dumps(list(replaceable))),
            )
            db.execute(
                "UPDATE tracks SET bytes = (SELECT COALESCE(SUM(LENGTH(rle) + ?), 0) FROM track_masks "
                "WHERE track = ?) WHERE id = ?",
                (_ROW_BYTES, id, id),
            )

    def update(self, track: Track) -> None:
        """Keep what was answered of a track; its anchors are those that were saved last."""
        with self._file.writing() as db:
            db.execute(f"UPDATE tracks SET body = ? WHERE {IS_KEY}", (track.to_json(), *track.key))

    def add(self, key: Key, masks: Sequence[FrameMask]) -> None:
        """Keep masks of frames, in place of older ones; nothing where the track is gone, or an anchor is."""
        with self._file.writing() as db:
            if (id := track_id(db, key)) is None:
                return
            (body,) = db.execute("SELECT body FROM tracks WHERE id = ?", (id,)).fetchone()
            anchors = {anchor.id for anchor in Track.from_json(body).anchors}
            rows = [
                (id, m.frame, m.rle, None if m.box is None else json.dumps(m.box), m.score, m.anchor)
                for m in masks
                if m.anchor in anchors
            ]
            db.executemany("INSERT OR REPLACE INTO track_masks VALUES (?, ?, ?, ?, ?, ?)", rows)
            more = sum(len(row[2]) + _ROW_BYTES for row in rows)
            db.execute("UPDATE tracks SET bytes = bytes + ? WHERE id = ?", (more, id))
            self._make_room(db, id)

    def masks(self, key: Key, first: int = 0, last: int | None = None) -> Iterator[FrameMask]:
        """What is known of the frames `first` to `last`, in their order."""
        end = 2**62 if last is None else last
        while rows := self._file.read(
            "SELECT frame, rle, box, score, anchor FROM track_masks WHERE track = "
            f"(SELECT id FROM tracks WHERE {IS_KEY}) AND frame BETWEEN ? AND ? ORDER BY frame LIMIT ?",
            *key,
            first,
            end,
            _ROWS_AT_ONCE,
        ):
            for frame, rle, box, score, anchor in rows:
                yield FrameMask(frame, rle, None if box is None else Box(*json.loads(box)), score, anchor)
            first = rows[-1]["frame"] + 1

    def _make_room(self, db: sqlite3.Connection, kept: int) -> None:
        """Let go of the masks of the tracks that were touched longest ago, where all together take too much."""
        (total,) = db.execute("SELECT SUM(bytes) FROM tracks").fetchone()
        while total > self._max_bytes:
            row = db.execute(
                "SELECT id, bytes FROM tracks WHERE bytes > 0 AND id <> ? ORDER BY touched LIMIT 1", (kept,)
            ).fetchone()
            if row is None:
                return
            db.execute("DELETE FROM track_masks WHERE track = ?", (row["id"],))
            db.execute("UPDATE tracks SET bytes = 0 WHERE id = ?", (row["id"],))
            total -= row["bytes"]
