"""Trainings that begin by themselves: by number, and by the clock."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from backend.jobs import JobQueue
from backend.jobs.start import Schedule, new_annotations, start_training
from backend.ledger import Ledger
from backend.settings import Settings
from tests.backend.conftest import capture
from tests.backend.jobs.conftest import until


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "data" / "ledger.sqlite") as opened:
        yield opened


def annotate(ledger: Ledger, id: int, *, minute: int = 0, cancelled: bool = False) -> None:
    """Submit an annotation, or save it anew."""
    event = copy.deepcopy(capture("webhook_annotation_created"))
    event["annotation"].update(id=id, updated_at=f"2026-11-22T13:{minute:02d}:00Z", was_cancelled=cancelled)
    ledger.journal("ANNOTATION_CREATED", event)


def test_what_is_new_since_the_last_training(queue: JobQueue, ledger: Ledger):
    """Submitted or changed, each annotation once; skipped ones teach nothing."""
    assert new_annotations(queue, ledger) == 0
    annotate(ledger, 1)
    annotate(ledger, 2)
    annotate(ledger, 2, minute=1)
    annotate(ledger, 3, cancelled=True)
    assert new_annotations(queue, ledger) == 2
    job, _ = start_training(queue, ledger, None, "a test")
    assert new_annotations(queue, ledger) == 0
    annotate(ledger, 1, minute=5)
    assert new_annotations(queue, ledger) == 1
    queue.cancel(job.id)
    start_training(queue, ledger, None, "a test")
    assert new_annotations(queue, ledger) == 0


def test_another_ledger_counts_from_its_beginning(queue: JobQueue, ledger: Ledger, tmp_path: Path):
    """Numbers of two ledgers cannot be compared: one that was moved away leaves a training due."""
    for id in range(5):
        annotate(ledger, id)
    start_training(queue, ledger, None, "a test")
    with Ledger(tmp_path / "new" / "ledger.sqlite") as new:
        annotate(new, 1)
        assert new_annotations(queue, new) == 1


def test_every_so_many_annotations(queue: JobQueue, ledger: Ledger):
    """Not before, once, and again after as many."""
    schedule = Schedule(Settings(train_every=3), queue, ledger)
    for id in range(6):
        annotate(ledger, id)
        schedule.count()
        queue.take()
        if (running := queue.running()) is not None:
            queue.finish(running.id, "done", "")
    assert [job.cause for job in queue.jobs()] == ["3 annotations"] * 2


def test_not_again_while_one_is_under_way(queue: JobQueue, ledger: Ledger):
    """The clock and the count ask for one training, not for two."""
    schedule = Schedule(Settings(train_every=1, train_at="0 3 * * *"), queue, ledger)
    annotate(ledger, 1)
    schedule.count()
    annotate(ledger, 2)
    schedule.due()
    assert len(queue.jobs()) == 1


def test_the_clock_asks_only_for_what_is_new(queue: JobQueue, ledger: Ledger):
    """Nobody annotated on Sunday: nothing is trained in the night."""
    schedule = Schedule(Settings(train_at="0 3 * * *"), queue, ledger)
    schedule.due()
    assert queue.jobs() == []
    annotate(ledger, 1)
    schedule.due()
    assert [job.cause for job in queue.jobs()] == ["the schedule"]


def test_the_clock_ticks(queue: JobQueue, ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    """The scheduler really calls; a ledger that fails once does not end it."""
    monkeypatch.setattr("backend.jobs.start._COUNT_SECONDS", 0.1)
    schedule = Schedule(Settings(train_every=1), queue, ledger)
    schedule.start()
    annotate(ledger, 1)
    until(lambda: queue.jobs())
    schedule.stop()
    assert queue.jobs()[0].cause == "1 annotations"


@pytest.mark.parametrize("given", ["30 2 * * *", "*/10 * * * *", "0 3 * * mon-fri", "0 3 1 * sat,sun"])
def test_crontabs_are_taken(given: str):
    """As people write them."""
    assert Settings(train_at=given).train_at == given


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("02:30", "is no crontab, such as"),
        ("61 2 * * *", "is no crontab, such as"),
        ("0 2 * *", "is no crontab, such as"),
        ("0 3 * * 1-5", "counts its weekdays: write them as `mon`"),
    ],
)
def test_what_is_no_crontab_is_refused(given: str, problem: str):
    """Before the server starts; and weekdays by number, whose meaning differs between programs."""
    with pytest.raises(ValidationError, match=problem):
        Settings(train_at=given)


@pytest.mark.parametrize("given", [None, "", " "])
def test_empty_is_never(given: str | None):
    """As an empty environment variable in a compose file."""
    assert Settings(train_at=given).train_at is None
