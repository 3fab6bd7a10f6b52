"""What happens to followed objects, part by part of their videos."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from backend.database import Database
from backend.ledger.track_key import IS_KEY, Key, track_id


class TrackEvent(NamedTuple):
    """A part of a video, and what happens to an object in it.

    region_id:   of the part on Label Studio's timeline.
    first, last: frames of the file, from 0.
    caption:     "" where nothing is worth words, such as where the object is gone.
    is_sent:     whether Label Studio was answered with it: from then on it changes only where its object is followed
                 anew, and no annotator mended it or took it away.
    """

    region_id: str
    first: int
    last: int
    caption: str
    is_sent: bool = False


class TrackEvents:
    """The events in a ledger's file. Those of one track do not overlap."""

    def __init__(self, file: Database):
        self._file = file

    def of(self, key: Key) -> list[TrackEvent]:
        """The events of a track, by their frames."""
        rows = self._file.read(
            "SELECT region_id, first, last, caption, is_sent FROM track_events "
            f"WHERE track = (SELECT id FROM tracks WHERE {IS_KEY}) ORDER BY first",
            *key,
        )
        return [TrackEvent(id, first, last, caption, bool(is_sent)) for id, first, last, caption, is_sent in rows]

    def put(self, key: Key, events: Collection[TrackEvent]) -> None:
        """Keep events, in place of those that begin on the same frames; nothing where the track is gone."""
        with self._file.writing() as db:
            if (id := track_id(db, key)) is not None:
                db.executemany(
                    "INSERT OR REPLACE INTO track_events VALUES (?, ?, ?, ?, ?, ?)",
                    [(id, e.first, e.last, e.region_id, e.caption, e.is_sent) for e in events],
                )

    def extend(self, key: Key, event: TrackEvent, last: int) -> bool:
        """Let an event go on to a later frame; whether it still may: not once it was sent."""
        with self._file.writing() as db:
            changed = db.execute(
                "UPDATE track_events SET last = ? WHERE track = (SELECT id FROM tracks WHERE "
                f"{IS_KEY}) AND region_id = ? AND NOT is_sent",
                (last, *key, event.region_id),
            )
            return changed.rowcount > 0

    def mark_sent(self, key: Key, events: Collection[TrackEvent]) -> None:
        """Say that Label Studio was answered with these, under the region ids that they have here."""
        with self._file.writing() as db:
            db.executemany(
                "UPDATE track_events SET is_sent = 1, region_id = ? WHERE track = "
                f"(SELECT id FROM tracks WHERE {IS_KEY}) AND first = ?",
                [(event.region_id, *key, event.first) for event in events],
            )

    def split(self, key: Key, event: TrackEvent, last: int, region_id: str) -> tuple[TrackEvent, TrackEvent]:
        """Cut an event in two that say the same: up to the frame `last`, and what comes after it as `region_id`."""
        halves = event._replace(last=last), event._replace(first=last + 1, region_id=region_id)
        self.put(key, halves)
        return halves

    def owners(self, project_id: int, task_id: int) -> dict[str, str]:
        """Region id of each event that was sent to a task, to the region id of the object that it is about."""
        rows = self._file.read(
            "SELECT told.region_id AS event, tracks.region_id AS object FROM tracks JOIN "
            "(SELECT track, region_id FROM track_events WHERE is_sent UNION SELECT track, region_id FROM track_parts) "
            "AS told ON tracks.id = told.track WHERE project_id = ? AND task_id = ?",
            project_id,
            task_id,
        )
        return {row["event"]: row["object"] for row in rows}
