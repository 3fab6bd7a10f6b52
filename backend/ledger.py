"""The ledger: what was suggested, and what became of it. It survives a crash at any moment.

One SQLite file. `events` is the journal of all webhooks, append-only; `annotations` is what follows from it, the latest
state of each; `suggestions` leads from a region id back to the prompt; `projects` says what `/setup` told.

Time in the ledger is the number of the last event, not the clock: `annotations.confirmed` is the event after which
Label Studio last spoke of an annotation, which is how a reconciliation knows what is newer than itself.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backend.errors import LedgerError
from backend.suggestion import Suggestion
from backend.webhook_event import Annotation, parse_webhook

__all__ = ["Ledger", "Project", "Suggestion"]

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, received_at TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE annotations (
    id INTEGER PRIMARY KEY, project_id INTEGER, task_id INTEGER, updated_at INTEGER, deleted INTEGER NOT NULL,
    confirmed INTEGER NOT NULL, body TEXT
);
CREATE INDEX annotations_of_project ON annotations (project_id, task_id);
CREATE TABLE suggestions (region_id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE projects (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
"""
_REMEDIES = {
    sqlite3.SQLITE_FULL: "free some space on its disk",
    sqlite3.SQLITE_IOERR: "look after its disk, which may be full or broken",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable for this user",
    sqlite3.SQLITE_CANTOPEN: "make the file and its folder writable for this user",
    sqlite3.SQLITE_BUSY: "stop the other process that holds it",
    sqlite3.SQLITE_NOTADB: "it is damaged or no ledger: move it away, a new one is made",
    sqlite3.SQLITE_CORRUPT: "it is damaged: move it away, a new one is made",
}
_BUSY_SECONDS = 10.0
_PROJECT_SECRETS = ("token", "task_data_login", "task_data_password")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Project:
    """What Label Studio said of a project in `/setup`. token: the owner's legacy API token, if it sent one."""

    id: int
    label_config: str
    url: str | None = None
    token: str | None = field(default=None, repr=False)


