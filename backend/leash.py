"""Runs one command for as long as standard input stays open: `python -m backend.leash [--idle] COMMAND…`.

Whoever started it holds the other end of that pipe. However that process ends, kill -9 included, the pipe closes, and
the command and everything it started are stopped: no orphan keeps a port, or computes for nobody.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS = 8.0

_LEAST_NICE, _OOM_FIRST = 19, 800


def hold(command: list[str]) -> int:
    """Run `command` in a process group of its own until it ends or stdin closes.

    Its exit status; 128 and the signal's number, as in a shell, where a signal ended it.
    """
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_stop_when_stdin_closes, args=(process,), daemon=True).start()
    status = process.wait()
    _signal_group(process, signal.SIGKILL)
    return 128 - status if status < 0 else status


def become_idle() -> None:
    """Let this process, and all that it starts, compute and read only what others leave over.

    Where memory runs out, it goes first. What the system does not know of this is left out.
    """
    import psutil  # only now: a leash that lowers nothing starts without it

    process = psutil.Process()
    with suppress(OSError, psutil.Error):
        process.nice(_LEAST_NICE)
    with suppress(OSError, psutil.Error, AttributeError):  # not every system tells reads apart
        process.ionice(psutil.IOPRIO_CLASS_IDLE)
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_FIRST))


def _stop_when_stdin_closes(process: subprocess.Popen) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    _signal_group(process, signal.SIGTERM)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen, number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["--idle"]:
        become_idle()
        words = words[1:]
    sys.exit(hold(words))
