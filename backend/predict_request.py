"""The body of POST /predict, parsed once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backend.errors import RequestError
from backend.json_node import Node

MAX_TASKS = 1000
MAX_RESULTS = 100_000
"""Results in a context, and in a draft or annotation that a task brings along."""

MAX_SAVED = 100
"""Drafts, and annotations, that a task may bring along."""


@dataclass(frozen=True)
class Saved:
    """The ids in one draft or annotation of a task, and when it was last saved (aware)."""

    region_ids: frozenset[str]
    updated_at: datetime


@dataclass(frozen=True)
class Task:
    """One task: `data` is what was imported, `saved` what annotators have drawn on it so far."""

    id: int
    data: Mapping[str, Any]
    saved: tuple[Saved, ...]


@dataclass(frozen=True)
class PredictRequest:
    """What Label Studio asks.

    project_id: None where it does not say.
    context:    the results an annotator drew last, raw, as nodes; None when nobody drew: a task was opened, or several
                are to be predicted at once. `backend.smart_prompt` reads it.
    """

    project_id: int | None
    label_config: str
    tasks: tuple[Task, ...]
    context: tuple[Node, ...] | None

    @property
    def is_about_video(self) -> bool:
        """Whether the annotator drew in a video; such a context holds nothing for an image model."""
        return bool(self.context) and all(result["type"].value == "videorectangle" for result in self.context or ())


def parse(body: bytes) -> PredictRequest:
    """Read the body of POST /predict; RequestError says which key is wrong, what came, and what was expected."""
    request = Node.read(body)
    context = None if request["params"].is_missing else request["params"]["context"]
    return PredictRequest(
        project_id=project_id(request["project"]),
        label_config=request["label_config"].text(),
        tasks=tuple(_task(task) for task in request["tasks"].items(MAX_TASKS)),
        context=None if context is None or context.is_missing else tuple(_results(context["result"])),
    )


def project_id(project: Node) -> int | None:
    """Label Studio sends `"<id>.<when it was created>"`, and other clients send the id."""
    if project.is_missing or project.value == "":
        return None
    shown = str(project.value) if type(project.value) in (int, str) else ""
    match = re.fullmatch(r"([0-9]{1,18})(\.[0-9]{1,18})?", shown)
    if match is None:
        raise RequestError(f'`project` must be a project\'s id, as in "3.1795350775" or 3, got {project.value!r:.60}')
    return int(match[1])


def _task(task: Node) -> Task:
    saved = [*task["drafts"].items(MAX_SAVED), *task["annotations"].items(MAX_SAVED)]
    return Task(task["id"].whole(0), task["data"].object(), tuple(map(_saved, saved)))


def _saved(saved: Node) -> Saved:
    ids = (result["id"] for result in _results(saved["result"]))
    return Saved(frozenset(id.text() for id in ids if not id.is_missing), saved["updated_at"].moment())


def _results(results: Node) -> list[Node]:
    """Results are objects: whoever reads on may look up a key."""
    nodes = results.items(MAX_RESULTS)
    for node in nodes:
        node.object()
    return nodes
