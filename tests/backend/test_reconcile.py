"""A project is read to its end and in any number of attempts, and the ledger then says what Label Studio says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend import reconcile as module
from backend.errors import LabelStudioError
from backend.label_studio import PAGE, LabelStudio
from backend.ledger import Ledger
from backend.reconcile import MARGIN, Reconciled, reconcile
from tests.backend.label_studio_double import LEGACY, Double, Reply, json_reply, label_studio_double

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TICK = timedelta(minutes=10)
"""From one action at the table below to the next: more than the margin."""


class Listing:
    """Label Studio, less the wire: tasks with annotations, a clock that its user advances, and a page that fails."""

    def __init__(self, count: int = 0, page_size: int = 20):
        self.page_size = page_size
        self.clock: datetime | None = NOON
        self.touched: dict[int, datetime] = {}
        self.annotations: dict[int, dict[int, dict]] = {}
        self.fails_at: int | None = None
        self.read: list[int] = []
        for id in range(count):
            self.annotate(id, id)

    def annotate(self, task: int, id: int, words: str = "", cancelled: bool = False) -> None:
        moment = {"created_at": NOON.isoformat(), "updated_at": self.clock.isoformat()}
        state = {"id": id, "result": [{"words": words}], "was_cancelled": cancelled} | moment
        self.annotations.setdefault(task, {})[id] = state
        self.touched[task] = self.clock

    def delete(self, task: int, id: int) -> None:
        del self.annotations[task][id]
        self.touched[task] = self.clock

    def delete_task(self, task: int) -> None:
        del self.annotations[task], self.touched[task]

    def project(self, project_id: int) -> dict[str, Any]:
        cancelled = [a["was_cancelled"] for of_task in self.annotations.values() for a in of_task.values()]
        return {
            "id": project_id,
            "total_annotations_number": len(cancelled) - sum(cancelled),
            "skipped_annotations_number": sum(cancelled),
        }

    def pages(
        self, project_id: int, after: int = -1, changed_from: datetime | None = None
    ) -> Iterator[Sequence[dict[str, Any]]]:
        while ids := [id for id in sorted(self.annotations) if self._is_asked_for(id, after, changed_from)]:
            page = ids[: self.page_size]
            if self.fails_at is not None and self.fails_at <= page[-1]:
                raise LabelStudioError("Label Studio answered 502")
            self.read += page
            yield [{"id": id, "data": {}, "annotations": list(self.annotations[id].values())} for id in page]
            after = page[-1]

    def _is_asked_for(self, id: int, after: int, changed_from: datetime | None) -> bool:
        return id > after and (changed_from is None or self.touched[id] >= changed_from)

    def reading(self, *arguments: Any, **named: Any) -> list[int]:
        """The tasks that a reconciliation reads."""
        self.read = []
        reconcile(1, *arguments, self, **named)
        return self.read


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def ids(ledger: Ledger) -> list[int]:
    return [annotation.id for of_task in ledger.annotations_by_task(1) for annotation in of_task]


def held(ledger: Ledger) -> dict[int, dict[int, tuple]]:
    """Task id to annotation id to what an annotation says."""
    return {
        of_task[0].task_id: {a.id: (a.result, a.was_cancelled, a.updated_at) for a in of_task}
        for of_task in ledger.annotations_by_task(1)
    }


def there(studio: Listing) -> dict[int, dict[int, tuple]]:
    def said(state: dict) -> tuple:
        return state["result"], state["was_cancelled"], datetime.fromisoformat(state["updated_at"])

    return {t: {id: said(a) for id, a in by_id.items()} for t, by_id in studio.annotations.items() if by_id}


def test_all_pages_are_taken_over_and_the_rest_dropped(ledger: Ledger) -> None:
    """A project longer than one transaction, then a shorter one."""
    told: list[tuple[str, int]] = []
    reconcile(1, ledger, Listing(45), lambda what, done: told.append((what, done)))
    assert ids(ledger) == list(range(45))
    assert told == [("reading Label Studio", 20), ("reading Label Studio", 40), ("reading Label Studio", 45)]
    reconcile(1, ledger, Listing(30))
    assert ids(ledger) == list(range(30))


def test_an_interrupted_list_drops_nothing(ledger: Ledger) -> None:
    """Label Studio restarting in the middle must not look like thirty deleted annotations."""
    reconcile(1, ledger, Listing(45))
    restarting = Listing(45)
    restarting.fails_at = 25
    with pytest.raises(LabelStudioError, match="502; the reading of project 1 stopped after task 19 and will go on"):
        reconcile(1, ledger, restarting, full=True)
    assert ids(ledger) == list(range(45))


def test_a_reading_that_was_stopped_goes_on_where_it_was(ledger: Ledger) -> None:
    """Twenty thousand tasks take minutes: what was read before the failure is not read again."""
    studio = Listing(100)
    for failing, expected in ((45, range(0, 40)), (90, range(40, 80)), (None, range(80, 100))):
        studio.fails_at = failing
        studio.read = []
        try:
            reconcile(1, ledger, studio)
        except LabelStudioError:
            assert failing is not None
        assert studio.read[: len(expected)] == list(expected)
    assert held(ledger) == there(studio)


def test_what_changes_behind_a_stopped_reading_is_found_when_it_goes_on(ledger: Ledger) -> None:
    """The pages before the stop may be old by then: the watermark is the time at which the reading began."""
    studio = Listing(100)
    studio.fails_at = 90
    with pytest.raises(LabelStudioError):
        reconcile(1, ledger, studio)
    studio.fails_at = None
    studio.clock += 10 * TICK
    studio.annotate(3, 3, "corrected")
    studio.delete(5, 5)
    studio.delete_task(7)
    reconcile(1, ledger, studio)
    assert held(ledger) == there(studio)


def test_an_unchanged_project_is_not_read_again(ledger: Ledger) -> None:
    """The cost of a reconciliation follows what changed, and an export finds no change in what was confirmed."""
    studio = Listing(45)
    assert studio.reading(ledger) == list(range(45))
    number = ledger.change_number(1)
    studio.clock += TICK
    assert studio.reading(ledger) == list(range(45)), "touched within the margin before the watermark"
    studio.clock += TICK
    assert studio.reading(ledger) == []
    studio.annotate(7, 7, "corrected")
    studio.annotate(50, 50)
    studio.delete(9, 9)
    assert studio.reading(ledger) == [7, 9, 50]
    assert list(ledger.changed_since(1, number)) == [7, 9, 50]
    assert held(ledger) == there(studio)


def test_a_change_that_shows_late_is_found(ledger: Ledger) -> None:
    """A transaction that was stamped before the watermark and committed after it must not fall between two readings."""
    studio = Listing(3)
    reconcile(1, ledger, studio)
    studio.clock = NOON - MARGIN
    studio.annotate(1, 1, "stamped before, seen after")
    studio.clock = NOON + TICK
    reconcile(1, ledger, studio)
    assert held(ledger) == there(studio)


def test_a_deleted_task_is_found_by_counting(ledger: Ledger) -> None:
    """It touches no other task, and its webhook may have found the backend down."""
    studio = Listing(45)
    reconcile(1, ledger, studio)
    studio.clock += 2 * TICK
    reconcile(1, ledger, studio)
    studio.delete_task(0)
    studio.delete_task(44)
    reconcile(1, ledger, studio)
    assert held(ledger) == there(studio)


def test_all_tasks_are_read_once_a_day_and_on_demand(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the watermark could miss, such as a change that keeps its times, lives for a day at most."""
    studio = Listing(3)
    reconcile(1, ledger, studio)
    studio.clock += 2 * TICK
    studio.reading(ledger)
    studio.annotations[1][1]["result"] = [{"words": "changed in the database itself"}]
    assert studio.reading(ledger) == []
    assert studio.reading(ledger, full=True) == [0, 1, 2]
    assert held(ledger) == there(studio)
    monkeypatch.setattr(module, "FULL_READING_EVERY", timedelta(0))
    assert studio.reading(ledger) == [0, 1, 2]


