"""What a data set remembers between two exports, so that the next costs what changed: one SQLite file.

It follows from the ledger and the images alone. Whenever it is missing, damaged or of another ledger, it is made anew,
and the versions that follow are the same to the byte.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.annotations import LeftOut
from backend.dataset.images import StoredImage
from backend.errors import ExportError

FORMAT = 3
"""Of this file; one of another format is made anew."""

_SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE projects (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, number INTEGER NOT NULL, target INTEGER,
    last_task INTEGER NOT NULL
);
CREATE TABLE tasks (
    project INTEGER, task INTEGER, cancelled INTEGER NOT NULL, again INTEGER NOT NULL, PRIMARY KEY (project, task)
) WITHOUT ROWID;
CREATE TABLE regions (
    project INTEGER, task INTEGER, annotation INTEGER, position INTEGER, image TEXT NOT NULL, source TEXT NOT NULL,
    body TEXT NOT NULL, PRIMARY KEY (project, task, annotation, position)
) WITHOUT ROWID;
CREATE INDEX regions_of_image ON regions (image);
CREATE INDEX regions_of_source ON regions (source, image);
CREATE TABLE left_out (
    project INTEGER NOT NULL, task INTEGER NOT NULL, annotation INTEGER, region TEXT, kind TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX left_out_of_task ON left_out (project, task);
CREATE TABLE images (
    sha256 TEXT PRIMARY KEY, name TEXT NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL,
    phash INTEGER NOT NULL, split TEXT, digest TEXT, video TEXT, frame INTEGER
) WITHOUT ROWID;
CREATE INDEX images_by_phash ON images (phash);
CREATE INDEX images_of_split ON images (split, sha256, digest);
CREATE TABLE bands (band INTEGER, value INTEGER, phash INTEGER, PRIMARY KEY (band, value, phash)) WITHOUT ROWID;
CREATE TABLE pictures (
    project INTEGER, task INTEGER, address TEXT, image TEXT NOT NULL, PRIMARY KEY (project, task, address)
) WITHOUT ROWID;
CREATE TABLE touched (image TEXT PRIMARY KEY) WITHOUT ROWID
"""


@dataclass(frozen=True)
class RegionRow:
    """A region that is in the data set. source: hash of where its image came from. body: its other fields."""

    annotation: int
    position: int
    image: str
    source: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Excluded:
    """Something that stays out of the data set, and for what kind of reason."""

    kind: str
    what: LeftOut


@dataclass(frozen=True)
class TaskRows:
    """What one task gives to the data set.

    pictures: address to the stored image.
    again:    the time (seconds since 1970) at which what could not be had is tried again; 0 where all was had.
    """

    project: int
    task: int
    regions: tuple[RegionRow, ...] = ()
    excluded: tuple[Excluded, ...] = ()
    pictures: Mapping[str, StoredImage] | None = None
    cancelled: int = 0
    again: int = 0


@dataclass(frozen=True)
class Reading:
    """How far a project of the ledger has been read, under settings that `fingerprint` stands for.

    number:    all changes up to this one are in.
    target:    what `number` becomes when the reading that is under way is done; None when none is.
    last_task: the last task of that reading that is in; it goes by rising ids.
    """

    project: int
    fingerprint: str
    number: int = 0
    target: int | None = None
    last_task: int = -1


