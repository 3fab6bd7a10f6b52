"""`pam-studio jobs`: what runs in the background, what came of it, and how to stop it."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.options import with_settings
from backend.settings import Settings
from backend.video.track_works import ShownWork, TrackWorks

if TYPE_CHECKING:
    from backend.jobs import Job, JobQueue

app = typer.Typer(
    rich_markup_mode="markdown",  # else lines end where they do in the docstrings
    no_args_is_help=True,
    help="""Show, start and cancel background jobs: trainings, and tracks of objects through videos.

    Trainings are done one at a time, beside a running `pam-studio serve` with the same --data-dir. Tracks are followed
    by that server itself; Label Studio asks for them.""",
)

_TRACK = re.compile(r"track-\d{1,18}")


def _id(text: str) -> int | str:
    if _TRACK.fullmatch(text):
        return text
    if text.isascii() and text.isdecimal() and 0 < int(text[:18]):
        return int(text[:18])
    raise typer.BadParameter(f"expected a number, or track- and a number as the list shows it, got {text!r:.40}")


Id = Annotated[Any, typer.Argument(metavar="JOB", parser=_id, help="A job's number, or a track's, such as track-7.")]
Number = Annotated[int, typer.Argument(metavar="JOB", min=1, help="A job's number.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@app.command("list")
@with_settings("data_dir")
def list_(
    settings: Settings,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The last jobs, newest first, and the tracks of the server that runs or ran last."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    with _existing(settings) as queue:
        jobs = queue.jobs(limit)
    with TrackWorks(settings.data_dir) as works:
        tracks = works.all()[:limit]
    found: list[Job | ShownWork] = [*jobs, *tracks]
    found = sorted(found, key=_when, reverse=True)[:limit]
    if as_json:
        print(json.dumps([job if isinstance(job, dict) else job.as_json() for job in found], indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("job", "kind", "state", "asked for by"):
        table.add_column(column, no_wrap=column in ("job", "state"), overflow="fold")
    table.add_column("", overflow="fold", min_width=20)  # numbers and states are never broken, words are
    for job in found:
        table.add_row(*map(Text, _track_row(job) if isinstance(job, dict) else _row(job)))
    Console().print(table if found else "no jobs yet")


@app.command()
@with_settings("data_dir")
def show(
    settings: Settings,
    job: Id,
    lines: Annotated[int, typer.Option(min=0, max=10_000, help="How much of its log.")] = 20,
    as_json: AsJson = False,
) -> None:
    """One job, and the end of its log."""
    from backend.jobs.log import tail

    if isinstance(job, str):
        with _existing(settings), TrackWorks(settings.data_dir) as works:
            _show_track(works.one(job), as_json)
        return
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
    _print(rows)
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
def cancel(settings: Settings, job: Id) -> None:
    """Cancel a job: at once where it waits, else within seconds. A track goes on when it is asked for again."""
    if isinstance(job, str):
        with _existing(settings), TrackWorks(settings.data_dir) as works:
            work = works.ask_to_stop(job)
        is_open = work["state"] in ("queued", "running")
        print(f"job {job} is " + ("being cancelled" if is_open else work["state"]))
        return
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


def _when(job: Job | ShownWork) -> datetime:
    return datetime.fromisoformat(job["created_at"]) if isinstance(job, dict) else job.created_at


def _row(job: Job) -> tuple[str, ...]:
    told = _progress(job) if job.state == "running" else job.message
    by = f"{job.cause}, {_clock(job.created_at)}"
    return str(job.id), _kind(job), f"{job.state}\n{_took(job)}".strip(), by, told


def _track_row(work: ShownWork) -> tuple[str, ...]:
    by = f"a box in task {work['task_id']}, {_clock(_when(work))}"
    told = "; ".join(filter(None, (work["message"], _followed(work))))
    return work["id"], f"track, project {work['project_id']}", work["state"], by, told


def _show_track(work: ShownWork, as_json: bool) -> None:
    if as_json:
        print(json.dumps(work, indent=2))
        return
    id, kind, state, by, _ = _track_row(work)
    rows = {
        "job": f"{id}, {kind}",
        "state": state,
        "progress": _followed(work),
        "asked for": f"by {by}",
        "region": work["region_id"],
        "message": work["message"],
    }
    _print(rows)


def _followed(work: ShownWork) -> str:
    frames, left = work["frames"], work["seconds_left"]
    events = f", {work['events']} events" if work["events"] else ""
    is_open = work["state"] in ("queued", "running")
    return f"{frames['done']} of {frames['of']} frames{events}" + (
        f", {_span(left)} left" if left is not None and is_open else ""
    )


def _print(rows: dict[str, str]) -> None:
    for name, text in rows.items():
        if text:
            print(f"{name + ':':11} {text}")


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
