"""Runs one command for as long as standard input stays open: `python -m backend.demo.leash COMMAND…`.

The demo holds the other end of that pipe. However the demo ends, kill -9 included, the pipe closes, and the command
and everything it started are stopped: no orphan keeps a port.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

GRACE_SECONDS = 8.0


def hold(command: list[str]) -> int:
    """Run `command` in a process group of its own until it ends or stdin closes; its exit status."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_stop_when_stdin_closes, args=(process,), daemon=True).start()
    status = process.wait()
    _signal_group(process, signal.SIGKILL)
    return status


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
    sys.exit(hold(sys.argv[1:]))
