"""Exports by the clock, beside the server: each in a process of its own, so that no click waits for one."""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from apscheduler.schedulers.background import BackgroundScheduler
from pydantic import SecretStr

from backend.settings import Settings

log = logging.getLogger(__name__)
logging.getLogger("apscheduler").setLevel(logging.ERROR)  # that a run was left out is what is wanted here

COMMAND = (sys.executable, "-m", "backend", "export")

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_NICENESS = 10
_GRACE_SECONDS = 5.0


class Exports:
    """Runs an export every `settings.every`, for as long as this process lives; one that is due while another runs is
    left out."""

    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND):
        assert settings.every is not None
        self._command = list(command)
        self._environment = os.environ | environment(settings)
        self._running: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._stopped = False
        self._scheduler = BackgroundScheduler(timezone="UTC")
        interval = timedelta(**{_UNITS[settings.every[-1]]: int(settings.every[:-1])})
        self._scheduler.add_job(self._run, "interval", seconds=interval.total_seconds(), coalesce=True, max_instances=1)

    def start(self) -> None:
        """Begin; the first export comes after one interval."""
        self._scheduler.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """End, and the export that is running with it: the next one goes on where it was."""
        with self._lock:
            self._stopped = True
            running = self._running
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        if running is not None and running.poll() is None:
            running.terminate()
            with suppress(subprocess.TimeoutExpired):
                running.wait(_GRACE_SECONDS)

    def _run(self) -> None:
        with self._lock:
            if self._stopped:
                return
            self._running = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self._environment
            )
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, self._running.pid, _NICENESS)
        said, _ = self._running.communicate()
        if self._running.returncode == 0:
            log.info("export: %s", said.strip())
        elif not self._stopped:
            log.warning("the export failed: %s", said.strip()[-2000:] or f"status {self._running.returncode}")


def environment(settings: Settings) -> dict[str, str]:
    """The environment variables from which `Settings` reads these very settings."""
    found = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if value is not None:
            alias = getattr(field.validation_alias, "choices", [f"PAM_STUDIO_{name.upper()}"])[0]
            found[alias] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return found
