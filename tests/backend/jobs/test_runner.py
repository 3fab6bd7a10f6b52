"""Jobs in processes of their own: done, failed, cancelled, interrupted, and never two at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from backend.jobs import JobQueue
from backend.jobs.log import BYTES, NAME, tail
from backend.jobs.runner import Runner
from tests.backend.jobs.conftest import ended, until
from tests.backend.jobs.tiny import NICE

CAUSE = "a test"
SECRET = "s3cret-token-of-somebody"

Run = Callable[..., Runner]


def pids(queue: JobQueue, id: int) -> list[int]:
    path = queue.folder(id) / "pids"
    return [int(line) for line in path.read_text().split()] if path.is_file() else []


def test_done_at_low_priority(queue: JobQueue, run: Run):
    """The message is what came of it; the process was nicer than this one; the log says what it was."""
    job, _ = queue.submit("nothing", 7, cause=CAUSE)
    run(command=NICE)
    found = ended(queue, job.id)
    assert (found.state, found.message, found.progress.fraction) == ("done", "done nothing", 0.5)
    assert found.started_at is not None and found.finished_at is not None
    log = "\n".join(tail(queue.folder(job.id), 50))
    assert f"job {job.id}, nothing, {CAUSE}" in log
    assert f"nice {min(19, os.nice(0) + 10)}" in log


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        ("fail", {}, "there is nothing to count: annotate something"),
        ("stumble", {"words": SECRET}, "ValueError: unexpected …"),
        ("knit", {}, "this PAM Studio does not know jobs of the kind 'knit'"),
        ("die", {}, "its process died, 3 times in a row without getting any further: its log may say why"),
        (
            "chat",
            {"code": "import os; os.kill(os.getpid(), 9)"},
            "its process died (a process of it ended with status 137), 3 times in a row without getting any further: "
            "its log may say why",
        ),
    ],
)
def test_failed_with_the_reason(
    queue: JobQueue, run: Run, monkeypatch: pytest.MonkeyPatch, kind: str, parameters: dict, message: str
):
    """Whatever goes wrong, it ends, the reason is kept, and the next job is done."""
    monkeypatch.setattr("backend.jobs.runner._LOOK_SECONDS", 0.05)
    job, _ = queue.submit(kind, cause=CAUSE, parameters=parameters)
    after, _ = queue.submit("nothing", cause=CAUSE)
    run(patience=3, label_studio_api_key=SECRET, label_studio_url="http://studio")
    assert (ended(queue, job.id).state, queue.job(job.id).message) == ("failed", message)
    assert ended(queue, after.id).state == "done"
    for file in queue.folder(job.id).iterdir():
        assert SECRET not in file.read_text()


def test_a_process_that_cannot_even_start(queue: JobQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What it said before it had a log is the reason."""
    monkeypatch.setattr("backend.jobs.runner._LOOK_SECONDS", 0.05)
    from backend.settings import Settings

    job, _ = queue.submit("nothing", cause=CAUSE)
    runner = Runner(Settings(data_dir=tmp_path / "data"), queue, [sys.executable, "-c", "import knitting"], 2)
    runner.start()
    assert "No module named 'knitting'), 2 times in a row" in ended(queue, job.id).message
    runner.stop()


def test_the_log_is_bounded_and_keeps_the_end(queue: JobQueue, run: Run):
    """A command that writes without end, even without an end of line, costs a megabyte at most, and no secret."""
    code = f"import os; print('x' * 5_000_000); [print('{SECRET}', i, 'y' * 90) for i in range(10_000)]"
    code += "; print('the end', os.environ.get('LABEL_STUDIO_API_KEY'))"
    job, _ = queue.submit("chat", parameters={"code": code}, cause=CAUSE)
    run(label_studio_api_key=SECRET, label_studio_url="http://studio")
    assert ended(queue, job.id).message == "status 0"
    files = list(queue.folder(job.id).glob(f"{NAME}*"))
    assert 0 < sum(file.stat().st_size for file in files) <= 2 * BYTES + 5000
    assert not any(SECRET in file.read_text() for file in files)
    assert any("the end None" in line for line in tail(queue.folder(job.id), 5))


@pytest.mark.parametrize("kind", ["wait", "chat"])
def test_cancelled_while_it_runs(queue: JobQueue, run: Run, kind: str, tmp_path: Path):
    """It ends, and so does the command that it runs; the next job is done."""
    ours = tmp_path / "pid"
    code = f"import os, time; open({str(ours)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    job, _ = queue.submit(kind, parameters={"code": code}, cause=CAUSE)
    run()
    until(lambda: pids(queue, job.id) if kind == "wait" else ours.exists() and ours.read_text())
    pid = pids(queue, job.id)[0] if kind == "wait" else int(ours.read_text())
    assert queue.cancel(job.id).stopping == "cancel"
    assert (ended(queue, job.id).state, queue.job(job.id).message) == ("cancelled", "cancelled")
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    after, _ = queue.submit("nothing", cause=CAUSE)
    assert ended(queue, after.id).state == "done"


def test_the_server_stops_and_the_next_goes_on(queue: JobQueue, run: Run):
    """What was counted stays counted, and the result is that of one run."""
    job, _ = queue.submit("count", parameters={"to": 60, "pause": 0.02}, cause=CAUSE)
    first = run()
    until(lambda: (queue.job(job.id).progress.fraction or 0) > 0.2)
    first.stop()
    until(lambda: queue.job(job.id).state == "queued")
    assert queue.job(job.id).message.startswith("interrupted")
    run()
    undisturbed, _ = queue.submit("count", 2, {"to": 60, "pause": 0}, cause=CAUSE)
    assert ended(queue, undisturbed.id).message == queue.job(job.id).message
    assert len(pids(queue, job.id)) == 2


def test_two_servers_share_one_queue(queue: JobQueue, run: Run):
    """Several workers of label-studio-ml: each job is done once, and never two at a time."""
    ids = [queue.submit("count", number, {"to": 10}, cause=CAUSE)[0].id for number in range(4)]
    run(), run()
    messages = [ended(queue, id).message for id in ids]
    assert {queue.job(id).state for id in ids} == {"done"} and len(set(messages)) == 1
    assert [len(pids(queue, id)) for id in ids] == [1] * 4


def test_what_a_job_runs_comes_after_everything(queue: JobQueue, run: Run):
    """For the processor, the disk, and where memory runs out."""
    code = "import os, psutil; p = psutil.Process(); print(p.nice(), p.ionice().ioclass.name)"
    code += "; print(open('/proc/self/oom_score_adj').read())"
    job, _ = queue.submit("chat", parameters={"code": code}, cause=CAUSE)
    run(command=NICE)
    assert ended(queue, job.id).message == "status 0"
    log = "\n".join(tail(queue.folder(job.id), 50))
    assert "19 IOPRIO_CLASS_IDLE" in log and " 800" in log
