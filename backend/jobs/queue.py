"""The queue of background jobs: one SQLite file, and a folder for each job.

    jobs.sqlite            what is to be done, is done, and came of it
    jobs/lock              held by the process of the job that runs, and by all it started: one job at a time
    jobs/<id>/             the job's own: log, progress, and what it needs to go on after an interruption

Any process may change the queue: states change in transactions, each from the state that it must have been.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from backend.database import Database, Format
from backend.errors import JobError, JobsUnavailable
from backend.jobs.job import STATES, Job, Progress, State

FILE, FOLDER = "jobs.sqlite", "jobs"
KEPT = 200
"""Jobs that have ended and are still listed; the oldest go first, with their folders."""
LISTED = 50
_LONGEST_MESSAGE = 2000
_VERSION = 1
_TABLES = """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, kind TEXT NOT NULL, project_id INTEGER,
    parameters TEXT NOT NULL, cause TEXT NOT NULL, state TEXT NOT NULL, message TEXT NOT NULL, progress TEXT NOT NULL,
    stopping TEXT NOT NULL, deaths INTEGER NOT NULL, furthest REAL NOT NULL,
    created_at TEXT NOT NULL, started_at TEXT, finished_at TEXT
);
CREATE UNIQUE INDEX one_of_a_key ON jobs (key) WHERE state IN ('queued', 'running');
CREATE UNIQUE INDEX one_runs ON jobs (state) WHERE state = 'running'
"""
_NEW = (
    "INSERT INTO jobs (key, kind, project_id, parameters, cause, state, message, progress, stopping, deaths, furthest, "
    "created_at) VALUES (?, ?, ?, ?, ?, 'queued', '', '{}', '', 0, 0, ?) RETURNING *"
)

Ended = Literal["done", "failed", "cancelled"]


class JobQueue:
    """The jobs of a data folder. Any thread may call any method, and so may other processes at the same time.

    Raises JobsUnavailable when the file cannot be read or written, and has then changed nothing.
    """

    def __init__(self, data_dir: Path):
        self.changed = threading.Event()
        """Set by this process when there is a job to start, for the runner in it."""
        self._folder = data_dir / FOLDER
        self._file = Database(data_dir / FILE, Format("list of jobs", _VERSION, _prepare, JobsUnavailable))

    def close(self) -> None:
        """Close the file; the queue is of no use afterwards."""
        self._file.close()

    def __enter__(self) -> JobQueue:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def lock(self) -> Path:
        """The file whose lock says that a job's process lives."""
        return self._folder / "lock"

    def folder(self, id: int) -> Path:
        """What belongs to a job alone; it may be missing."""
        return self._folder / str(id)

    def submit(
        self,
        kind: str,
        project_id: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        *,
        cause: str,
        key: str | None = None,
    ) -> tuple[Job, bool]:
        """Queue a job, unless one with this key is queued or running: that one, and False.

        key: what there can be one of at a time; by default the kind and the project.
        """
        key = f"{kind} {project_id}" if key is None else key
        with self._file.writing() as db:
            there = db.execute("SELECT * FROM jobs WHERE key = ? AND state IN ('queued', 'running')", (key,)).fetchone()
            if there is not None:
                return self._job(there), False
            values = (key, kind, project_id, json.dumps(dict(parameters or {})), cause, _now())
            made = db.execute(_NEW, values).fetchone()
            old = db.execute(
                "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state NOT IN ('queued', 'running') "
                "ORDER BY id DESC LIMIT -1 OFFSET ?) RETURNING id",
                (KEPT,),
            ).fetchall()
        for row in old:
            shutil.rmtree(self.folder(row["id"]), ignore_errors=True)
        self.changed.set()
        return self._job(made), True

    def job(self, id: int) -> Job:
        """One job; raises JobError where there is none of that number."""
        rows = self._file.read("SELECT * FROM jobs WHERE id = ?", id)
        if not rows:
            raise JobError(f"there is no job {id}: `pam-studio jobs list` shows them", code="no_such_job", status=404)
        return self._job(rows[0])

    def jobs(self, most: int = LISTED) -> list[Job]:
        """The last `most` jobs, newest first."""
        return [self._job(row) for row in self._file.read("SELECT * FROM jobs ORDER BY id DESC LIMIT ?", most)]

    def last(self, kind: str) -> Job | None:
        """The newest job of a kind, whatever became of it, or None."""
        rows = self._file.read("SELECT * FROM jobs WHERE kind = ? ORDER BY id DESC LIMIT 1", kind)
        return self._job(rows[0]) if rows else None

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        rows = self._file.read("SELECT state, COUNT(*) AS count FROM jobs GROUP BY state")
        found = {row["state"]: row["count"] for row in rows}
        return {state: found.get(state, 0) for state in STATES}

    def running(self) -> Job | None:
        """The job that runs, or did when its process died; or None."""
        rows = self._file.read("SELECT * FROM jobs WHERE state = 'running'")
        return self._job(rows[0]) if rows else None

    def is_waiting(self) -> bool:
        """Whether a job is queued or running."""
        return bool(self._file.read("SELECT 1 FROM jobs WHERE state IN ('queued', 'running') LIMIT 1"))

    def take(self) -> Job | None:
        """Let the oldest job that waits be running, and return it; None where none waits or one runs."""
        with self._file.writing() as db:
            if db.execute("SELECT 1 FROM jobs WHERE state = 'running'").fetchone():
                return None
            row = db.execute(
                "UPDATE jobs SET state = 'running', stopping = '', started_at = COALESCE(started_at, ?) WHERE id = "
                "(SELECT id FROM jobs WHERE state = 'queued' ORDER BY id LIMIT 1) RETURNING *",
                (_now(),),
            ).fetchone()
        return self._job(row) if row else None

    def cancel(self, id: int) -> Job:
        """Cancel a job: at once where it waits, else within seconds. One that has ended stays what it is.

        Raises JobError where there is no such job.
        """
        with self._file.writing() as db:
            db.execute(
                "UPDATE jobs SET state = 'cancelled', message = 'cancelled before it began', finished_at = ? "
                "WHERE id = ? AND state = 'queued'",
                (_now(), id),
            )
            db.execute("UPDATE jobs SET stopping = 'cancel' WHERE id = ? AND state = 'running'", (id,))
        return self.job(id)

    def pause(self) -> None:
        """Ask the job that runs, if any, to stop so that it can go on later; not one that is being cancelled."""
        with self._file.writing() as db:
            db.execute("UPDATE jobs SET stopping = 'pause' WHERE state = 'running' AND stopping = ''")

    def retry(self, id: int) -> Job:
        """Queue a job again that failed or was cancelled; it goes on where it was. Raises JobError."""
        with self._file.writing() as db:
            row = db.execute("SELECT * FROM jobs WHERE id = ?", (id,)).fetchone()
            if row is not None and row["state"] in ("failed", "cancelled"):
                if db.execute(
                    "SELECT 1 FROM jobs WHERE key = ? AND state IN ('queued', 'running')", (row["key"],)
                ).fetchone():
                    raise JobError(f"another job like {id} is under way: wait for it", code="job_open", status=409)
                db.execute(
                    "UPDATE jobs SET state = 'queued', message = 'tried again', stopping = '', deaths = 0, "
                    "finished_at = NULL WHERE id = ?",
                    (id,),
                )
        if row is not None and row["state"] not in ("failed", "cancelled"):
            what = f"job {id} is {row['state']}: only one that failed or was cancelled can be tried again"
            raise JobError(what, code="job_not_ended", status=409)
        return self.job(id)

    def finish(self, id: int, state: Ended, message: str) -> None:
        """Let a running job end, with what came of it."""
        progress = json.dumps(asdict(self._progress(id)))
        with self._file.writing() as db:
            db.execute(
                "UPDATE jobs SET state = ?, message = ?, progress = ?, stopping = '', finished_at = ? "
                "WHERE id = ? AND state = 'running'",
                (state, message[:_LONGEST_MESSAGE], progress, _now(), id),
            )

    def stopped(self, id: int) -> None:
        """Let a running job that was asked to stop be cancelled, or wait to go on, as it was asked."""
        with self._file.writing() as db:
            db.execute(
                "UPDATE jobs SET state = 'cancelled', message = 'cancelled', stopping = '', finished_at = ? "
                "WHERE id = ? AND state = 'running' AND stopping = 'cancel'",
                (_now(), id),
            )
            db.execute(
                "UPDATE jobs SET state = 'queued', message = 'interrupted: it goes on when the server does', "
                "stopping = '' WHERE id = ? AND state = 'running'",
                (id,),
            )

    def died(self, id: int, how: str, patience: int) -> Job:
        """Take note that a running job's process is dead: it is queued again, to go on where it was.

        how: in words. patience: after so many deaths in a row with nothing got done in between, it has failed.
        """
        progress = self._progress(id)
        with self._file.writing() as db:
            row = db.execute("SELECT * FROM jobs WHERE id = ? AND state = 'running'", (id,)).fetchone()
            if row is None or row["stopping"]:
                pass
            elif (deaths := 1 if (progress.fraction or 0.0) > row["furthest"] else row["deaths"] + 1) < patience:
                db.execute(
                    "UPDATE jobs SET state = 'queued', message = ?, deaths = ?, furthest = MAX(furthest, ?) "
                    "WHERE id = ?",
                    (f"{how}: it goes on", deaths, progress.fraction or 0.0, id),
                )
            else:
                message = f"{how}, {deaths} times in a row without getting any further: its log may say why"
                db.execute(
                    "UPDATE jobs SET state = 'failed', message = ?, progress = ?, deaths = ?, finished_at = ? "
                    "WHERE id = ?",
                    (message[:_LONGEST_MESSAGE], json.dumps(asdict(progress)), deaths, _now(), id),
                )
        if row is not None and row["stopping"]:
            self.stopped(id)
        return self.job(id)

    def _progress(self, id: int) -> Progress:
        return Progress.read(self.folder(id) / "progress.json")

    def _job(self, row: sqlite3.Row) -> Job:
        is_open = row["state"] in ("queued", "running")
        return Job(
            id=row["id"],
            kind=row["kind"],
            project_id=row["project_id"],
            state=row["state"],
            cause=row["cause"],
            message=row["message"],
            progress=self._progress(row["id"]) if is_open else Progress.from_json(json.loads(row["progress"])),
            created_at=datetime.fromisoformat(row["created_at"]),
            started_at=row["started_at"] and datetime.fromisoformat(row["started_at"]),
            finished_at=row["finished_at"] and datetime.fromisoformat(row["finished_at"]),
            stopping=row["stopping"],
            deaths=row["deaths"],
            parameters=json.loads(row["parameters"]),
        )


def _prepare(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        for statement in _TABLES.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {_VERSION}")
        version = _VERSION
    return version


def _now() -> str:
    return datetime.now(UTC).isoformat()
