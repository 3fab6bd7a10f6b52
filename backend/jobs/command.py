"""A command that a job runs: at low priority, on a leash, its words in the job's log."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from backend.jobs.log import shortened

log = logging.getLogger(__name__)

_LEASH = (sys.executable, "-m", "backend.leash")
_TICK_SECONDS = 0.5
_LAST_LINES = 20
_CHARACTERS_AT_ONCE = 1 << 16
_SIGNALLED = 128


@dataclass(frozen=True)
class Ended:
    """How a command ended. status: its exit status. said: its last lines."""

    status: int
    said: tuple[str, ...]

    @property
    def was_killed(self) -> bool:
        """Whether a signal ended it, which is nothing that the command decided."""
        return self.status >= _SIGNALLED

    @property
    def reason(self) -> str:
        """Why it ended, in its own words as far as there are any."""
        ours = [line for line in self.said if line.startswith("pam-studio: ")]
        said = (ours or list(self.said) or [f"it ended with status {self.status}"])[-1]
        return said.removeprefix("pam-studio: ")


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    tick: Callable[[], None],
    *,
    nice: bool,
    keep_open: Sequence[int] = (),
) -> Ended:
    """Run `command` to its end; `tick` is called twice a second, and what it raises stops the command first.

    However this process ends, the command and all it started end with it. nice: see `backend.leash`. keep_open: file
    descriptors that stay open until they have ended.
    """
    process = subprocess.Popen(
        [*_LEASH, *(["--nice"] if nice else []), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        text=True,
        errors="replace",
        pass_fds=keep_open,
    )
    assert process.stdin is not None and process.stdout is not None
    said: deque[str] = deque(maxlen=_LAST_LINES)
    reader = threading.Thread(target=_read, args=(process.stdout, said), daemon=True)
    reader.start()
    try:
        while process.poll() is None:
            tick()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_TICK_SECONDS)
    finally:
        process.stdin.close()  # the leash then ends the command, if that still runs
        status = process.wait()
        reader.join()
        process.stdout.close()
    return Ended(status, tuple(said))


def _read(lines: IO[str], said: deque[str]) -> None:
    while line := lines.readline(_CHARACTERS_AT_ONCE):
        if shown := shortened(line).strip():
            said.append(shown)
            log.info("%s", shown)
