"""What Label Studio was answered for its timeline: the events of followed objects, as the screen shows them."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from backend.database import Database
from backend.ledger.track_key import IS_KEY, Key, track_id


class Part(NamedTuple):
    """A region on the timeline, as it was last answered.

    start, end: Label Studio's numbers of its first and last frame.
    sent_at:    seconds since 1970.
    is_theirs:  whether the annotator is known to have made it something else since.
    """

    region_id: str
    start: int
    end: int
    caption: str
    sent_at: float
    is_theirs: bool = False


class TrackParts:
    """The parts in a ledger's file. One whose event is gone was withdrawn: what it says is not so any more."""

    def __init__(self, file: Database):
        self._file = file

    def of(self, key: Key) -> dict[str, Part]:
        """All parts that were ever answered for a track, by region id, in the order of their frames."""
        rows = self._file.read(
            'SELECT region_id, start, "end", caption, sent_at, is_theirs FROM track_parts '
            f"WHERE track = (SELECT id FROM tracks WHERE {IS_KEY}) ORDER BY start",
            *key,
        )
        return {row["region_id"]: Part(*row)._replace(is_theirs=bool(row["is_theirs"])) for row in rows}

    def put(self, key: Key, parts: Collection[Part]) -> None:
        """Keep what was answered, in place of what was answered before under the same ids."""
        with self._file.writing() as db:
            if (id := track_id(db, key)) is not None:
                rows = [(id, *part) for part in parts]
                db.executemany("INSERT OR REPLACE INTO track_parts VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def of_task(self, project_id: int, task_id: int) -> dict[str, Part]:
        """The parts of all objects of a task, by region id."""
        return self._of_task(project_id, task_id, "1")

    def withdrawn(self, project_id: int, task_id: int) -> dict[str, Part]:
        """The parts of a task that stand for nothing that is known of its objects now, by region id."""
        return self._of_task(
            project_id,
            task_id,
            "NOT is_theirs AND NOT EXISTS (SELECT 1 FROM track_events AS told WHERE told.track = track_parts.track "
            "AND told.region_id = track_parts.region_id)",
        )

    def hand_over(self, project_id: int, task_id: int, region_ids: Collection[str]) -> None:
        """Say that these are the annotator's from now on."""
        with self._file.writing() as db:
            db.executemany(
                "UPDATE track_parts SET is_theirs = 1 WHERE region_id = ? AND track IN "
                "(SELECT id FROM tracks WHERE project_id = ? AND task_id = ?)",
                [(region_id, project_id, task_id) for region_id in region_ids],
            )

    def _of_task(self, project_id: int, task_id: int, condition: str) -> dict[str, Part]:
        rows = self._file.read(
            'SELECT track_parts.region_id AS region_id, start, "end", caption, sent_at, is_theirs FROM track_parts '
            f"JOIN tracks ON tracks.id = track WHERE project_id = ? AND task_id = ? AND {condition}",
            project_id,
            task_id,
        )
        return {row["region_id"]: Part(*row)._replace(is_theirs=bool(row["is_theirs"])) for row in rows}
