"""What the webhooks missed, asked for: the ledger brought level with Label Studio's own list.

A reading goes through tasks by rising id, a page at a time; each page and how far it brings the reading are one
transaction, so that a reading that was stopped anywhere goes on from there. The first reading takes all tasks. Later
ones take those that Label Studio touched since the watermark, which is the time of Label Studio's own clock at which
the last reading began. A task that was deleted touches no other, so the numbers of annotations on both sides are
compared afterwards: where they differ, and once a day in any case, all tasks are read again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from backend.errors import LabelStudioError, RequestError
from backend.ledger import Ledger, Reconciliation, TaskPage
from backend.webhook_event import annotations_of_task

log = logging.getLogger(__name__)

Progress = Callable[[str, int], None]
"""Called with what is being done, and with the number of tasks that are done."""

MARGIN = timedelta(minutes=5)
"""How much later than its `updated_at` a change may show in Label Studio: its transactions take their time, and its
servers' clocks differ."""

FULL_READING_EVERY = timedelta(days=1)

_ATTEMPTS_AT_LEVEL = 3


class TaskSource(Protocol):
    """The part of `backend.label_studio.LabelStudio` that is needed here."""

    @property
    def clock(self) -> datetime | None: ...

    def project(self, project_id: int, /) -> Mapping[str, Any]: ...

    def pages(
        self, project_id: int, /, after: int = -1, changed_from: datetime | None = None
    ) -> Iterator[Sequence[Mapping[str, Any]]]: ...


@dataclass(frozen=True)
class Reconciled:
    """What a reconciliation did: tasks that were read, and annotations that came, changed or went."""

    tasks: int = 0
    changed: int = 0


def reconcile(
    project_id: int, ledger: Ledger, studio: TaskSource, progress: Progress | None = None, *, full: bool = False
) -> Reconciled:
    """Find what no webhook told of, and drop the annotations that are gone from Label Studio.

    full: read all tasks, whatever is known. Raises LabelStudioError when Label Studio cannot be read to the end; the
    next reconciliation then goes on from there.
    """
    return _Reading(project_id, ledger, studio, progress or (lambda what, done: None)).run(full)


class _Reading:
    def __init__(self, project_id: int, ledger: Ledger, studio: TaskSource, progress: Progress):
        self._project_id, self._ledger, self._studio, self._progress = project_id, ledger, studio, progress
        self._tasks = self._changed = 0

    def run(self, full: bool) -> Reconciled:
        self._annotations_there()
        state = self._ledger.reconciliation(self._project_id)
        if state.after is not None and not full:
            state = self._read(state)
        full = full or _is_due(state)
        state = self._read(self._begun(state, full))
        for _ in range(_ATTEMPTS_AT_LEVEL):
            if full or self._is_level():
                break
            state = self._read(self._begun(state, full=False))
        else:
            log.info("project %d: the numbers of annotations differ, so all tasks are read", self._project_id)
            self._read(self._begun(state, full=True))
        return Reconciled(self._tasks, self._changed)

    def _begun(self, state: Reconciliation, full: bool) -> Reconciliation:
        return replace(state, after=-1, is_full=full, watermark_then=self._studio.clock)

    def _read(self, state: Reconciliation) -> Reconciliation:
        """Read from where `state` is to the end."""
        assert state.after is not None
        changed_from = None if state.is_full or state.watermark is None else state.watermark - MARGIN
        pages = self._studio.pages(self._project_id, state.after, changed_from)
        try:
            while True:
                # Taken before the page is asked for: what an event says from here on is newer than the page.
                since = self._ledger.number
                page = next(pages, None)
                state = self._take(page, since, state)
                if page is None:
                    return state
        except LabelStudioError as error:
            where = f"the reading of project {self._project_id} stopped after task {max(state.after or 0, 0)} and will"
            raise LabelStudioError(
                f"{error.message}; {where} go on from there", code=error.code, status=error.status
            ) from error

    def _take(self, page: Sequence[Mapping[str, Any]] | None, since: int, state: Reconciliation) -> Reconciliation:
        """Take over one page, or the end (None) of the list."""
        assert state.after is not None
        tasks = page or ()
        try:
            annotations = [a for task in tasks for a in annotations_of_task(task, self._project_id)]
        except RequestError as error:
            raise LabelStudioError(f"Label Studio's list of tasks cannot be understood: {error.message}") from error
        ids = [task["id"] for task in tasks]
        last = ids[-1] if ids else None
        between = (state.after + 1, last) if state.is_full else None
        reached = replace(state, after=last) if ids else _done(state)
        self._changed += self._ledger.confirm(TaskPage(self._project_id, annotations, ids, between), since, reached)
        if ids:
            self._tasks += len(ids)
            self._progress("reading Label Studio", self._tasks)
        return reached

    def _is_level(self) -> bool:
        """Whether Label Studio counts as many annotations as the ledger; annotators may be at work meanwhile."""
        before = self._ledger.count_annotations(self._project_id)
        there = self._annotations_there()
        after = self._ledger.count_annotations(self._project_id)
        return there is None or min(before, after) <= there <= max(before, after)

    def _annotations_there(self) -> int | None:
        """How many annotations Label Studio counts, cancelled ones too; None where it does not say."""
        project = self._studio.project(self._project_id)
        submitted, cancelled = project.get("total_annotations_number"), project.get("skipped_annotations_number")
        return submitted + cancelled if isinstance(submitted, int) and isinstance(cancelled, int) else None


def _is_due(state: Reconciliation) -> bool:
    """Whether all tasks must be read."""
    if state.watermark is None or state.read_fully_at is None:
        return True
    return not timedelta(0) <= datetime.now(UTC) - state.read_fully_at < FULL_READING_EVERY


def _done(state: Reconciliation) -> Reconciliation:
    return Reconciliation(
        watermark=state.watermark_then,
        read_fully_at=datetime.now(UTC) if state.is_full else state.read_fully_at,
    )
