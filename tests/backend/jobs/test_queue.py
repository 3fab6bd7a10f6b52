"""The queue of jobs: states, what may follow on what, and what is kept."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import JobError, JobsUnavailable
from backend.jobs import Job, JobQueue, Progress
from backend.jobs import queue as queue_module

CAUSE = "a test"


def running(queue: JobQueue, kind: str = "count", **more: object) -> Job:
    queue.submit(kind, cause=CAUSE, **more)  # type: ignore[arg-type]
    job = queue.take()
    assert job is not None
    queue.folder(job.id).mkdir(parents=True, exist_ok=True)
    return job


def test_a_job_comes_back_as_it_was_asked_for(queue: JobQueue):
    """Another process, the server after a restart, sees all of it."""
    before = datetime.now(UTC)
    job, is_new = queue.submit("count", 3, {"to": 5}, cause="the button")
    assert is_new and job == queue.job(job.id)
    assert (job.kind, job.project_id, job.parameters, job.cause, job.state) == (
        "count", 3, {"to": 5}, "the button", "queued",
    )  # fmt: skip
    assert before <= job.created_at <= datetime.now(UTC)
    assert (job.started_at, job.finished_at, job.message) == (None, None, "")


@pytest.mark.parametrize("begun", [False, True])
def test_a_second_one_is_the_first(queue: JobQueue, begun: bool):
    """Two presses of the button, one training; what has another key is its own."""
    first, _ = queue.submit("train", 1, cause=CAUSE, key="train")
    if begun:
        queue.take()
    again, is_new = queue.submit("train", 2, cause=CAUSE, key="train")
    assert (again.id, is_new) == (first.id, False)
    assert queue.submit("track", 1, cause=CAUSE)[1] and queue.submit("track", 2, cause=CAUSE)[1]
    queue.cancel(first.id)
    queue.stopped(first.id)
    assert queue.submit("train", 1, cause=CAUSE, key="train")[1]


def test_many_presses_at_once_are_one_job(queue: JobQueue):
    """Threads of the server and other processes all pass through one transaction."""
    made: list[bool] = []
    threads = [threading.Thread(target=lambda: made.append(queue.submit("train", cause=CAUSE)[1])) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 15 + [True]


def test_one_at_a_time_in_order(queue: JobQueue):
    """The oldest that waits is next, and only once nothing runs."""
    ids = [queue.submit("count", number, cause=CAUSE)[0].id for number in range(3)]
    for id in ids:
        job = queue.take()
        assert job is not None and job.id == id and queue.running() == job
        assert queue.take() is None
        queue.finish(id, "done", "counted")
    assert queue.take() is None and not queue.is_waiting()
    assert queue.counts() == {"queued": 0, "running": 0, "done": 3, "failed": 0, "cancelled": 0}
    assert [job.id for job in queue.jobs(2)] == ids[:0:-1]


def test_cancelling(queue: JobQueue):
    """What waits is cancelled at once, what runs is asked to stop, and what has ended stays what it is."""
    first = running(queue)
    second, _ = queue.submit("count", 2, cause=CAUSE)
    assert queue.cancel(second.id).state == "cancelled"
    asked = queue.cancel(first.id)
    assert (asked.state, asked.stopping) == ("running", "cancel")
    queue.pause()  # the server stops meanwhile
    queue.stopped(first.id)
    assert (queue.job(first.id).state, queue.job(first.id).stopping) == ("cancelled", "")
    assert queue.cancel(first.id).state == "cancelled"
    queue.finish(first.id, "done", "too late")
    assert queue.job(first.id).state == "cancelled"


def test_a_paused_job_waits_at_its_place(queue: JobQueue):
    """The server stops: the job goes on with the next one, before those that came later."""
    first = running(queue)
    queue.submit("count", 2, cause=CAUSE)
    queue.pause()
    assert queue.job(first.id).stopping == "pause"
    queue.stopped(first.id)
    left = queue.job(first.id)
    assert left.state == "queued" and left.message.startswith("interrupted")
    again = queue.take()
    assert again is not None and (again.id, again.stopping, again.started_at) == (first.id, "", first.started_at)


def test_deaths_without_getting_further_end_a_job(queue: JobQueue):
    """What is killed for its memory each time must not be tried forever; what gets further may die often."""
    job = running(queue)
    for step in range(1, 8):
        Progress("counting", step / 10).write(queue.folder(job.id) / "progress.json")
        assert queue.died(job.id, "killed", 2).state == "queued"
        queue.take()
    left = queue.died(job.id, "killed", 2)
    assert (left.state, left.progress.fraction) == ("failed", 0.7)
    assert left.message.startswith("killed, 2 times in a row")


@pytest.mark.parametrize(("asked", "state"), [("cancel", "cancelled"), ("pause", "queued")])
def test_a_death_while_stopping_is_a_stop(queue: JobQueue, asked: str, state: str):
    """It was killed before it could say so itself."""
    job = running(queue)
    queue.cancel(job.id) if asked == "cancel" else queue.pause()
    assert queue.died(job.id, "killed", 1).state == state


def test_trying_again(queue: JobQueue):
    """A failed job goes on where it was; one that has not ended, or has a successor, does not."""
    job = running(queue, key="train")
    with pytest.raises(JobError, match="is running: only one that failed"):
        queue.retry(job.id)
    queue.finish(job.id, "failed", "Label Studio was down")
    assert queue.retry(job.id).state == "queued"
    queue.take()
    queue.finish(job.id, "failed", "Label Studio was down")
    queue.submit("train", cause=CAUSE, key="train")
    with pytest.raises(JobError, match="another job like 1 is under way"):
        queue.retry(job.id)
    with pytest.raises(JobError, match="there is no job 99") as caught:
        queue.retry(99)
    assert caught.value.status == 404


def test_the_list_is_bounded(queue: JobQueue, monkeypatch: pytest.MonkeyPatch):
    """The oldest that have ended go, with their folders; those that have not ended stay."""
    monkeypatch.setattr(queue_module, "KEPT", 3)
    ids = []
    for _ in range(5):
        job = running(queue)
        queue.finish(job.id, "done", "")
        ids.append(job.id)
    queue.submit("wait", cause=CAUSE)
    assert [job.id for job in queue.jobs()][1:] == ids[:1:-1]
    assert [queue.folder(id).exists() for id in ids] == [False, False, True, True, True]


def test_a_number_is_never_given_twice(queue: JobQueue, monkeypatch: pytest.MonkeyPatch):
    """Label Studio keeps the number of its training; a folder that stayed behind must not become another's."""
    monkeypatch.setattr(queue_module, "KEPT", 0)
    for expected in (1, 2, 3):
        job = running(queue)
        assert job.id == expected
        queue.finish(job.id, "done", "")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"fraction": "x"}', b'{"fraction": 7}', b"\xff\xfe", b"null"])
