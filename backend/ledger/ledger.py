"""The ledger: what was suggested, and what became of it. It survives a crash at any moment.

One SQLite file. `events` is the journal of what came in, bounded in bytes; `annotations` is what follows from it, the
latest state of each; `suggestions` leads from a region id back to the prompt; `projects` says what `/setup` told.

Time in the ledger is the number of the last event, not the clock: `annotations.confirmed` is the event that brought the
state, which is how a page that Label Studio listed knows what is newer than itself, and `task_changes` holds for each
task the event that last changed one of its annotations, which is how an export knows what to write anew.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backend.database import Database
from backend.ledger.group_commit import GroupCommit
from backend.ledger.intake import TaskPage, take_event, take_page
from backend.ledger.memories import Memories
from backend.ledger.outcomes import Outcomes
from backend.ledger.project import Project
from backend.ledger.reconciliation import Reconciliation
from backend.ledger.schema import FORMAT
from backend.ledger.states import from_body
from backend.ledger.tracks import Tracks
from backend.suggestion import Suggestion
from backend.webhook_event import Annotation, WebhookEvent, parse_webhook

JOURNAL_BYTES = 256 << 20
"""How much of what came in is kept verbatim, unless the settings say otherwise."""

_PROJECT_SECRETS = ("token", "task_data_login", "task_data_password")
_ROWS_AT_ONCE = 1000
_KEPT_WHEN_PRUNED = 0.9


@dataclass(frozen=True)
class Holdings:
    """How many annotations that are not deleted the ledger holds, how many of these are cancelled, of how many tasks
    they are, and how many suggestions there were."""

    annotations: int
    cancelled: int
    tasks: int
    suggestions: int


class Ledger:
    """The ledger in the file `path`; made, with its folder, where it is missing. Any thread may call any method.

    What a method has written is on the disk when it returns. Every method raises LedgerError when the file cannot be
    read or written, and has then changed nothing.

    journal_bytes: how much of what came in is kept verbatim; the oldest goes first. Annotations are kept regardless.
    """

    def __init__(self, path: Path, journal_bytes: int = JOURNAL_BYTES):
        self.path = path
        self._journal_bytes = journal_bytes
        self._file = Database(path, FORMAT)
        self.outcomes = Outcomes(self._file)
        self.memories = Memories(self._file)
        self.tracks = Tracks(self._file)
        self._journal = GroupCommit(self._write_events)

    def close(self) -> None:
        """Close the file; the ledger is of no use afterwards."""
        self._file.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def id(self) -> str:
        """The name that this ledger was given when it was made: numbers of two ledgers cannot be compared."""
        return self._file.read("SELECT id FROM about")[0]["id"]

    def record_suggestion(self, suggestion: Suggestion) -> None:
        """Keep `suggestion` under its region id, in the place of the one that was there."""
        row = suggestion.region_id, suggestion.to_json(), suggestion.project_id, suggestion.task_id
        with self._file.writing() as db:
            db.execute(
                "INSERT INTO suggestions VALUES (?, ?, ?, ?) ON CONFLICT (region_id) DO UPDATE SET "
                "body = excluded.body, project_id = excluded.project_id, task_id = excluded.task_id",
                row,
            )

    def record_unasked(
        self, project_id: int, task_id: int, model_version: str, suggestions: Sequence[Suggestion]
    ) -> None:
        """Keep what a model version found by itself on a task, in place of what it found there before.

        What an annotator has saved meanwhile stays: only suggestions that are in no annotation are replaced.
        """
        saved = {
            result.get("id")
            for annotation in self.annotations_of_task(project_id, task_id)
            for result in annotation.result
            if isinstance(result, dict)
        }
        gone = [
            (each.region_id,)
            for each in self.suggestions_of_task(project_id, task_id)
            if each.unasked and each.model_version == model_version and each.region_id not in saved
        ]
        with self._file.writing() as db:
            db.executemany("DELETE FROM suggestions WHERE region_id = ?", gone)
            db.executemany(
                "INSERT OR REPLACE INTO suggestions VALUES (?, ?, ?, ?)",
                [(s.region_id, s.to_json(), s.project_id, s.task_id) for s in suggestions],
            )

    def suggestion(self, region_id: str) -> Suggestion | None:
        """The suggestion that was given under `region_id`, or None."""
        rows = self._file.read("SELECT body FROM suggestions WHERE region_id = ?", region_id)
        return Suggestion.from_json(rows[0]["body"]) if rows else None

    def suggestions_of_task(self, project_id: int, task_id: int) -> list[Suggestion]:
        """What was suggested for a task, oldest first."""
        rows = self._file.read(
            "SELECT body FROM suggestions WHERE project_id = ? AND task_id = ? ORDER BY rowid", project_id, task_id
        )
        return [Suggestion.from_json(row["body"]) for row in rows]

    def remember_project(self, project: Project) -> None:
        """Keep what is known of a project, in place of what was known before."""
        with self._file.writing() as db:
            _put_project(db, project)

    def remember_label_config(self, project_id: int, label_config: str) -> None:
        """Keep the labelling config that Label Studio says a project has now; all else that is known of it stays."""
        with self._file.writing() as db:
            known = self.project(project_id)
            if known is None or known.label_config != label_config:
                _put_project(db, replace(known or Project(project_id, ""), label_config=label_config))

    def project(self, project_id: int) -> Project | None:
        """What is known of a project, or None."""
        rows = self._file.read("SELECT body FROM projects WHERE id = ?", project_id)
        return Project(**json.loads(rows[0]["body"])) if rows else None

    def projects(self) -> list[int]:
        """Ids of the projects that the ledger holds anything of."""
        tables = ("SELECT id FROM projects", *(f"SELECT project_id FROM {t}" for t in ("task_changes", "suggestions")))
        rows = self._file.read(f"{' UNION '.join(tables)} ORDER BY 1")
        return [row[0] for row in rows if row[0] is not None]

    def holdings(self, project_id: int) -> Holdings:
        """How much the ledger holds of a project."""
        count = "SELECT COUNT(*) FROM"
        rows = self._file.read(
            f"SELECT ({count} annotations WHERE project_id = ?1 AND NOT deleted) AS annotations, "
            f"({count} annotations WHERE project_id = ?1 AND NOT deleted AND json_extract(body, '$.was_cancelled')) "
            "AS cancelled, "
            "(SELECT COUNT(DISTINCT task_id) FROM annotations WHERE project_id = ?1 AND NOT deleted) AS tasks, "
            f"({count} suggestions WHERE project_id = ?1) AS suggestions",
            project_id,
        )
        return Holdings(**rows[0])

    def journal(self, action: str, payload: Mapping[str, Any]) -> WebhookEvent:
        """Keep a webhook, less the project's secrets, and bring the annotations up to date with it; what it says.

        A repeated event, an older one that arrives late, and any one of a deleted annotation or task change nothing.
        Raises RequestError, and keeps nothing, when the webhook is malformed.
        """
        event = parse_webhook(action, payload)
        self._journal((event, _event_body(action, payload)))
        return event

    def tasks_of(self, annotation_ids: Sequence[int]) -> set[tuple[int, int]]:
        """Project and task ids of annotations, deleted ones too, as far as the ledger knows them."""
        found: set[tuple[int, int]] = set()
        for start in range(0, len(annotation_ids), _ROWS_AT_ONCE):
            some = annotation_ids[start : start + _ROWS_AT_ONCE]
            rows = self._file.read(
                "SELECT DISTINCT project_id, task_id FROM annotations WHERE task_id IS NOT NULL "
                f"AND id IN ({', '.join('?' * len(some))})",
                *some,
            )
            found.update((row["project_id"], row["task_id"]) for row in rows)
        return found

    def _write_events(self, events: Sequence[tuple[WebhookEvent, str]]) -> None:
        with self._file.writing() as db:
            for event, body in events:
                take_event(db, event, self._append(db, body))

    @property
    def number(self) -> int:
        """The number of the last event; to be read before Label Studio is asked for a page."""
        rows = self._file.read("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
        return rows[0]["seq"] if rows else 0

    def confirm(self, page: TaskPage, since: int, reached: Reconciliation | None = None) -> int:
        """Take over what Label Studio's API said after event `since`, in one transaction; how many annotations changed.

        It counts for more than anything in the ledger, except what a webhook has said since. What it merely confirms
        is not touched. reached: how far the reading has come with this page.
        """
        with self._file.writing() as db:
            if reached is not None:
                db.execute("INSERT OR REPLACE INTO reconciliations VALUES (?, ?)", (page.project_id, reached.to_json()))
            return take_page(db, page, since, lambda ids: self._append(db, _reconciled(page.project_id, ids)))

    def reconciliation(self, project_id: int) -> Reconciliation:
        """How far the reading of a project out of Label Studio has come."""
        rows = self._file.read("SELECT body FROM reconciliations WHERE project_id = ?", project_id)
        return Reconciliation.from_json(rows[0]["body"]) if rows else Reconciliation()

    def count_annotations(self, project_id: int) -> int:
        """How many annotations of a project are not deleted; cancelled ones count."""
        rows = self._file.read(
            "SELECT COUNT(*) AS count FROM annotations WHERE project_id = ? AND NOT deleted", project_id
        )
        return rows[0]["count"]

    def count_submitted_since(self, number: int) -> int:
        """How many annotations of all projects came or changed after event `number`; cancelled ones do not count."""
        rows = self._file.read(
            "SELECT COUNT(*) AS count FROM annotations WHERE confirmed > ? AND NOT deleted "
            "AND NOT json_extract(body, '$.was_cancelled')",
            number,
        )
        return rows[0]["count"]

    def change_number(self, project_id: int) -> int:
        """The event that last changed an annotation of the project, 0 where there is none.

        Read it before the annotations: what changes while they are read is then found by the next `changed_since`.
        """
        rows = self._file.read("SELECT MAX(changed) AS last FROM task_changes WHERE project_id = ?", project_id)
        return rows[0]["last"] or 0

    def changed_since(self, project_id: int, number: int) -> Iterator[int]:
        """Ids, rising, of the tasks that have had an annotation come, change or go after event `number`.

        With 0, all tasks that ever had one.
        """
        last = -1
        while rows := self._file.read(
            "SELECT task_id FROM task_changes WHERE project_id = ? AND changed > ? AND task_id > ? "
            "ORDER BY task_id LIMIT ?",
            project_id,
            number,
            last,
            _ROWS_AT_ONCE,
        ):
            yield from (row["task_id"] for row in rows)
            last = rows[-1]["task_id"]

    def annotations_of_task(self, project_id: int, task_id: int) -> list[Annotation]:
        """The annotations of a task that are not deleted, by rising id; cancelled ones are among them."""
        rows = self._file.read(
            "SELECT body FROM annotations WHERE project_id = ? AND task_id = ? AND NOT deleted ORDER BY id",
            project_id,
            task_id,
        )
        return [from_body(row["body"]) for row in rows]

    def annotations_by_task(self, project_id: int) -> Iterator[list[Annotation]]:
        """The annotations that are not deleted, task by task in the order of their ids; one task is in memory."""
        for task_id in self.changed_since(project_id, 0):
            if annotations := self.annotations_of_task(project_id, task_id):
                yield annotations

    def _append(self, db: sqlite3.Connection, body: str) -> int:
        """Keep an event, inside the caller's transaction, and let go of the oldest ones where there is too much."""
        (number,) = db.execute(
            "INSERT INTO events (received_at, body) VALUES (?, ?) RETURNING id", (datetime.now(UTC).isoformat(), body)
        ).fetchone()
        db.execute("UPDATE about SET journal_bytes = journal_bytes + ?", (len(body.encode()),))
        (kept,) = db.execute("SELECT journal_bytes FROM about").fetchone()
        if kept > self._journal_bytes:
            self._prune(db, kept, number)
        return number

    def _prune(self, db: sqlite3.Connection, kept: int, newest: int) -> None:
        """Let go of the oldest events; of some more than must be, so that it is not done again at each event."""
        last = 0
        for row in db.execute("SELECT id, LENGTH(CAST(body AS BLOB)) AS bytes FROM events ORDER BY id"):
            if kept <= _KEPT_WHEN_PRUNED * self._journal_bytes or row["id"] == newest:
                break
            kept, last = kept - row["bytes"], row["id"]
        db.execute("DELETE FROM events WHERE id <= ?", (last,))
        db.execute("UPDATE about SET journal_bytes = ?", (kept,))


def _put_project(db: sqlite3.Connection, project: Project) -> None:
    db.execute("INSERT OR REPLACE INTO projects VALUES (?, ?)", (project.id, json.dumps(asdict(project))))


def _event_body(action: str, payload: Mapping[str, Any]) -> str:
    project = payload.get("project")
    if isinstance(project, dict):
        kept = {key: value for key, value in project.items() if key not in _PROJECT_SECRETS}
        payload = {**payload, "project": kept}
    return json.dumps({"action": action, "payload": payload})


def _reconciled(project_id: int, annotation_ids: list[int]) -> str:
    return _event_body("RECONCILED", {"project": {"id": project_id}, "annotations": annotation_ids})
