"""What a server follows through videos just now, where other processes can read it, and ask it to stop."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import IO, Self, TypedDict

from backend.database import Database, Format
from backend.errors import JobError, JobsUnavailable

FILE, LOCK = "tracks.sqlite", "tracks.lock"
"""In the data folder; the second is locked for as long as a server lives that follows objects."""

_TABLES = """
CREATE TABLE IF NOT EXISTS works (
    id TEXT PRIMARY KEY, body TEXT NOT NULL, is_unwanted INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID
"""
_OPEN = ("queued", "running")


class FollowedFrames(TypedDict):
    """How many frames an object was followed through, of those that it is to be."""

    done: int
    of: int


class ShownWork(TypedDict):
    """A track on its way, as `GET /jobs` shows it.

    state: of a `Work`, or "interrupted". seconds_left: None where that cannot be told. created_at: ISO 8601.
    """

    id: str
    kind: str
    project_id: int
    task_id: int
    region_id: str
    state: str
    message: str
    frames: FollowedFrames
    events: int
    seconds_left: float | None
    created_at: str


class TrackWorks:
    """The list of the server that runs with a data folder, or of the one that ran last.

    Any thread may call any method. Raises JobsUnavailable when the file cannot be read or written.
    """

    def __init__(self, data_dir: Path):
        self._file = Database(data_dir / FILE, Format("list of tracks", 1, _prepare, JobsUnavailable))
        self._path = data_dir / LOCK
        self._lock: IO[str] | None = None

    def close(self) -> None:
        """Close the file, and say that nothing is followed any more."""
        if self._lock is not None:
            self._lock.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def begin(self) -> None:
        """Begin a list in place of the last server's, and say that this one lives until `close`."""
        self._lock = self._path.open("a")
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        with self._file.writing() as db:
            db.execute("DELETE FROM works")

    def put(self, shown: ShownWork) -> None:
        """Keep how far a work is: what `GET /jobs` shows of it, by its `id`."""
        with self._file.writing() as db:
            db.execute(
                "INSERT INTO works (id, body) VALUES (?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
                (shown["id"], json.dumps(shown)),
            )
            if shown["state"] not in _OPEN:
                db.execute("UPDATE works SET is_unwanted = 0 WHERE id = ?", (shown["id"],))

    def keep_only(self, ids: Collection[str]) -> None:
        """Forget all others."""
        with self._file.writing() as db:
            db.execute("DELETE FROM works WHERE id NOT IN (SELECT value FROM json_each(?))", (json.dumps(list(ids)),))

    def all(self) -> list[ShownWork]:
        """Every work, newest first. One that a server was at when it died is "interrupted"."""
        rows = self._file.read("SELECT body FROM works")
        works: list[ShownWork] = [json.loads(row["body"]) for row in rows]
        lost = [work for work in works if work["state"] in _OPEN]
        if lost and not self._is_alive():
            for work in lost:
                work["state"] = "interrupted"
                work["message"] = "the server ended; the next request on the region goes on"
        return sorted(works, key=lambda work: work["created_at"], reverse=True)

    def one(self, id: str) -> ShownWork:
        """One work; raises JobError where there is none of that id."""
        found = next((work for work in self.all() if work["id"] == id), None)
        if found is None:
            raise JobError(
                f"there is no job {id:.40}: `pam-studio jobs list` shows them", code="no_such_job", status=404
            )
        return found

    def ask_to_stop(self, id: str) -> ShownWork:
        """Ask the server to break a work off, which it does within seconds; raises JobError where there is none."""
        with self._file.writing() as db:
            db.execute(
                "UPDATE works SET is_unwanted = 1 WHERE id = ? AND json_extract(body, '$.state') IN (?, ?)",
                (id, *_OPEN),
            )
        return self.one(id)

    def unwanted(self) -> list[str]:
        """The works that are to be broken off."""
        return [row["id"] for row in self._file.read("SELECT id FROM works WHERE is_unwanted")]

    def _is_alive(self) -> bool:
        """Whether a server holds the list."""
        try:
            with self._path.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # somebody else's folder: what the list says is all that is known
            return True
        return False


def _prepare(db: sqlite3.Connection) -> int:
    db.execute(_TABLES)
    return 1
