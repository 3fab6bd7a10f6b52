"""The commands that answer and ask first: `pam-studio preannotate` and `pam-studio rank`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from backend.options import with_settings
from backend.settings import Settings

if TYPE_CHECKING:
    from backend.assembly import Backend
    from backend.preannotate import Progress
    from backend.studio_tasks import StudioTasks

_OF_A_MODEL = (
    *("data_dir", "label_studio_url", "model", "device", "dtype", "threads", "language", "caption", "memory"),
    *("most_regions", "nested", "points_per_side", "max_image_bytes", "max_image_pixels", "image_timeout"),
)
_REASONS = 10

Project = Annotated[int, typer.Option(help="Id of the project in Label Studio.")]


@with_settings(*_OF_A_MODEL)
def preannotate(
    settings: Settings,
    project: Project,
    labelled: Annotated[bool, typer.Option("--labelled", help="Tasks that have annotations, too.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many tasks.")] = None,
) -> None:
    """Find everything on the tasks of a project, say what it is, and give the tasks to annotators with that filled in.

    Tasks that this version of the model has predicted are left out, so the command can be stopped and started again.
    """
    with _at_work(settings, project) as (backend, tasks):
        done = annotate_first(backend, tasks, labelled=labelled, limit=limit)
    report(done)
    if done.failures and not done.tasks:
        raise typer.Exit(1)


def annotate_first(
    backend: Backend, tasks: StudioTasks, *, labelled: bool = False, limit: int | None = None
) -> Progress:
    """Predict what is not predicted yet, with a bar."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task("predicting tasks", total=None)
        return backend.preannotator.project(
            tasks,
            lambda done: bars.update(
                bar,
                total=done.total if limit is None else min(done.total, limit),
                completed=done.tasks + len(done.failures),
                description=f"predicting tasks: {done.regions} regions",
            ),
            labelled=labelled,
            limit=limit,
        )


def report(done: Progress) -> None:
    """Say what became of the tasks; why some have no prediction goes to stderr."""
    print(f"{done.tasks} tasks predicted, with {done.regions} regions; {len(done.failures)} could not be")
    for task, why in list(done.failures.items())[:_REASONS]:
        print(f"task {task}: {why}", file=sys.stderr)
    if len(done.failures) > _REASONS:
        print(f"and {len(done.failures) - _REASONS} more", file=sys.stderr)


@contextmanager
def _at_work(settings: Settings, project: int) -> Iterator[tuple[Backend, StudioTasks]]:
    """The backend's parts with the model loaded, and the project; raises LabelStudioError where it is not known."""
    from rich.console import Console

    from backend.assembly import assemble
    from backend.connections import Connections
    from backend.dataset.sources import ledger_of
    from backend.errors import LabelStudioError
    from backend.studio_tasks import StudioTasks

    with ledger_of(settings, project) as ledger:
        studio = Connections(settings, ledger).of(project)
    if studio is None:
        raise LabelStudioError(
            f"nothing is known of project {project}: set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, or name the "
            "--data-dir of the backend that it is connected to"
        )
    tasks = StudioTasks(studio, project)
    tasks.settings()  # whether it can be reached is said before the model is loaded
    backend = assemble(settings)
    try:
        with Console(stderr=True).status("loading the model"):
            backend.engine.wait()
        yield backend, tasks
    finally:
        backend.ledger.close()
