"""A data folder, its queue, and runners over it that do tiny jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from backend.jobs import Job, JobQueue
from backend.jobs.runner import Runner
from backend.settings import Settings
from tests.backend.jobs.tiny import COMMAND


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    with JobQueue(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def run(tmp_path: Path, queue: JobQueue) -> Iterator[Callable[..., Runner]]:
    """Starts a runner that does tiny jobs, as a server would; takes settings and the runner's own arguments."""
    started: list[Runner] = []

    def start(patience: int = 3, command: Sequence[str] = COMMAND, **settings: Any) -> Runner:
        defaults = {"data_dir": tmp_path / "data", "out": tmp_path / "regions"}
        started.append(Runner(Settings(**(defaults | settings)), queue, command, patience))
        started[-1].start()
        return started[-1]

    yield start
    for runner in started:
        runner.stop()


def until(condition: Callable[[], Any]) -> None:
    """Wait for as long as a busy machine may need."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def ended(queue: JobQueue, id: int) -> Job:
    """The job when it has ended."""
    until(lambda: not queue.job(id).is_open)
    return queue.job(id)
