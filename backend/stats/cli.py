"""The command `pam-studio stats`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from backend.options import with_settings
from backend.settings import Settings


@with_settings("data_dir", "max_image_pixels")
def stats(
    settings: Settings,
    project: Annotated[int | None, typer.Option(help="Id of one project, instead of all.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file, too.")] = None,
) -> None:
    """Count what the ledger holds, and what annotators accepted and corrected, by model version, field and category."""
    from rich import box
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text

    from backend.existing_ledger import existing_ledger
    from backend.stats.collect import collect
    from backend.stats.page import page
    from backend.stats.rows import tables

    with existing_ledger(settings) as ledger, Progress(transient=True) as bars:
        bar = bars.add_task("", total=None)
        counted = collect(
            ledger,
            [project] if project is not None else ledger.projects(),
            settings.max_image_pixels,
            lambda done: bars.update(bar, description=f"comparing masks and words: task {done}"),
        )
    console = Console()
    for each in tables(counted):
        shown = Table(
            title=each.title, title_justify="left", caption=each.note, caption_justify="left",
            box=box.SIMPLE_HEAD, pad_edge=False,
        )  # fmt: skip
        for index, column in enumerate(each.columns):
            # Names are broken where the terminal is narrow, numbers never.
            shown.add_column(column, justify="left" if index == 0 else "right", overflow="fold", no_wrap=index > 0)
        for row in each.rows:
            shown.add_row(*map(Text, row))  # what annotators wrote is no markup
        console.print(shown)
    if html is not None:
        html.write_text(page(counted, datetime.now(UTC)), encoding="utf-8")
        console.print(f"{html} shows it with plots", markup=False)
