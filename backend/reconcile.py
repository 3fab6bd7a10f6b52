"""What the webhooks missed, asked for: the ledger brought level with Label Studio's own list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

from backend.errors import LabelStudioError, RequestError
from backend.ledger import Ledger, TaskPage
from backend.webhook_event import annotations_of_task

Progress = Callable[[str, int], None]
"""Called with what is being done, and with the number of tasks that are done."""

_TASKS_PER_TRANSACTION = 20


class TaskSource(Protocol):
    """The part of `backend.label_studio.LabelStudio` that is needed here."""

    def project(self, project_id: int, /) -> Mapping[str, Any]: ...

    def tasks(self, project_id: int, /) -> Iterable[Mapping[str, Any]]: ...


def reconcile(project_id: int, ledger: Ledger, studio: TaskSource, progress: Progress | None = None) -> None:
    """Find the annotations that no webhook told of, and drop those that are gone from Label Studio.

    Raises LabelStudioError when Label Studio cannot be read to the end; nothing is dropped then.
    """
    done, first = 0, 0
    since = ledger.number
    for page in _pages(studio.tasks(project_id)):
        try:
            annotations = [a for task in page for a in annotations_of_task(task, project_id)]
        except RequestError as error:
            raise LabelStudioError(f"Label Studio's list of tasks cannot be understood: {error.message}") from error
        ids = [task["id"] for task in page]
        ledger.confirm(TaskPage(project_id, annotations, ids, (first, max(ids))), since)
        done, first = done + len(page), max(ids) + 1
        if progress is not None:
            progress("reading Label Studio", done)
    ledger.confirm(TaskPage(project_id, (), (), (first, None)), since)


def _pages(tasks: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    remaining = iter(tasks)
    while page := list(islice(remaining, _TASKS_PER_TRANSACTION)):
        yield page