def test_a_server_without_a_clock_is_read_fully_each_time(ledger: Ledger) -> None:
    """Our own clock says nothing of when Label Studio stamped a change."""
    studio = Listing(3)
    clock, studio.clock = studio.clock, None
    assert studio.reading(ledger) == [0, 1, 2]
    assert studio.reading(ledger) == [0, 1, 2]
    studio.clock = clock
    assert studio.reading(ledger) == [0, 1, 2]


ACTIONS = st.tuples(
    st.sampled_from(["annotate", "cancel", "delete", "delete_task", "webhook", "reconcile", "fail"]),
    st.integers(0, 9),
    st.integers(0, 3),
)


@settings(max_examples=40, deadline=None)
@given(history=st.lists(ACTIONS, max_size=30))
def test_any_history_ends_level(tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, int, int]]) -> None:
    """Whatever annotators did, whichever webhooks came through, wherever readings stopped: the last one ends it."""
    studio = Listing(page_size=2)
    with Ledger(tmp_path_factory.mktemp("history") / "ledger.sqlite") as ledger:
        for step, (what, task, which) in enumerate(history):
            studio.clock += TICK
            act(studio, ledger, what, task, 10 * task + which, str(step))
        studio.fails_at = None
        reconcile(1, ledger, studio)
        assert held(ledger) == there(studio)
        number = ledger.change_number(1)
        reconcile(1, ledger, studio, full=True)
        assert ledger.change_number(1) == number


