"""The server's side of jobs: starts the next one when none runs, whichever server started the last."""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from backend.dataset.every import environment
from backend.errors import BackendError
from backend.jobs.queue import JobQueue
from backend.settings import Settings

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "backend", "jobs", "work")
"""Starts a job's process; takes its number and the file descriptor of the lock."""
PATIENCE = 5
"""Deaths of a job's process in a row, with nothing got done in between, after which the job has failed."""

_LOOK_SECONDS = 1.0
_TROUBLE_SECONDS = 10.0
_GRACE_SECONDS = 8.0
_LONGEST_WORDS = 300


class Runner:
    """Starts the jobs of a queue, one at a time, for as long as this process lives.

    A job's process outlives a server that is killed, and the next server waits for it; one that died is started again.
    patience: deaths in a row, with nothing got done in between, after which a job has failed.
    """

    def __init__(self, settings: Settings, queue: JobQueue, command: Sequence[str] = COMMAND, patience: int = PATIENCE):
        self._queue, self._command, self._patience = queue, list(command), patience
        self._environment = os.environ | environment(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._wake, self._stopped = queue.changed, threading.Event()
        self._thread = threading.Thread(target=self._loop, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._queue.lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """End, and let the job that runs stop so that it goes on with the next server."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._wake.set()
        self._thread.join()
        with suppress(BackendError):
            self._queue.pause()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):  # it goes on stopping by itself
                self._process.wait(_GRACE_SECONDS)

    def _loop(self) -> None:
        while not self._stopped.is_set():
            seconds = _LOOK_SECONDS
            try:
                self._look()
            except (BackendError, OSError) as error:
                log.warning("jobs: %s", error)
                seconds = _TROUBLE_SECONDS
            self._wake.wait(seconds)
            self._wake.clear()

    def _look(self) -> None:
        """Start the next job, unless one runs."""
        if self._process is not None and self._process.poll() is not None:
            log.info("the process of a job ended with status %d", self._process.returncode)
            self._process = None
        if not self._queue.is_waiting():
            return
        with self._locked() as lock:
            if lock is None:
                return
            if (dead := self._queue.running()) is not None:
                left = self._queue.died(dead.id, self._how(dead.id), self._patience)
                log.warning("job %d, %s: %s", left.id, left.kind, left.message)
            if not self._stopped.is_set() and (job := self._queue.take()) is not None:
                self._spawn(job.id, lock)
                log.info(
                    "job %d, %s, begins in process %d", job.id, job.kind, self._process.pid if self._process else 0
                )

    def _spawn(self, id: int, lock: int) -> None:
        folder = self._queue.folder(id)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "stderr", "wb") as said:  # only what its own log cannot take, such as that it cannot start
            self._process = subprocess.Popen(
                [*self._command, str(id), str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the server
                pass_fds=(lock,),
            )

    def _how(self, id: int) -> str:
        """How a job's process ended, in its own words where it could not use its log."""
        path = self._queue.folder(id) / "stderr"
        said = path.read_text(errors="replace").strip().rpartition("\n")[2] if path.is_file() else ""
        return f"its process died ({said[:_LONGEST_WORDS]})" if said else "its process died"

    @contextmanager
    def _locked(self) -> Iterator[int | None]:
        """The lock that says that a job is being done, or None where a job's process holds it.

        The kernel drops it when all processes that were handed it have ended.
        """
        with open(self._queue.lock, "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield file.fileno()
