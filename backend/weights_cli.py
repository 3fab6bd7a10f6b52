"""`pam-studio weights`: look at a checkpoint, convert it, verify it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

if TYPE_CHECKING:
    from model.checkpoints import Checkpoint

app = typer.Typer(
    rich_markup_mode="markdown",  # else lines end where they do in the docstrings
    no_args_is_help=True,
    help="""Show, convert and verify checkpoints.

    A SOURCE is `nano`, a folder, or a Hugging Face id such as Perceive-Anything/PAM-3B, which is fetched. It may be in
    the layout of the published checkpoints or in PAM Studio's own.""",
)

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="`nano`, a folder, or a Hugging Face id.")]


@app.command()
def show(
    source: Source,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    compute: Annotated[
        bool,
        typer.Option("--hash", help="Compute the hash of the weights: the version of a checkpoint that records none."),
    ] = False,
) -> None:
    """What a checkpoint holds: its parts, their sizes and dtypes, where they come from, and its version.

    The version is the one that the checkpoint records, without a look at the weights; published ones record none.
    """
    from model import checkpoints

    checkpoint = checkpoints.read(source)
    computed = None
    if compute:
        with reading("hashing", checkpoint) as on_bytes:
            computed = checkpoints.fingerprint(checkpoint, on_bytes)
    facts = describe(checkpoint, computed)
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        print_tables(facts)


@app.command()
def convert(
    source: Source,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the new checkpoint.")],
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option(help="What the weights are stored in.")
    ] = "bfloat16",
    force: Annotated[bool, typer.Option("--force", help="Replace a checkpoint that is there.")] = False,
) -> None:
    """Write a checkpoint in PAM Studio's own format: one config.json, model.safetensors and tokenizer.json.

    It needs little memory, and leaves nothing half done: the folder appears when it is complete.
    """
    from model import checkpoints

    checkpoint = checkpoints.read(source)
    with reading("converting", checkpoint) as on_bytes:
        checkpoints.convert(checkpoint, out, checkpoints.DTYPES[dtype], force, on_bytes)
    size = sum(file.stat().st_size for file in out.iterdir())
    print(f"{out}: {size / 1e9:.2f} GB, {dtype}; use it with `--model {out}`")


@app.command()
def verify(source: Source) -> None:
    """Check every tensor's name and shape, every value, and every hash that the checkpoint came with.

    Exits with 1, after a line for each problem, when something is wrong.
    """
    from model import checkpoints

    checkpoint = checkpoints.read(source)
    with reading("verifying", checkpoint) as on_bytes:
        verdict = checkpoints.verify(checkpoint, on_bytes)
    for problem in verdict.problems:
        print(problem)
    if verdict.problems:
        print(f"pam-studio: {source} has {len(verdict.problems)} problem(s)", file=sys.stderr)
        raise typer.Exit(1)
    print(f"{source} is in order: {len(checkpoint.tensors)} tensors, {checkpoint.version(verdict.fingerprint)}")


@contextmanager
def reading(what: str, checkpoint: Checkpoint) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal's error side while a checkpoint is read; nothing where that is no terminal."""
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(what, total=checkpoint.nbytes)
        yield lambda count: bars.advance(bar, count)


def describe(checkpoint: Checkpoint, computed: str | None) -> dict:
    """The facts of `show`, as plain JSON types.

    computed: the hash of the weights, or None: then the version is the recorded one, or None.
    """
    from model import checkpoints

    sam = sorted({str(entry.file) for name, entry in checkpoint.tensors.items() if name.startswith("sam.")})
    return {
        "source": checkpoint.source,
        "version": checkpoint.version(known) if (known := computed or checkpoint.recorded) else None,
        "hash": {"computed": computed, "recorded": checkpoint.recorded},
        "name": checkpoint.config.name,
        "format": "PAM Studio's" if checkpoint.own_format else "official",
        "folder": str(checkpoint.folder),
        "files": [{"path": str(file), "bytes": file.stat().st_size} for file in checkpoint.files],
        "sam_from": sam,
        "tower": checkpoint.config.sam.base,
        "language": checkpoint.config.language,
        "parameters": sum(entry.elements for entry in checkpoint.tensors.values()),
        "bytes": checkpoint.nbytes,
        "parts": [
            {
                "name": part.name,
                "tensors": part.tensors,
                "parameters": part.parameters,
                "bytes": part.nbytes,
                "dtypes": list(part.dtypes),
            }
            for part in checkpoints.parts(checkpoint)
        ],
    }


def print_tables(facts: dict) -> None:
    """The facts for people."""
    console = Console(soft_wrap=True)
    title = facts["version"] or f"pam-{facts['name']} (records no hash, --hash computes it)"
    table = Table("part", title=f"{title}, {facts['format']} format", title_justify="left")
    for heading in ("tensors", "weights", "MB"):
        table.add_column(heading, justify="right")
    table.add_column("stored as")
    for part in facts["parts"]:
        row = part["name"], str(part["tensors"]), f"{part['parameters']:,}", f"{part['bytes'] / 1e6:,.1f}"
        table.add_row(*row, ", ".join(part["dtypes"]))
    table.add_section()
    table.add_row("all", "", f"{facts['parameters']:,}", f"{facts['bytes'] / 1e6:,.1f}", "")
    console.print(table)
    sizes = ", ".join(f"{key} {value}" for key, value in facts["language"].items())
    for name, text in (
        ("language", sizes),
        ("tower", facts["tower"]),
        ("SAM 2.1 from", ", ".join(facts["sam_from"])),
        ("files", ", ".join(file["path"] for file in facts["files"])),
    ):
        console.print(f"{name + ':':13} {text}", highlight=False, markup=False)
    computed, recorded = facts["hash"]["computed"], facts["hash"]["recorded"]
    if computed and recorded and computed != recorded:
        console.print(f"{'recorded:':13} {recorded}, which is not the hash of these weights", highlight=False)
