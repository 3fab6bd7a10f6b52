"""Servers and jobs are killed at random moments; each job is done once, with the result of an undisturbed run."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from backend.errors import JobsUnavailable
from backend.jobs import JobQueue, Progress
from backend.jobs import queue as queue_module
from backend.jobs.runner import Runner
from backend.jobs.work import Work
from backend.settings import Settings
from tests.backend.jobs.conftest import ended, until
from tests.backend.jobs.tiny import COMMAND
from tests.backend.kills import JOB_KILLS

STEPS = 120


def serve(data_dir: Path) -> None:
    """A server that has nothing but jobs, in a process of its own."""
    Runner(Settings(data_dir=data_dir), JobQueue(data_dir), COMMAND, patience=1000).start()
    time.sleep(3600)


def started(data_dir: Path) -> BaseProcess:
    # A fork of this process, which has imported everything: nothing of a kill's time is spent on that.
    process = multiprocessing.get_context("fork").Process(target=serve, args=(data_dir,))
    process.start()
    return process


def processes(queue: JobQueue, id: int) -> list[int]:
    """The process of the job, and that of the training that it runs, as far as they live."""
    folder = queue.folder(id)
    files = [folder / "pids", folder / "training" / "pid"]
    found = [int(file.read_text().split()[-1]) for file in files if file.is_file() and file.read_text()]
    return [pid for pid in found if is_ours(pid)]


def is_ours(pid: int) -> bool:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return "tests.backend.jobs" in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_killed_anywhere_each_job_is_done_once(queue: JobQueue, tmp_path: Path):
    """The server, the job, the training or all of them: what runs is found again, what died goes on where it was."""
    chance = random.Random(7)
    data = tmp_path / "regions-v0001"
    data.mkdir()
    jobs = [plan(queue, data, "train", 1), plan(queue, data, "count", 2)]
    server, kills = started(tmp_path / "data"), 0
    while kills < JOB_KILLS:
        time.sleep(chance.random() * 0.8)
        running = queue.running()
        found = processes(queue, running.id) if running else []
        victims = chance.choice([[server.pid], found[:1], found[1:], [server.pid, *found]])
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid or 0, signal.SIGKILL)
                kills += 1
        if server.pid in victims:
            server.join()
            server = started(tmp_path / "data")
        if not queue.is_waiting():  # done before the kills were: there must be work for them
            jobs += [plan(queue, data, "train", len(jobs) + 1), plan(queue, data, "count", len(jobs) + 2)]
    messages = {kind: {ended(queue, id).message for id, of in jobs if of == kind} for kind in ("train", "count")}
    server.kill()
    server.join()
    assert {queue.job(id).state for id, _ in jobs} == {"done"}
    until(lambda: not any(processes(queue, id) for id, _ in jobs))
    undisturbed = [plan(queue, data, kind, 1000) for kind in ("train", "count")]
    runner = Runner(Settings(data_dir=tmp_path / "data"), queue, COMMAND)
    runner.start()
    assert messages == {kind: {ended(queue, id).message} for id, kind in undisturbed}
    runner.stop()


def plan(queue: JobQueue, data: Path, kind: str, project: int) -> tuple[int, str]:
    """A job of each kind; the training begins after its export."""
    parameters = {"to": STEPS, "pause": 0.01, "options": ["--steps", str(STEPS)]}
    job, is_new = queue.submit(kind, project, parameters, cause="a test")
    assert is_new
    queue.folder(job.id).mkdir(parents=True)
    (queue.folder(job.id) / "plan.json").write_text(f'{{"data": "{data}", "base": "nano", "options": []}}')
    return job.id, kind


def test_a_job_outlives_its_server(queue: JobQueue, tmp_path: Path):
    """Killed, not stopped: the process goes on, and the next server waits for it instead of starting a second."""
    job, _ = queue.submit("count", parameters={"to": 100, "pause": 0.03}, cause="a test")
    server = started(tmp_path / "data")
    until(lambda: (queue.job(job.id).progress.fraction or 0) > 0.05)
    server.kill()
    server.join()
    runner = Runner(Settings(data_dir=tmp_path / "data"), queue, COMMAND)
    runner.start()
    assert ended(queue, job.id).state == "done"
    assert len((queue.folder(job.id) / "pids").read_text().split()) == 1
    runner.stop()


def test_the_runner_survives_a_queue_that_cannot_be_read(
    queue: JobQueue, run: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
):
    """The disk is full for an hour: the server goes on, and so do the jobs afterwards."""
    monkeypatch.setattr("backend.jobs.runner._TROUBLE_SECONDS", 0.05)
    failures: list[int] = []

    def full(self: JobQueue) -> bool:
        failures.append(1)
        raise JobsUnavailable("the list of jobs failed: database or disk is full; free some space on its disk")

    with monkeypatch.context() as patch:
        patch.setattr(JobQueue, "is_waiting", full)
        run()
        until(lambda: len(failures) > 2)
    job, _ = queue.submit("nothing", cause="a test")
    assert ended(queue, job.id).state == "done"


def test_progress_on_a_full_disk_costs_nothing(queue: JobQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whoever looks sees an older figure; the work goes on."""
    job, _ = queue.submit("nothing", cause="a test")
    todo = Work(job, tmp_path, Settings(data_dir=tmp_path))
    todo.report("first", 0.1)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(queue_module.Progress, "write", full)
    todo.report("second", 0.2)
    assert Progress.read(tmp_path / "progress.json").stage == "first"
