"""`pam-studio jobs`: what runs in the background, what came of it, and how to stop it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from backend.options import with_settings
from backend.settings import Settings

if TYPE_CHECKING:
    from backend.jobs import Job, JobQueue

app = typer.Typer(
    no_args_is_help=True,
    help="""Show, start and cancel background jobs, such as trainings.

    They are done one at a time, beside a running `pam-studio serve` with the same --data-dir.""",
)

Number = Annotated[int, typer.Argument(metavar="JOB", min=1, help="A job's number.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@app.command("list")
@with_settings("data_dir")
def list_(
    settings: Settings,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The last jobs, newest first."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    with _existing(settings) as queue:
        jobs = queue.jobs(limit)
    if as_json:
        print(json.dumps([job.as_json() for job in jobs], indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("job", "kind", "state", "asked for by"):
        table.add_column(column, no_wrap=column in ("job", "state"), overflow="fold")
    table.add_column("", overflow="fold", min_width=20)  # numbers and states are never broken, words are
    for job in jobs:
        told = _progress(job) if job.state == "running" else job.message
        row = (
            str(job.id),
            _kind(job),
            f"{job.state}\n{_took(job)}".strip(),
            f"{job.cause}, {_clock(job.created_at)}",
            told,
        )
        table.add_row(*map(Text, row))
    Console().print(table if jobs else "no jobs yet")


@app.command()
@with_settings("data_dir")
def show(
    settings: Settings,
    job: Number,
    lines: Annotated[int, typer.Option(min=0, max=10_000, help="How much of its log.")] = 20,
    as_json: AsJson = False,
) -> None:
    """One job, and the end of its log."""
    from backend.jobs.log import tail

    with _existing(settings) as queue:
        found, log = queue.job(job), tail(queue.folder(job), lines)
        folder = queue.folder(job)
    if as_json:
        print(json.dumps(found.as_json() | {"log": log}, indent=2))
        return
    rows = {
        "job": f"{found.id}, {_kind(found)}",
        "state": found.state + (f", to {found.stopping}" if found.stopping else ""),
        "progress": _progress(found) if found.is_open else "",
        "asked for": f"by {found.cause}, {_clock(found.created_at)}",
        "took": _took(found),
        "message": found.message,
        "folder": str(folder) if folder.is_dir() else "",
    }
    for name, text in rows.items():
        if text:
            print(f"{name + ':':11} {text}")
    if log:
        print("\n" + "\n".join(log))


@app.command()
@with_settings("data_dir")
def start(
    settings: Settings,
    project: Annotated[
        int | None, typer.Option(help="On whose behalf; one model serves all projects, and learns from all.")
    ] = None,
) -> None:
    """Ask for a training, as Label Studio's button Start Training does; the running server begins it."""
    from backend.existing_ledger import existing_ledger
    from backend.jobs.queue import JobQueue
    from backend.jobs.start import said, start_training

    with existing_ledger(settings) as ledger, JobQueue(settings.data_dir) as queue:
        print(said(*start_training(queue, ledger, project, "the command line")))


@app.command()
@with_settings("data_dir")
def cancel(settings: Settings, job: Number) -> None:
    """Cancel a job: at once where it waits, else within seconds."""
    with _existing(settings) as queue:
        found = queue.cancel(job)
    if found.state == "running":
        print(f"job {job} is being cancelled")
    else:
        print(f"job {job} is {found.state}")


@app.command()
@with_settings("data_dir")
def retry(settings: Settings, job: Number) -> None:
    """Queue a job again that failed or was cancelled; it goes on where it was."""
    with _existing(settings) as queue:
        print(f"job {queue.retry(job).id} is queued again")


@app.command(hidden=True)
@with_settings()
def work(settings: Settings, job: Number, lock: Annotated[int, typer.Argument(metavar="LOCK")]) -> None:
    """Do a job; the server starts this, with the file descriptor of the lock."""
    from backend.jobs.work import work as run

    run(settings, job, lock)


def _existing(settings: Settings) -> JobQueue:
    from backend.errors import JobsUnavailable
    from backend.jobs.queue import FILE, JobQueue

    path = settings.data_dir / FILE
    if not path.is_file():
        raise JobsUnavailable(f"there is no list of jobs {path}: name the --data-dir of the backend")
    return JobQueue(settings.data_dir)


def _kind(job: Job) -> str:
    return job.kind if job.project_id is None else f"{job.kind}, project {job.project_id}"


def _progress(job: Job) -> str:
    progress = job.progress
    parts = [
        "" if progress.fraction is None else f"{progress.fraction:.0%}",
        progress.stage,
        "" if progress.seconds_left is None else f"{_span(progress.seconds_left)} left",
    ]
    return ", ".join(part for part in parts if part)


def _took(job: Job) -> str:
    if job.started_at is None:
        return ""
    return _span(((job.finished_at or datetime.now(job.started_at.tzinfo)) - job.started_at).total_seconds())


def _span(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s" if minutes else f"{left} s"


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
