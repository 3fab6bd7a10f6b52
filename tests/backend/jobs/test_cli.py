"""`pam-studio jobs`, as people type it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from backend.cli import app
from backend.errors import JobError, JobsUnavailable, LedgerError
from backend.jobs import JobQueue, Progress
from backend.ledger import Ledger
from backend.ledger.tracks import Key
from backend.video.track_works import TrackWorks
from backend.video.work import Work


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data folder with one job that is done, one that runs, and one that waits."""
    with JobQueue(tmp_path) as queue, Ledger(tmp_path / "ledger.sqlite"):
        for project in (1, 2, 3):
            queue.submit("count", project, cause="[a] test")
        for _ in range(2):
            job = queue.take()
            assert job is not None
            queue.folder(job.id).mkdir(parents=True)
            if job.id == 1:
                queue.finish(1, "done", "[bold]counted[/bold]")
        Progress("counting", 0.42, 75).write(queue.folder(2) / "progress.json")
        (queue.folder(2) / "log").write_text("".join(f"line {number}\n" for number in range(30)))
    return tmp_path


def jobs(data_dir: Path, *words: object) -> Result:
    arguments = ["jobs", *map(str, words), "--data-dir", str(data_dir)]
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, arguments)


def test_the_list(data_dir: Path):
    """Newest first, with how far the running one is; what a message holds is no markup."""
    lines = jobs(data_dir, "list").output.splitlines()
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines if re.match(r"\s\d", line)]
    assert [row[0] for row in rows] == ["3", "2", "1"]
    assert "42%, counting, 1 min 15 s left" in rows[1][-1] and "[bold]counted[/bold]" in rows[2][-1]
    found = json.loads(jobs(data_dir, "list", "--json", "--limit", 1).output)
    assert [job["id"] for job in found] == [3]


def test_tracks_are_in_the_list(data_dir: Path):
    """What the server follows through videos is a job like others: listed, shown, cancelled. When its server is gone,
    it is said to be interrupted, and nobody waits for it."""
    later = datetime.now(UTC) + timedelta(minutes=1)
    with TrackWorks(data_dir) as works:
        works.begin()
        for number, state in ((1, "done"), (2, "running")):
            work = Work(
                Key(3, 7, f"region{number}"), number, Path("clip"), 50, created_at=later + timedelta(seconds=number)
            )
            work.state, work.done, work.events, work.seconds = state, 20, 2, 10.0  # type: ignore[assignment]
            works.put(work.as_json())
        assert [job["id"] for job in json.loads(jobs(data_dir, "list", "--json").output)] == [
            "track-2",
            "track-1",
            3,
            2,
            1,
        ]
        listed = jobs(data_dir, "list").output
        assert "track, project 3" in listed and "20 of 50 frames, 2 events, 15 s left" in listed
        assert "track-2, track, project 3" in (shown := jobs(data_dir, "show", "track-2").output) and "region2" in shown
        assert "track-2 is being cancelled" in jobs(data_dir, "cancel", "track-2").output
        assert "track-1 is done" in jobs(data_dir, "cancel", "track-1").output
        assert works.unwanted() == ["track-2"]
    lost = json.loads(jobs(data_dir, "show", "track-2", "--json").output)
    assert (lost["state"], lost["frames"]) == ("interrupted", {"done": 20, "of": 50})
    with TrackWorks(data_dir) as works:
        works.begin()
    assert [job["id"] for job in json.loads(jobs(data_dir, "list", "--json").output)] == [3, 2, 1]
    assert isinstance(jobs(data_dir, "show", "track-2").exception, JobError)
    assert "expected a number, or track-" in jobs(data_dir, "show", "track-x").output


def test_one_job(data_dir: Path):
    """With the end of its log."""
    shown = jobs(data_dir, "show", 2, "--lines", 2).output
    assert "count, project 2" in shown and "42%, counting" in shown
    assert shown.splitlines()[-2:] == ["line 28", "line 29"]
    assert json.loads(jobs(data_dir, "show", 2, "--json").output)["log"][-1] == "line 29"


def test_cancelling_and_trying_again(data_dir: Path):
    """What comes of it is said."""
    assert "job 3 is cancelled" in jobs(data_dir, "cancel", 3).output
    assert "job 2 is being cancelled" in jobs(data_dir, "cancel", 2).output
    assert "job 1 is done" in jobs(data_dir, "cancel", 1).output
    assert "job 3 is queued again" in jobs(data_dir, "retry", 3).output
    assert isinstance(jobs(data_dir, "retry", 1).exception, JobError)


def test_starting(data_dir: Path):
    """As the button does; a second time says that there is one."""
    assert jobs(data_dir, "start").output == "job 4 (train) is queued\n"
    assert "job 4 (train) is queued already" in jobs(data_dir, "start", "--project", 2).output


@pytest.mark.parametrize("words", [("list",), ("show", 1), ("cancel", 1), ("retry", 1)])
def test_a_mistyped_folder_does_not_come_into_being(tmp_path: Path, words: tuple):
    """A typing error is not an empty list."""
    assert isinstance(jobs(tmp_path / "typo", *words).exception, JobsUnavailable)
    assert isinstance(jobs(tmp_path / "typo", "start").exception, LedgerError)
    assert not (tmp_path / "typo").exists()
