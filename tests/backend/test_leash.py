"""The leash: whatever happens to the demo, its servers and all they started go with it, and their ports are free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

LEASH = [sys.executable, "-m", "backend.leash"]
FAMILY = ["sh", "-c", 'sleep 600 & echo $! > "$1"; echo $$ >> "$1"; wait', "family"]
"""A command with a child; writes both process ids to the file named after it."""


def test_stops_the_command_and_its_children_when_stdin_closes(tmp_path: Path) -> None:
    leash = subprocess.Popen([*LEASH, *FAMILY, str(tmp_path / "ids")], stdin=subprocess.PIPE)
    family = process_ids(tmp_path / "ids")
    assert all(map(is_alive, family))
    assert leash.stdin is not None
    leash.stdin.close()
    leash.wait(10)
    assert not any(map(is_alive, family))


def test_kills_a_command_that_ignores_being_asked() -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    hasty = "import sys; from backend import leash; leash.GRACE_SECONDS = 0.2; sys.exit(leash.hold(sys.argv[1:]))"
    leash = subprocess.Popen(
        [sys.executable, "-c", hasty, sys.executable, "-c", stubborn],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert leash.stdin is not None and leash.stdout is not None
    leash.stdout.readline()
    leash.stdin.close()
    assert leash.wait(10) != 0
    leash.stdout.close()


def test_kill_9_of_the_holder_stops_the_command(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time; p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE); time.sleep(600)",
            *LEASH,
            *FAMILY,
            str(tmp_path / "ids"),
        ]
    )
    family = process_ids(tmp_path / "ids")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    wait_for(lambda: not any(map(is_alive, family)))


def test_passes_the_exit_status_on() -> None:
    leash = subprocess.Popen([*LEASH, "sh", "-c", "exit 7"], stdin=subprocess.PIPE)
    assert leash.wait(10) == 7
    assert leash.stdin is not None
    leash.stdin.close()


def test_a_nice_command_comes_after_others() -> None:
    """Its session too, where the kernel weighs sessions first, as on desktops; the holder's stays as it was."""
    own = Path("/proc/self/autogroup")
    before = own.read_text() if own.exists() else None
    wanted = ["/proc/self/oom_score_adj", *([str(own)] if before else [])]
    code = "import os, sys, time; time.sleep(1); print(os.nice(0), *(open(path).read() for path in sys.argv[1:]))"
    words = [*LEASH, "--nice", sys.executable, "-c", code, *wanted]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as leash:
        assert leash.stdout is not None
        nice, score, *session = leash.stdout.read().split()
    assert (nice, score) == ("19", "800")
    if before:
        assert session[1:] == ["nice", "19"] and session[0] != before.split()[0] and own.read_text() == before


def process_ids(path: Path) -> list[int]:
    wait_for(lambda: path.is_file() and len(path.read_text().split()) == 2)
    return [int(line) for line in path.read_text().split()]


def is_alive(process: int) -> bool:
    """Zombies, which only wait for whoever adopted them, are dead."""
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout
    return bool(status) and not status.startswith("Z")


def wait_for(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)