def test_damaged_progress_is_no_progress(queue: JobQueue, content: bytes):
    """A page must not fail over what a full disk left of a file."""
    job = running(queue)
    (queue.folder(job.id) / "progress.json").write_bytes(content)
    assert queue.job(job.id).progress == Progress()


@given(st.builds(Progress, st.text(max_size=99), st.none() | st.floats(0, 1), st.none() | st.floats(0, 1e8)))
def test_progress_comes_back(tmp_path_factory: pytest.TempPathFactory, progress: Progress):
    """Whatever words a stage has."""
    path = tmp_path_factory.getbasetemp() / "progress.json"
    progress.write(path)
    assert Progress.read(path) == progress


def test_a_full_disk_changes_nothing(queue: JobQueue):
    """SQLite's complaint has a remedy, and the job is as it was."""
    job = running(queue)
    (pages,) = queue._file._db.execute("PRAGMA page_count").fetchone()
    queue._file._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JobsUnavailable, match="list of jobs .*jobs.sqlite failed: .*free some space") as caught:
        for number in range(10_000):
            queue.submit("count", number, {"words": "x" * 4000}, cause=CAUSE)
    assert caught.value.status == 503
    queue._file._db.execute(f"PRAGMA max_page_count = {pages + 1000}")
    assert queue.running() == job


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"no database at all" * 100), None])
def test_a_file_that_cannot_be_used_is_said(tmp_path: Path, damage: Callable[[Path], object] | None):
    """Damaged, or of a newer PAM Studio."""
    path = tmp_path / "jobs.sqlite"
    if damage is not None:
        damage(path)
    else:
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version = 9")
        db.close()
    with pytest.raises(JobsUnavailable, match="move it away|newer PAM Studio"):
        JobQueue(tmp_path)
