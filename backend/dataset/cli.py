"""The commands around data sets: `pam-studio export` and `pam-studio diff`."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.errors import ExportError
from backend.options import with_settings
from backend.settings import Settings

_OF_AN_EXPORT = (
    "data_dir",
    "label_studio_url",
    "max_image_pixels",
    "out",
    "formats",
    "validation",
    "categories",
    "consensus",
    "consensus_iou",
)


@with_settings(*_OF_AN_EXPORT)
def export(
    settings: Settings,
    project: Annotated[
        int | None,
        typer.Option(help="Id of the one project that the data set is of; all that the ledger knows, when left out."),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(
            metavar="ORG/NAME", help="Upload the version to this data set on the Hugging Face Hub (HF_TOKEN)."
        ),
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Ask at once for images that could not be had, not only after a day.")
    ] = False,
) -> None:
    """Make a new version of the data set of what annotators corrected, if anything has changed.

    The folder --out holds v0001, v0002, … and the link `latest`. It is a data set either of one project or of all.
    """
    from rich.progress import Progress

    from backend.dataset.export import export as run
    from backend.dataset.push import push as upload
    from backend.dataset.sources import ledger_of, options_of, sources_of

    options = options_of(settings, project)
    with ledger_of(settings, project) as ledger, Progress(transient=True) as bars:
        bar = bars.add_task("", total=None)
        report = run(
            sources_of(settings, ledger, project),
            settings.out,
            ledger,
            options,
            lambda step, done: bars.update(bar, description=f"{step}: {done}"),
            retry=retry,
        )
    print(report.summary())
    if push:
        print(f"pushed to {upload(report.version, push)}")


@with_settings("out")
def diff(
    settings: Settings,
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A version, such as v0001.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="Another, such as v0002 or latest.")],
) -> None:
    """Say what changed from one version of the data set to another."""
    from backend.dataset.diff import compare

    for version in (before, after):
        if not (settings.out / version / "manifest.json").is_file():
            raise ExportError(f"{settings.out} has no version {version!r}: `ls {settings.out}` shows those that it has")
    print(compare(settings.out / before, settings.out / after).summary())