class State:
    """The file `path`, for one ledger. `with State(…)` closes it; `writing` is one transaction."""

    def __init__(self, path: Path, ledger_id: str):
        self.path = path
        self.db = self._connect()
        try:
            fits = self._about("format") == str(FORMAT) and self._about("ledger") == ledger_id
        except sqlite3.DatabaseError:
            fits = False
        if not fits:
            self.db.close()
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self.db = self._connect()
            with self.writing():
                for statement in _SCHEMA.split(";"):
                    self.db.execute(statement)
                self.set_about("format", str(FORMAT))
                self.set_about("ledger", ledger_id)

    def __enter__(self) -> State:
        return self

    def __exit__(self, *exception: object) -> None:
        self.db.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, undone as a whole by any exception."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
            self.db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self.db.execute("ROLLBACK")
            raise

    def about(self, name: str) -> str | None:
        return self._about(name)

    def set_about(self, name: str, value: str) -> None:
        self.db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    def reading(self, project: int, fingerprint: str) -> Reading:
        """How far a project has been read under the settings of `fingerprint`."""
        row = self.db.execute(
            "SELECT number, target, last_task FROM projects WHERE id = ? AND fingerprint = ?", (project, fingerprint)
        ).fetchone()
        return Reading(project, fingerprint, *row) if row else Reading(project, fingerprint)

    def set_reading(self, reading: Reading) -> None:
        """Note how far a project has been read, inside the transaction that took the last task."""
        values = (reading.project, reading.fingerprint, reading.number, reading.target, reading.last_task)
        self.db.execute("INSERT OR REPLACE INTO projects VALUES (?, ?, ?, ?, ?)", values)

    def tasks_to_try_again(self, project: int, now: float) -> list[int]:
        """Tasks of which something could not be had, and whose time has come."""
        rows = self.db.execute("SELECT task FROM tasks WHERE project = ? AND again AND again <= ?", (project, now))
        return [task for (task,) in rows]

    def forget(self, project: int) -> None:
        """Let go of all that a project gave; it would be read from the beginning if it came back."""
        self.db.execute(
            "INSERT OR IGNORE INTO touched SELECT DISTINCT image FROM regions WHERE project = ?", (project,)
        )
        for table in ("regions", "left_out", "tasks", "pictures"):
            self.db.execute(f"DELETE FROM {table} WHERE project = ?", (project,))
        self.db.execute("DELETE FROM projects WHERE id = ?", (project,))

    def replace(self, rows: TaskRows) -> None:
        """Take what a task gives now in place of what it gave before."""
        key = rows.project, rows.task
        one_task = "WHERE project = ? AND task = ?"
        self.db.execute(f"INSERT OR IGNORE INTO touched SELECT DISTINCT image FROM regions {one_task}", key)
        for table in ("regions", "left_out", "tasks"):
            self.db.execute(f"DELETE FROM {table} {one_task}", key)
        self.db.execute("INSERT INTO tasks VALUES (?, ?, ?, ?)", (*key, rows.cancelled, rows.again))
        for address, image in (rows.pictures or {}).items():
            self._add_image(image)
            self.db.execute("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?)", (*key, address, image.sha256))
        for region in rows.regions:
            body = json.dumps(region.body, ensure_ascii=False, sort_keys=True)
            row = (*key, region.annotation, region.position, region.image, region.source, body)
            self.db.execute("INSERT INTO regions VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            self.db.execute("INSERT OR IGNORE INTO touched VALUES (?)", (region.image,))
        for one in rows.excluded:
            values = (*key, one.what.annotation_id, one.what.region_id, one.kind, one.what.reason)
            self.db.execute("INSERT INTO left_out VALUES (?, ?, ?, ?, ?, ?)", values)

    def picture(self, project: int, task: int, address: str) -> StoredImage | None:
        """The image that an address of a task led to when it was last fetched."""
        row = self.db.execute(
            "SELECT sha256, name, height, width, phash FROM images JOIN pictures ON image = sha256 "
            "WHERE project = ? AND task = ? AND address = ?",
            (project, task, address),
        ).fetchone()
        if row is None:
            return None
        sha256, name, height, width, phash = row
        return StoredImage(sha256, name, height, width, phash & _ALL_BITS)

    def left_out(self) -> Iterator[Excluded]:
        """All that stays out, in a fixed order."""
        for task, annotation, region, kind, reason in self.db.execute(
            "SELECT task, annotation, region, kind, reason FROM left_out "
            "ORDER BY project, task, annotation, region, kind, reason"
        ):
            yield Excluded(kind, LeftOut(task, reason, annotation, region))

    def left_out_counts(self) -> dict[str, int]:
        return dict(self.db.execute("SELECT kind, COUNT(*) FROM left_out GROUP BY kind ORDER BY kind"))

    def counts(self) -> dict[str, int]:
        """How much of what is in the data set, and how many annotations were cancelled."""
        (regions, tasks, annotations), (images, validation), (cancelled,) = (
            self.db.execute(sql).fetchone()
            for sql in (
                "SELECT COUNT(*), COUNT(DISTINCT project || '-' || task), "
                "COUNT(DISTINCT project || '-' || annotation) FROM regions",
                "SELECT COUNT(*), COALESCE(SUM(split = 'validation'), 0) FROM images WHERE split IS NOT NULL",
                "SELECT COALESCE(SUM(cancelled), 0) FROM tasks",
            )
        )
        return dict(
            Counter(
                tasks=tasks, annotations=annotations, regions=regions, images=images, validation_images=validation,
                cancelled=cancelled,
            )
        )  # fmt: skip

    def _add_image(self, image: StoredImage) -> None:
        values = (
            image.sha256, image.name, image.height, image.width, signed(image.phash), image.video, image.frame,
        )  # fmt: skip
        self.db.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, NULL, NULL, ?, ?)", values)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None)
        with suppress(sqlite3.DatabaseError):  # a damaged file is found when it is first read
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
        return db

    def _about(self, name: str) -> str | None:
        try:
            row = self.db.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        except sqlite3.OperationalError:  # no such table: the file is new
            return None
        return row[0] if row else None


_ALL_BITS = (1 << 64) - 1


def signed(bits: int) -> int:
    """64 bits as SQLite keeps them."""
    return bits - (1 << 64) if bits >> 63 else bits


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn what SQLite complains of into an ExportError with a remedy."""
    try:
        yield
    except sqlite3.Error as error:
        raise ExportError(
            f"{path} cannot be used: {error}; see that its disk has space, or remove the file: it is made anew"
        ) from error
