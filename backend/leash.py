"""Runs one command for as long as standard input stays open: `python -m backend.leash [--nice] COMMAND…`.

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

_NICEST = 19
_FIRST_KILLED = 800


def hold(command: list[str], nice: bool = False) -> int:
    """Run `command` in a session of its own until it ends or stdin closes.

    Its exit status; 128 and the signal's number, as in a shell, where a signal ended it. nice: whether it, and all that
    it starts, come after others: for the processor, the disk, and, where it runs out, for memory. What the system does
    not know of this is left out.
    """
    if nice:
        _step_back()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    if nice:
        # A desktop's scheduler weighs sessions before it weighs processes: being nice within one's own is no use there.
        _write(Path(f"/proc/{process.pid}/autogroup"), _NICEST)
    threading.Thread(target=_stop_when_stdin_closes, args=(process,), daemon=True).start()
    status = process.wait()
    _signal_group(process, signal.SIGKILL)
    return 128 - status if status < 0 else status


def _step_back() -> None:
    """Let this process come after others, and what it will start."""
    import psutil  # only now: a leash that lowers nothing starts without it

    process = psutil.Process()
    with suppress(OSError, psutil.Error):
        process.nice(_NICEST)
    with suppress(OSError, psutil.Error, AttributeError):  # not every system tells reads apart
        process.ionice(psutil.IOPRIO_CLASS_IDLE)
    _write(Path("/proc/self/oom_score_adj"), _FIRST_KILLED)


def _write(path: Path, value: int) -> None:
    with suppress(OSError):
        path.write_text(str(value))


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
    nice = words[:1] == ["--nice"]
    sys.exit(hold(words[1:] if nice else words, nice))
