"""How webhooks and Label Studio's own lists change the rows of annotations, inside a transaction of the caller's."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from backend.ledger.states import order_of, order_of_row
from backend.webhook_event import Annotation, WebhookEvent

_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class TaskPage:
    """What Label Studio's API said, at one moment, of some tasks of a project.

    annotations: all that these tasks have.
    task_ids:    the tasks; an annotation of one of them that is not in `annotations` is gone.
    complete:    first and last task id, both included, between which `task_ids` are all that there are: any other task
                 there is gone. None where the page says nothing of other tasks; `last` is None where there is no end.
    """

    project_id: int
    annotations: Sequence[Annotation]
    task_ids: Collection[int]
    complete: tuple[int, int | None] | None = None


def take_event(db: sqlite3.Connection, event: WebhookEvent, number: int) -> None:
    """Bring the rows up to date with webhook `number`."""
    for annotation in event.changed:
        row = _row(db, annotation.id)
        if _is_deleted(db, annotation.task_id, since=-1):
            continue
        if row is None or not row["deleted"] and order_of_row(row) < order_of(annotation):
            _put(db, annotation, row, number)
    for annotation_id in event.deleted:
        _delete(db, annotation_id, number)
    for task_id in event.deleted_tasks:
        # The id stays, so that no late webhook brings an annotation of it back.
        db.execute("INSERT OR REPLACE INTO deleted_tasks VALUES (?, ?)", (task_id, number))
        for row in db.execute("SELECT id FROM annotations WHERE task_id = ?", (task_id,)).fetchall():
            _delete(db, row["id"], number)


def take_page(db: sqlite3.Connection, page: TaskPage, since: int, next_number: Callable[[list[int]], int]) -> int:
    """Take over `page`, which Label Studio was asked for after event `since`; how many annotations that changed.

    The page counts for more than anything in the rows, except what an event has said since.
    next_number: called once, with the ids that change, where there are any.
    """
    deleted_since = {id for id in page.task_ids if _is_deleted(db, id, since)}
    put = []
    for annotation in page.annotations:
        row = _row(db, annotation.id)
        if annotation.task_id not in deleted_since and _is_news(annotation, row, since):
            put.append((annotation, row))
    listed = {annotation.id for annotation in page.annotations}
    gone = [id for id in _living(db, page, since) if id not in listed]
    for task_id in page.task_ids:
        db.execute("DELETE FROM deleted_tasks WHERE id = ? AND confirmed <= ?", (task_id, since))
    if put or gone:
        number = next_number(sorted([*(annotation.id for annotation, _ in put), *gone]))
        for annotation, row in put:
            _put(db, annotation, row, number)
        for id in gone:
            _delete(db, id, number)
    return len(put) + len(gone)


def _is_news(annotation: Annotation, row: sqlite3.Row | None, since: int) -> bool:
    if row is None:
        return True
    if row["confirmed"] <= since:
        return bool(row["deleted"]) or order_of_row(row) != order_of(annotation)
    return not row["deleted"] and order_of_row(row) < order_of(annotation)


def _living(db: sqlite3.Connection, page: TaskPage, since: int) -> list[int]:
    """Annotations that the page speaks of and no event has spoken of since."""
    which = "SELECT id FROM annotations WHERE project_id = ? AND NOT deleted AND confirmed <= ? AND task_id "
    if page.complete is not None:
        first, last = page.complete
        rows = db.execute(
            which + "BETWEEN ? AND ?", (page.project_id, since, first, 2**63 - 1 if last is None else last)
        )
        return [row["id"] for row in rows]
    found = (db.execute(which + "= ?", (page.project_id, since, task_id)) for task_id in page.task_ids)
    return [row["id"] for rows in found for row in rows]


def _row(db: sqlite3.Connection, annotation_id: int) -> sqlite3.Row | None:
    return db.execute("SELECT * FROM annotations WHERE id = ?", (annotation_id,)).fetchone()


def _is_deleted(db: sqlite3.Connection, task_id: int, since: int) -> bool:
    """Whether a webhook after event `since` said that the task was deleted."""
    rows = db.execute("SELECT 1 FROM deleted_tasks WHERE id = ? AND confirmed > ?", (task_id, since))
    return rows.fetchone() is not None


def _put(db: sqlite3.Connection, annotation: Annotation, before: sqlite3.Row | None, number: int) -> None:
    updated_at, body = order_of(annotation)
    db.execute(
        "INSERT OR REPLACE INTO annotations VALUES (?, ?, ?, ?, 0, ?, ?)",
        (annotation.id, annotation.project_id, annotation.task_id, updated_at, number, body),
    )
    _mark(db, annotation.project_id, annotation.task_id, number)
    if before is not None:
        _mark(db, before["project_id"], before["task_id"], number)


def _delete(db: sqlite3.Connection, annotation_id: int, number: int) -> None:
    """The id stays, so that it stays deleted; the content goes."""
    row = _row(db, annotation_id)
    if row is None:
        db.execute("INSERT INTO annotations (id, deleted, confirmed) VALUES (?, 1, ?)", (annotation_id, number))
        return
    db.execute(
        "UPDATE annotations SET deleted = 1, updated_at = NULL, body = NULL, confirmed = ? WHERE id = ?",
        (number, annotation_id),
    )
    if not row["deleted"]:
        _mark(db, row["project_id"], row["task_id"], number)


def _mark(db: sqlite3.Connection, project_id: int | None, task_id: int | None, number: int) -> None:
    if project_id is not None and task_id is not None:
        db.execute("INSERT OR REPLACE INTO task_changes VALUES (?, ?, ?)", (project_id, task_id, number))
