"""What Label Studio says of annotations, parsed: in a webhook, and in a task that its API lists."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backend.errors import RequestError
from backend.json_node import Node

MAX_ANNOTATIONS = 10_000
"""Annotations in one webhook, or of one task."""

MAX_DELETED = 1_000_000
"""Ids in one webhook about what was deleted."""

MAX_RESULTS = 100_000
"""Results in one annotation."""

_CHANGED = {"ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED"}
_DELETED = "ANNOTATIONS_DELETED"
_TASKS_DELETED = "TASKS_DELETED"


@dataclass(frozen=True)
class Annotation:
    """The state of one annotation at one moment, as Label Studio keeps it.

    result:     Label Studio's list of results, untouched; `backend.annotations` reads it.
    task_data:  the task's `data`, where the image's address stands.
    created_at, updated_at: aware datetimes; the larger `updated_at` is the later state.
    annotator:  Label Studio's id of whoever submitted it, or None.
    ground_truth: whether it was marked as the one to go by.
    lead_time:  seconds that it took on the screen, or None.
    """

    id: int
    project_id: int
    task_id: int
    result: list[Any]
    task_data: Mapping[str, Any]
    was_cancelled: bool
    created_at: datetime
    updated_at: datetime
    annotator: int | None = None
    ground_truth: bool = False
    lead_time: float | None = None


@dataclass(frozen=True)
class WebhookEvent:
    """What a webhook says has happened to annotations; all are empty where it is about something else.

    deleted: ids of annotations. deleted_tasks: ids of tasks, whose annotations are gone with them.
    """

    changed: tuple[Annotation, ...] = ()
    deleted: tuple[int, ...] = ()
    deleted_tasks: tuple[int, ...] = ()


def parse_webhook(action: str, payload: Mapping[str, Any]) -> WebhookEvent:
    """Read a webhook's body; raises RequestError when one about annotations is malformed."""
    body = Node(payload)
    if action in _CHANGED:
        tasks = {task["id"].whole(0): task for task in _one_or_more(body["task"])}
        return WebhookEvent(changed=tuple(_changed(a, tasks) for a in _one_or_more(body["annotation"])))
    if action == _DELETED:
        return WebhookEvent(deleted=tuple(a["id"].whole(0) for a in _one_or_more(body["annotations"], MAX_DELETED)))
    if action == _TASKS_DELETED:
        return WebhookEvent(deleted_tasks=tuple(t["id"].whole(0) for t in _one_or_more(body["tasks"], MAX_DELETED)))
    return WebhookEvent()


def annotations_of_task(task: Mapping[str, Any], project_id: int) -> list[Annotation]:
    """The annotations of a task that the API listed in full; raises RequestError when it is malformed."""
    node = Node(task, "task")
    if node["annotations"].is_missing:
        raise RequestError(f"task {task.get('id')} came without its list of annotations: read tasks with all fields")
    return [_annotation(a, node, project_id) for a in node["annotations"].items(MAX_ANNOTATIONS)]


def _changed(annotation: Node, tasks: Mapping[int, Node]) -> Annotation:
    task_id = annotation["task"].whole(0)
    if task_id not in tasks:
        raise RequestError(f"`{annotation.path}` belongs to task {task_id}, which did not come along")
    return _annotation(annotation, tasks[task_id], annotation["project"].whole(0))


def _annotation(annotation: Node, task: Node, project_id: int) -> Annotation:
    return Annotation(
        id=annotation["id"].whole(0),
        project_id=project_id,
        task_id=task["id"].whole(0),
        result=[result.value for result in annotation["result"].items(MAX_RESULTS)],
        task_data=task["data"].object(),
        was_cancelled=annotation["was_cancelled"].flag(default=False),
        created_at=annotation["created_at"].moment(),
        updated_at=annotation["updated_at"].moment(),
        annotator=_user_id(annotation["completed_by"].value),
        ground_truth=annotation["ground_truth"].value is True,
        lead_time=_seconds(annotation["lead_time"].value),
    )


def _user_id(user: object) -> int | None:
    """The id of a user, whom Label Studio names by it or describes in an object; no annotation is refused for it."""
    number = user.get("id") if isinstance(user, dict) else user
    return number if type(number) is int else None


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < math.inf else None


def _one_or_more(node: Node, most: int = MAX_ANNOTATIONS) -> list[Node]:
    """An object, or the objects in a list: Label Studio sends either."""
    return node.items(most) if isinstance(node.value, list) else [node]
