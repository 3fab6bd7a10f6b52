"""The one command, `pam-studio`."""

from __future__ import annotations

import sys

import typer

from backend.dataset.cli import diff, export
from backend.errors import BackendError
from backend.jobs.cli import app as jobs
from backend.models.cli import app as models
from backend.options import with_settings
from backend.preannotate_cli import preannotate, rank
from backend.predict_cli import predict
from backend.settings import Settings
from backend.stats.cli import stats
from backend.train_cli import train
from backend.watch_cli import watch
from backend.weights_cli import app as weights

app = typer.Typer(
    rich_markup_mode="markdown",  # else lines end where they do in the docstrings
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Click an object, get its mask, category, explanation and caption: a Label Studio ML backend.",
)


@app.command()
@with_settings()
def serve(settings: Settings) -> None:
    """Start the backend."""
    from backend.serve import serve as run

    run(settings)


@app.command(
    "train-nano", context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
)
def train_nano(context: typer.Context) -> None:
    """Train the built-in model from nothing, on scenes drawn on the fly."""
    from model.training.nano import app as nano  # it has the options, and brings in PyTorch

    nano(context.args, prog_name=context.command_path)


for command in (predict, watch, preannotate, rank, export, diff, stats, train):
    app.command()(command)
app.add_typer(weights, name="weights")
app.add_typer(jobs, name="jobs")
app.add_typer(models, name="models")


def main() -> None:
    """Run the command; an error that was foreseen is one line, not a traceback."""
    try:
        app()
    except Exception as error:
        if not _is_foreseen(error):
            raise
        print(f"pam-studio: {error}", file=sys.stderr)
        sys.exit(1)


def _is_foreseen(error: Exception) -> bool:
    from model.errors import ModelError  # only now: it brings in PyTorch, and `--help` should not wait for that

    return isinstance(error, (BackendError, ModelError, OSError))