def act(studio: Listing, ledger: Ledger, what: str, task: int, id: int, words: str) -> None:
    exists = id in studio.annotations.get(task, {})
    if what in ("annotate", "cancel"):
        studio.annotate(task, id, words, cancelled=what == "cancel")
    elif what == "delete" and exists:
        studio.delete(task, id)
    elif what == "delete_task" and task in studio.annotations:
        studio.delete_task(task)
    elif what == "webhook" and exists:
        body = {"annotation": studio.annotations[task][id] | {"task": task, "project": 1}}
        ledger.journal("ANNOTATION_UPDATED", body | {"task": {"id": task, "data": {}}})
    elif what in ("reconcile", "fail"):
        studio.fails_at = task if what == "fail" else None
        try:
            reconcile(1, ledger, studio)
        except LabelStudioError:
            assert studio.fails_at is not None


@pytest.fixture
def double() -> Iterator[Double]:
    with label_studio_double() as server:
        server.tasks = [task(id) for id in range(1, 3 * PAGE + 1)]
        yield server


def task(id: int) -> dict[str, Any]:
    moment = NOON.isoformat()
    annotation = {"id": id, "result": [], "was_cancelled": id % 7 == 0, "created_at": moment, "updated_at": moment}
    return {"id": id, "data": {}, "annotations": [annotation]}


@pytest.mark.parametrize(
    "replies",
    [
        [json_reply(401, {"detail": "Invalid token."})],
        [Reply(429, headers={"Retry-After": "0"})] * 5,
        [Reply(500)] * 5,
        [Reply(200, b"{", length=100)] * 5,
        [Reply(200, b"<html>", {"Content-Type": "text/html"})],
    ],
    ids=["401", "429", "500", "cut off", "no JSON"],
)
def test_a_failure_half_way_is_reported_and_the_next_run_goes_on(ledger: Ledger, double: Double, replies: list) -> None:
    """Over the wire: what was read is in the ledger whole, the rest is as it was, and no page is asked for twice."""
    studio = LabelStudio(double.url, LEGACY, 2.0, backoff=0.001)
    listing = iter(studio.pages(1))
    next(listing)
    double.rule(
        lambda asked: replies.pop() if asked.path == "/api/tasks/" and len(pages(double)) > 2 and replies else None
    )
    double.asked.clear()
    with pytest.raises(
        LabelStudioError, match=f"the reading of project 1 stopped after task {2 * PAGE} and will go on"
    ):
        reconcile(1, ledger, studio)
    assert ids(ledger) == list(range(1, 2 * PAGE + 1))
    double.asked.clear()
    assert reconcile(1, ledger, studio) == Reconciled(PAGE, PAGE)
    assert ids(ledger) == list(range(1, 3 * PAGE + 1))
    assert f'"value": {2 * PAGE}' in pages(double)[0]


def pages(double: Double) -> list[str]:
    """The pages that were asked for."""
    return [asked.query["query"] for asked in double.asked if asked.path == "/api/tasks/"]
