"""Trainings are asked for here: by a person, by the number of corrections, or by the clock."""

from __future__ import annotations

import logging

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from backend.errors import BackendError
from backend.jobs.job import Job
from backend.jobs.kinds import TRAIN
from backend.jobs.queue import JobQueue
from backend.ledger import Ledger
from backend.settings import Settings

log = logging.getLogger(__name__)

_COUNT_SECONDS = 60
_LATE_SECONDS = 3600
"""How late a scheduled training may begin, as the machine was asleep or busy."""


def start_training(queue: JobQueue, ledger: Ledger, project_id: int | None, cause: str) -> tuple[Job, bool]:
    """Queue a training, unless one is queued or running: that one, and False. Raises JobsUnavailable, LedgerError.

    One model serves all projects, so there is one training at a time whoever asks.
    """
    # Where the ledger was is kept with the job, so that the next training knows what is new since.
    parameters = {"ledger": ledger.id, "number": ledger.number}
    return queue.submit(TRAIN, project_id, parameters, cause=cause, key=TRAIN)


def said(job: Job, is_new: bool) -> str:
    """What whoever asked for a job is told."""
    if is_new:
        return f"job {job.id} ({job.kind}) is queued"
    done = "" if job.progress.fraction is None else f", {job.progress.fraction:.0%} done"
    return f"job {job.id} ({job.kind}) is {job.state} already{done}: no second one is started"


def new_annotations(queue: JobQueue, ledger: Ledger) -> int:
    """How many annotations were submitted or changed since the last training was asked for."""
    last = queue.last(TRAIN)
    known = last is not None and last.parameters.get("ledger") == ledger.id
    number = last.parameters.get("number", 0) if last is not None and known else 0
    return ledger.count_submitted_since(number)


class Schedule:
    """Asks for trainings every `train_every` annotations and at the times of `train_at`, while this process lives."""

    def __init__(self, settings: Settings, queue: JobQueue, ledger: Ledger):
        self._every, self._queue, self._ledger = settings.train_every, queue, ledger
        self._scheduler = BackgroundScheduler()
        if self._every:
            self._scheduler.add_job(self.count, "interval", seconds=_COUNT_SECONDS, coalesce=True, max_instances=1)
        if settings.train_at:
            trigger = CronTrigger.from_crontab(settings.train_at)
            self._scheduler.add_job(self.due, trigger, coalesce=True, max_instances=1, misfire_grace_time=_LATE_SECONDS)

    def start(self) -> None:
        """Begin; returns at once."""
        self._scheduler.start()

    def stop(self) -> None:
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def count(self) -> None:
        """Ask for a training where enough has been annotated since the last."""
        self._ask(self._every, f"{self._every} annotations")

    def due(self) -> None:
        """Ask for a training where anything has been annotated since the last."""
        self._ask(1, "the schedule")

    def _ask(self, least: int, cause: str) -> None:
        try:
            if (new := new_annotations(self._queue, self._ledger)) < least:
                log.debug("no training for %s: %d annotations are new", cause, new)
                return
            job, is_new = start_training(self._queue, self._ledger, None, cause)
        except BackendError as error:
            log.warning("no training for %s: %s", cause, error)
            return
        if is_new:
            log.info("%s: %s", cause, said(job, is_new))
