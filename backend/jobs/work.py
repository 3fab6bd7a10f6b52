"""The process of one job: does it, and writes down what came of it, so that it needs no server to end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from backend.errors import BackendError, JobError, JobsUnavailable
from backend.jobs import command
from backend.jobs.job import Job, Progress
from backend.jobs.kinds import KINDS
from backend.jobs.log import Redaction, logging_to
from backend.jobs.queue import JobQueue
from backend.settings import Settings

log = logging.getLogger(__name__)

_NICENESS = 10
_WATCH_SECONDS = 0.5
_GRACE_SECONDS = 30.0
_WRITE_SECONDS = 0.5
_SECRET_VARIABLES = ("LABEL_STUDIO_API_KEY", "PAM_STUDIO_BASIC_AUTH_PASSWORD")


class Stopped(Exception):
    """The job was asked to stop: it is cancelled, or the server stops."""


class Died(Exception):
    """What a job ran was killed from outside; the message says how."""


Handler = Callable[["Work"], str]
"""Does a job, from wherever an earlier attempt left it in its folder, and says what came of it.

It raises Stopped out of `Work.check`, BackendError or OSError where the job cannot be done, and may be killed anywhere.
"""


@dataclass(eq=False)
class Work:
    """What a job is done with.

    folder: the job's own, kept until it is forgotten: what a later attempt needs lies here.
    """

    job: Job
    folder: Path
    settings: Settings
    _keep_open: Sequence[int] = ()
    _nice: bool = True
    _stop: threading.Event = field(default_factory=threading.Event)
    _written: float = 0.0
    _stage: str = ""

    def check(self) -> None:
        """Raise Stopped when the job is to stop; to be called every few seconds."""
        if self._stop.is_set():
            raise Stopped

    def report(self, stage: str, fraction: float | None = None, seconds_left: float | None = None) -> None:
        """Say how far the job is, as often as it likes; see Progress. Raises Stopped like `check`."""
        self.check()
        if stage == self._stage and time.monotonic() < self._written + _WRITE_SECONDS:
            return
        self._stage, self._written = stage, time.monotonic()
        with suppress(OSError):  # a full disk: whoever looks sees an older figure
            Progress(stage, fraction, seconds_left).write(self.folder / "progress.json")

    def run(
        self,
        words: Sequence[str],
        tick: Callable[[], None] = lambda: None,
        *,
        nice: bool = True,
        secrets: bool = False,
        **environment: str,
    ) -> command.Ended:
        """Run a command; raises Stopped like `check`, and Died where the command was killed.

        tick: called twice a second. nice: whether it comes after everything else; not what may hold a lock that a
        click waits for. secrets: whether it gets the settings' secrets. environment: beside what it inherits.
        """

        def watch() -> None:
            self.check()
            tick()

        inherited = {k: v for k, v in os.environ.items() if secrets or k not in _SECRET_VARIABLES}
        log.info("$ %s", " ".join(words))
        ended = command.run(words, inherited | environment, watch, nice=nice and self._nice, keep_open=self._keep_open)
        if ended.was_killed:
            self.check()
            raise Died(f"a process of it ended with status {ended.status}")
        return ended


def work(
    settings: Settings,
    id: int,
    lock: int | None,
    kinds: Mapping[str, Callable[[], Handler]] = KINDS,
    *,
    nice: bool = True,
) -> None:
    """Do the running job `id` and end it in the queue.

    lock: the file descriptor whose lock says that the job is being done. kinds: see `backend.jobs.kinds`. nice: whether
    it comes after clicks.
    """
    queue = JobQueue(settings.data_dir)
    job = queue.job(id)
    folder = queue.folder(id)
    folder.mkdir(parents=True, exist_ok=True)
    redact = Redaction(_secrets(settings))
    if nice:
        _step_back()
    with logging_to(folder, redact, settings.log_level):
        todo = Work(job, folder, settings, () if lock is None else (lock,), nice)
        _watch(queue, id, todo._stop)
        log.info("job %d, %s, %s", id, job.kind, job.cause)
        _do(queue, todo, kinds, redact)
        ended = queue.job(id)
        log.info("%s: %s", ended.state, ended.message)
    if lock is not None:
        os.close(lock)  # the next job need not wait until this interpreter has tidied up


def _do(queue: JobQueue, todo: Work, kinds: Mapping[str, Callable[[], Handler]], redact: Redaction) -> None:
    id, kind = todo.job.id, todo.job.kind
    try:
        if kind not in kinds:
            raise JobError(f"this PAM Studio does not know jobs of the kind {kind!r}")
        todo.check()
        message = kinds[kind]()(todo)
    except Stopped:
        queue.stopped(id)
    except Died as error:
        # Left running: the server sees that nobody does it, as if this process had been killed, and counts.
        log.warning("%s", error)
        print(error, file=sys.stderr)
    except JobsUnavailable:
        raise
    except (BackendError, OSError) as error:
        log.warning("%s", error)
        queue.finish(id, "failed", redact(str(error)))
    except Exception as error:
        # Whatever it is, nobody but this process knows, and the job must not be tried forever.
        log.exception("the job failed")
        queue.finish(id, "failed", redact(f"{type(error).__name__}: {error}"))
    else:
        queue.finish(id, "done", redact(message))


def _watch(queue: JobQueue, id: int, stop: threading.Event) -> None:
    """Set `stop` when the queue or a signal says so, and end this process where nothing has come of that."""
    asked = threading.Event()

    def ask(number: int, frame: Any) -> None:
        asked.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then asks

    def watch() -> None:
        while not asked.wait(_WATCH_SECONDS):
            with suppress(BackendError):
                if queue.job(id).stopping:
                    asked.set()
        stop.set()
        time.sleep(_GRACE_SECONDS)
        log.warning("it did not stop by itself within %.0f s", _GRACE_SECONDS)
        with suppress(BackendError):
            queue.stopped(id)
        os._exit(1)

    threading.Thread(target=watch, name="watch-job", daemon=True).start()


def _step_back() -> None:
    """Behind all clicks, but not behind everything: an export holds the ledger's lock for moments."""
    with suppress(OSError):
        os.nice(_NICENESS)


def _secrets(settings: Settings) -> list[str]:
    """What no log may show."""
    values = (getattr(settings, name) for name in type(settings).model_fields)
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
