"""The commands that answer and ask first: `pam-studio preannotate` and `pam-studio rank`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from backend.options import with_settings
from backend.settings import Settings

if TYPE_CHECKING:
    from backend.assembly import Backend
    from backend.preannotate import Progress
    from backend.rank.project import Ranked
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


@with_settings(*_OF_A_MODEL)
def rank(
    settings: Settings,
    project: Project,
    predict: Annotated[
        bool, typer.Option(help="Predict tasks first that this version of the model has not predicted.")
    ] = True,
    follow: Annotated[
        bool, typer.Option(help="Have Label Studio hand out tasks in this order: uncertainty sampling.")
    ] = True,
    show: Annotated[int, typer.Option(min=0, help="Tasks that are shown.")] = 20,
) -> None:
    """Order the unlabelled tasks of a project by what the model would learn from most.

    First come tasks with regions that the model, or the memory of what annotators said, is unsure of, and that are
    unlike those that are labelled and those before them. The place is written as the score of the prediction, which
    the data manager can sort by ("Prediction score"), and which uncertainty sampling goes by, the lowest first.
    """
    from backend import labeling_config
    from backend.memory import ProjectMemories
    from backend.rank.project import ProjectRanking
    from backend.reconcile import reconcile

    with _at_work(settings, project) as (backend, tasks):
        config = labeling_config.parse(str(tasks.settings().get("label_config") or ""))
        with _bar("reading Label Studio") as advance:
            reconcile(project, backend.ledger, tasks.studio, lambda _, done: advance(done, None))
        if predict:
            report(annotate_first(backend, tasks))
        version = backend.engine.version
        ranking = ProjectRanking(tasks, backend.ledger, ProjectMemories(backend.ledger), config, version)
        with _bar("comparing tasks") as advance:
            ordered = ranking.order(lambda done: advance(done, None))
        if not ordered:
            print(f"project {project} has no unlabelled task with a prediction of {version}")
            return
        with _bar("writing scores") as advance:
            ranking.write(ordered, lambda done: advance(done, len(ordered)))
        if follow:
            tasks.follow(version)
    show_ranking(ordered[:show], len(ordered), follow)


def show_ranking(first: Sequence[Ranked], total: int, follow: bool) -> None:
    """The first tasks of the order, as a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"the first {len(first)} of {total} tasks", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("place", "task", "unsure", "unlike others"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("least sure of", overflow="fold")
    for number, ranked in enumerate(first, start=1):
        place = ranked.place
        cells = (str(number), str(place.task_id), f"{place.unsure:.2f}", f"{place.new:.2f}", ranked.says)
        table.add_row(*map(Text, cells))  # what annotators wrote is no markup
    console = Console()
    console.print(table)
    if follow:
        console.print(
            "Label Studio hands tasks out in this order now: sampling and model version of the project are set"
        )


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on stderr; it is advanced with what is done, and of how much, None where that is not known."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def annotate_first(
    backend: Backend, tasks: StudioTasks, *, labelled: bool = False, limit: int | None = None
) -> Progress:
    """Predict what is not predicted yet, with a bar."""
    with _bar("predicting tasks") as advance:
        return backend.preannotator.project(
            tasks,
            lambda done: advance(
                done.tasks + len(done.failures), done.total if limit is None else min(done.total, limit)
            ),
            labelled=labelled,
            limit=limit,
        )


def report(done: Progress) -> None:
    """Say what became of the tasks; why some have no prediction goes to stderr."""
    if not done.total:
        print("nothing to predict: all tasks are labelled, or have a prediction of this version of the model")
        return
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
    backend = assemble(settings, reembeds=False)  # the server does, which would not see what is done here
    try:
        with Console(stderr=True).status("loading the model"):
            backend.engine.wait()
        yield backend, tasks
    finally:
        backend.close()
