"""What Label Studio says of annotations, parsed: in a webhook, and in a task that its API lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backend.errors import RequestError

_CHANGED = {"ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED"}
_DELETED = "ANNOTATIONS_DELETED"


@dataclass(frozen=True)
class Annotation:
    """The state of one annotation at one moment, as Label Studio keeps it.

    result:     Label Studio's list of results, untouched; `backend.annotations` reads it.
    task_data:  the task's `data`, where the image's address stands.
    created_at, updated_at: aware datetimes; the larger `updated_at` is the later state.
    """

    id: int
    project_id: int
    task_id: int
    result: list[Any]
    task_data: Mapping[str, Any]
    was_cancelled: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class WebhookEvent:
    """What a webhook says has happened to annotations; both are empty where it is about something else."""

    changed: tuple[Annotation, ...] = ()
    deleted: tuple[int, ...] = ()


def parse_webhook(action: str, payload: Mapping[str, Any]) -> WebhookEvent:
    """Read a webhook's body; raises RequestError when one about annotations is malformed."""
    if action in _CHANGED:
        tasks = {_whole(task, "id", "task"): task for task in _objects(payload, "task")}
        return WebhookEvent(changed=tuple(_changed(a, tasks, action) for a in _objects(payload, "annotation")))
    if action == _DELETED:
        return WebhookEvent(deleted=tuple(_whole(a, "id", "annotation") for a in _objects(payload, "annotations")))
    return WebhookEvent()


def annotations_of_task(task: Mapping[str, Any], project_id: int) -> list[Annotation]:
    """The annotations of a task that the API listed in full; raises RequestError when it is malformed."""
    if not isinstance(task.get("annotations"), list):
        raise RequestError(f"task {task.get('id')} came without its list of annotations: read tasks with all fields")
    return [_annotation(a, task, project_id) for a in _objects(task, "annotations")]


def _changed(annotation: Mapping[str, Any], tasks: Mapping[int, Mapping[str, Any]], action: str) -> Annotation:
    task_id = _whole(annotation, "task", "annotation")
    if task_id not in tasks:
        raise RequestError(f"{action} holds an annotation of task {task_id}, but not that task")
    return _annotation(annotation, tasks[task_id], _whole(annotation, "project", "annotation"))


def _annotation(annotation: Mapping[str, Any], task: Mapping[str, Any], project_id: int) -> Annotation:
    result, data = annotation.get("result"), task.get("data")
    if not isinstance(result, list) or not isinstance(data, dict):
        raise RequestError(f"annotation {annotation.get('id')} needs a list `result`, and its task an object `data`")
    return Annotation(
        id=_whole(annotation, "id", "annotation"),
        project_id=project_id,
        task_id=_whole(task, "id", "task"),
        result=result,
        task_data=data,
        was_cancelled=bool(annotation.get("was_cancelled")),
        created_at=_moment(annotation, "created_at"),
        updated_at=_moment(annotation, "updated_at"),
    )


def _objects(parent: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """What stands under `key`, one object or a list of them, as a list."""
    value = parent.get(key)
    items: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in items):
        raise RequestError(f"`{key}` must be an object or a list of objects")
    return items


def _whole(parent: Mapping[str, Any], key: str, what: str) -> int:
    value = parent.get(key)
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise RequestError(f"`{key}` of the {what} must be a whole number, got {str(value)[:80]!r}")
    return value


def _moment(parent: Mapping[str, Any], key: str) -> datetime:
    """A time as an aware datetime: strings of one moment differ by zone and by digits, so they do not compare."""
    value = parent.get(key)
    try:
        moment = datetime.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise RequestError(
            f"`{key}` of annotation {parent.get('id')} must be an ISO 8601 time, got {str(value)[:80]!r}"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
