"""`make demo`, killed at awkward moments: the next run recovers, doubles nothing and keeps the work."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from backend.demo import photographs
from backend.demo.studio import TITLE
from tests.e2e.conftest import free_port

pytestmark = pytest.mark.e2e

START_SECONDS = 180


class Run:
    """`python -m backend.demo` on a folder, in a session of its own as under a terminal."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.port, self.backend_port = free_port(), free_port()
        options = ["--port", self.port, "--backend-port", self.backend_port, "--data-dir", folder]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backend.demo", *map(str, options)], stdout=subprocess.PIPE, text=True
        )
        self.said = ""

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)

    def until(self, words: str) -> None:
        """Read what it says up to the line with `words`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if words in line:
                return
        raise AssertionError(f"the demo ended before it said {words!r}: {self.said}")

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        status = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def ask(self, path: str) -> httpx.Response:
        headers = {"Authorization": f"Token {(self.folder / 'token').read_text()}"}
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=30, trust_env=False)

    def listening(self) -> list[int]:
        """The ports that something listens on."""
        return [port for port in (self.port, self.backend_port) if connects(port)]


def test_recovers_from_kills_and_keeps_the_work(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with Run(folder) as first:
        first.until("makes its database")
        wait_for(lambda: any((folder / "label-studio").glob("*.sqlite3")))
        first.end(signal.SIGKILL)
    with Run(folder) as second:
        second.until("makes its database")
        second.until("is ready")
        task, *_, unwanted = (t["id"] for t in second.ask("/api/tasks/?project=1&page_size=100").json()["tasks"])
        annotate(second, task)
        delete(second, unwanted)
        second.end(signal.SIGKILL)
    wait_for(lambda: not second.listening())

    started = time.monotonic()
    with Run(folder) as third:
        third.until("is ready")
        assert time.monotonic() - started < 120
        assert "makes its database" not in third.said and "imported" not in third.said
        assert_one_of_everything(third)
        assert third.ask(f"/api/tasks/{task}/").json()["annotations"]
        assert third.end(signal.SIGINT) == 0
        assert third.listening() == []


def annotate(run: Run, task: int) -> None:
    """Something that a person would not want to lose."""
    headers = {"Authorization": f"Token {(run.folder / 'token').read_text()}"}
    url = f"http://127.0.0.1:{run.port}/api/tasks/{task}/annotations/"
    httpx.post(url, json={"result": []}, headers=headers, timeout=30, trust_env=False).raise_for_status()


def delete(run: Run, task: int) -> None:
    """Throw a photograph away, which should not come back."""
    headers = {"Authorization": f"Token {(run.folder / 'token').read_text()}"}
    url = f"http://127.0.0.1:{run.port}/api/tasks/{task}/"
    httpx.delete(url, headers=headers, timeout=30, trust_env=False).raise_for_status()


def assert_one_of_everything(run: Run) -> None:
    (project,) = run.ask("/api/projects/").json()["results"]
    assert project["title"] == TITLE
    (backend,) = run.ask(f"/api/ml/?project={project['id']}").json()
    assert backend["is_interactive"] and backend["url"] == f"http://127.0.0.1:{run.backend_port}"
    tasks = run.ask(f"/api/tasks/?project={project['id']}&page_size=100").json()["tasks"]
    names = Counter(task["data"]["image"].rpartition("/")[2].partition("-")[2] for task in tasks)
    assert names == Counter(photographs.NAMES[:-1])


def connects(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.2)