class Ledger:
    """The ledger in the file `path`; made, with its folder, where it is missing. Any thread may call any method.

    What a method has written is on the disk when it returns. Every method raises LedgerError when the file cannot be
    read or written, and has then changed nothing.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # It may hold a token: nobody else may read it, not even for the moment before a chmod.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            path.chmod(0o600)
        except OSError as error:
            raise LedgerError(
                f"the ledger {path} cannot be opened: {error.strerror}; make its folder writable for this user"
            ) from error
        with self._reporting():
            self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file; the ledger is of no use afterwards."""
        with self._reporting():
            self._db.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def record_suggestion(self, suggestion: Suggestion) -> None:
        """Keep `suggestion` under its region id."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO suggestions VALUES (?, ?)", (suggestion.region_id, suggestion.to_json()))

    def suggestion(self, region_id: str) -> Suggestion | None:
        """The suggestion that was given under `region_id`, or None."""
        rows = self._read("SELECT body FROM suggestions WHERE region_id = ?", region_id)
        return Suggestion.from_json(rows[0][0]) if rows else None

    def remember_project(self, project: Project) -> None:
        """Keep what is known of a project, in place of what was known before."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO projects VALUES (?, ?)", (project.id, json.dumps(asdict(project))))

    def project(self, project_id: int) -> Project | None:
        """What is known of a project, or None."""
        rows = self._read("SELECT body FROM projects WHERE id = ?", project_id)
        return Project(**json.loads(rows[0][0])) if rows else None

    def journal(self, action: str, payload: Mapping[str, Any]) -> None:
        """Keep a webhook, less the project's secrets, and bring the annotations up to date with it.

        A repeated event, an older one that arrives late, and any one of a deleted annotation change nothing. Raises
        RequestError, and keeps nothing, when the webhook is malformed.
        """
        event = parse_webhook(action, payload)
        with self._writing() as db:
            number = self._append(action, payload)
            for annotation in event.changed:
                row = self._row(annotation.id)
                if row is None or not row["deleted"] and _state(row) < _order(annotation):
                    self._put(annotation, number)
            for annotation_id in event.deleted:
                # The id stays, so that it stays deleted; the content goes.
                db.execute(
                    "INSERT OR REPLACE INTO annotations (id, deleted, confirmed) VALUES (?, 1, ?)",
                    (annotation_id, number),
                )

    def begin_reconciliation(self, project_id: int) -> int:
        """The event number from which a reconciliation counts: take it before Label Studio is first asked."""
        with self._writing():
            return self._append("RECONCILIATION", {"project": {"id": project_id}})

    def confirm(self, annotations: Iterable[Annotation], since: int) -> None:
        """Take over what Label Studio's API said after event `since`, in one transaction.

        It counts for more than anything in the ledger, except what a webhook has said since.
        """
        with self._writing():
            for annotation in annotations:
                row = self._row(annotation.id)
                if row is None or row["confirmed"] < since:
                    self._put(annotation, since)
                elif not row["deleted"] and _state(row) < _order(annotation):
                    self._put(annotation, row["confirmed"])

    def end_reconciliation(self, project_id: int, since: int) -> int:
        """Delete what Label Studio has not confirmed since event `since`; how many annotations that were."""
        with self._writing() as db:
            return db.execute(
                "UPDATE annotations SET deleted = 1, body = NULL, confirmed = ?2 "
                "WHERE project_id = ?1 AND NOT deleted AND confirmed < ?2",
                (project_id, since),
            ).rowcount

    def annotations_by_task(self, project_id: int) -> Iterator[list[Annotation]]:
        """The annotations that are not deleted, task by task in the order of their ids; one task is in memory."""
        tasks = self._read(
            "SELECT DISTINCT task_id FROM annotations WHERE project_id = ? AND NOT deleted ORDER BY task_id", project_id
        )
        for (task_id,) in tasks:
            yield [
                _from_body(row["body"])
                for row in self._read(
                    "SELECT body FROM annotations WHERE project_id = ? AND task_id = ? AND NOT deleted ORDER BY id",
                    project_id,
                    task_id,
                )
            ]

    def _prepare(self) -> None:
        with self._reporting():
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        with self._writing() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version not in (0, _SCHEMA_VERSION):
                raise LedgerError(f"the ledger {self.path} was made by a newer PAM Studio (format {version}): upgrade")
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def _append(self, action: str, payload: Mapping[str, Any]) -> int:
        project = payload.get("project")
        if isinstance(project, dict):
            kept = {key: value for key, value in project.items() if key not in _PROJECT_SECRETS}
            payload = {**payload, "project": kept}
        (number,) = self._db.execute(
            "INSERT INTO events (received_at, body) VALUES (?, ?) RETURNING id",
            (datetime.now(UTC).isoformat(), json.dumps({"action": action, "payload": payload})),
        ).fetchone()
        return number

    def _row(self, annotation_id: int) -> sqlite3.Row | None:
        return self._db.execute("SELECT * FROM annotations WHERE id = ?", (annotation_id,)).fetchone()

    def _put(self, annotation: Annotation, confirmed: int) -> None:
        updated_at, body = _order(annotation)
        self._db.execute(
            "INSERT OR REPLACE INTO annotations VALUES (?, ?, ?, ?, 0, ?, ?)",
            (annotation.id, annotation.project_id, annotation.task_id, updated_at, confirmed, body),
        )

    def _read(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._reporting():
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, undone as a whole by any exception."""
        with self._reporting():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Hold the connection, and turn what SQLite complains of into a LedgerError with a remedy."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                # The low byte of an extended code is its family, such as IOERR of IOERR_WRITE.
                family = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
                remedy = _REMEDIES.get(family, "look into the log")
                raise LedgerError(f"the ledger {self.path} failed: {error}; {remedy}") from error


def _order(annotation: Annotation) -> tuple[int, str]:
    """What decides which of two states of an annotation is the later; the body, where Label Studio gave both one time,
    so that the order of arrival never matters."""
    fields = asdict(annotation)
    for key in ("created_at", "updated_at"):
        fields[key] = fields[key].astimezone(UTC).isoformat()
    return (annotation.updated_at - _EPOCH) // timedelta(microseconds=1), json.dumps(fields, sort_keys=True)


def _state(row: sqlite3.Row) -> tuple[int, str]:
    """What `_order` said of the state that a row holds."""
    return row["updated_at"], row["body"]


def _from_body(body: str) -> Annotation:
    fields = json.loads(body)
    for key in ("created_at", "updated_at"):
        fields[key] = datetime.fromisoformat(fields[key])
    return Annotation(**fields)
