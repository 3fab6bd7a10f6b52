"""The body of POST /predict, parsed once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backend.errors import RequestError
from backend.json_node import Node

MAX_TASKS = 50_000
MAX_RESULTS = 100_000
"""Results in a context, and those that are read of a draft or annotation that a task brings along."""

MAX_SAVED = 100
"""Drafts, and annotations, that are read of those that a task brings along."""


@dataclass(frozen=True)
class Saved:
    """The ids in one draft or annotation of a task, when it was last saved (aware), and its results, raw."""

    region_ids: frozenset[str]
    updated_at: datetime
    results: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Task:
    """One task: `data` is what was imported, `saved` what annotators have drawn on it, as far as it can be read."""

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
    return Task(task["id"].whole(0), task["data"].object(), tuple(_saved(task)))


def _saved(task: Node) -> Iterator[Saved]:
    """What tells old drawings from new ones. Nothing else hangs on it: what cannot be read is no reason to refuse."""
    for saved in (*_objects(task["drafts"], MAX_SAVED), *_objects(task["annotations"], MAX_SAVED)):
        results = tuple(result.object() for result in _objects(saved["result"], MAX_RESULTS))
        ids = (result.get("id") for result in results)
        with suppress(RequestError):
            updated_at = saved["updated_at"].moment()
            yield Saved(frozenset(id for id in ids if isinstance(id, str)), updated_at, results)


def _objects(items: Node, most: int) -> list[Node]:
    """The objects among the first `most` of a list; none where no list stands."""
    values = items.value[:most] if isinstance(items.value, list) else []
    return [Node(value) for value in values if isinstance(value, dict)]


def _results(results: Node) -> list[Node]:
    """Results are objects: whoever reads on may look up a key."""
    nodes = results.items(MAX_RESULTS)
    for node in nodes:
        node.object()
    return nodes
