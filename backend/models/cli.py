"""`pam-studio models`: which models there are, which one answers, and why the others do not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backend.options import with_settings
from backend.settings import Settings

app = typer.Typer(
    rich_markup_mode="markdown",  # else lines end where they do in the docstrings
    help="""List the models that were trained, and choose the one that answers.

    A running backend takes another model over within seconds, between two requests. While that one is loaded, both are
    in memory.""",
)

Version = Annotated[str, typer.Argument(metavar="VERSION", help="As `pam-studio models` lists it.")]


@app.callback(invoke_without_command=True)
@with_settings("data_dir", "model")
def models(settings: Settings, context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        _list(settings)


@app.command("list")
@with_settings("data_dir", "model")
def list_models(settings: Settings) -> None:
    """All models, the one of the settings first: what they were trained on, their figures, and which one answers."""
    _list(settings)


@app.command()
@with_settings("data_dir", "model")
def show(settings: Settings, version: Version) -> None:
    """All that is known of a version: its figures by field and by class, and what was decided of it."""
    from rich.console import Console

    from backend.models import registry_of, tables

    registry = registry_of(settings)
    kept, active, console = registry.version(version), registry.active(), Console()
    for name, text in (
        ("version", kept.version),
        ("folder", str(kept.folder)),
        ("trained from", kept.report.base),
        ("data", f"{kept.report.data.path}: {tables.trained_on(kept)}"),
        ("state", tables.state(kept, active)),
        ("decided", kept.note.reason if kept.note else "nothing yet"),
        *((made.how, f"{made.at:%Y-%m-%d %H:%M}, {made.reason}") for made in active.history if made.version == version),
    ):
        console.print(f"{name + ':':14}{text}", highlight=False, markup=False, soft_wrap=True)
    console.print(tables.fields(kept))
    if kept.report.per_class:
        console.print(tables.classes(kept))


@app.command()
@with_settings("data_dir", "model")
def promote(
    settings: Settings,
    version: Version,
    force: Annotated[bool, typer.Option("--force", help="Even if it was kept aside.")] = False,
) -> None:
    """Let a version answer; `base` is the model of the settings."""
    from backend.models import registry_of
    from backend.models.promotion import promote_by_hand

    print(f"{promote_by_hand(registry_of(settings), version, force)} answers now")


@app.command()
@with_settings("data_dir", "model")
def rollback(settings: Settings) -> None:
    """Let the version answer that did before the last promotion."""
    from backend.models import registry_of

    made = registry_of(settings).roll_back()
    print(f"{made.version or settings.model} answers again, {made.reason}")


@app.command()
@with_settings("data_dir", "model")
def remove(settings: Settings, version: Version) -> None:
    """Delete a version that does not answer, to make room on the disk."""
    from backend.models import registry_of

    registry_of(settings).remove(version)
    print(f"{version} is gone")


@app.command()
@with_settings("data_dir", "model", "promotion_regions", "models_kept")
def consider(
    settings: Settings,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `pam-studio train --out` has filled.")],
) -> None:
    """Keep what a training made, and let it answer if it has earned it.

    It has where no field got worse beyond noise and one got better, by a paired permutation test over the validation
    regions, and over drawn things that the old model knew.
    """
    from backend import models

    decision = models.consider(models.registry_of(settings), run)
    print(f"{decision.version} {'answers now' if decision.promoted else 'is kept aside'}: {decision.reason}")


def _list(settings: Settings) -> None:
    from rich.console import Console

    from backend.models import registry_of, tables

    Console().print(tables.overview(registry_of(settings)))
