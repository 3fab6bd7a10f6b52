"""One click, three fields: the official procedure against this one, in one process, round by round.

python -m benchmarks.perceive --weights nano --out results/
python -m benchmarks.perceive --random-weights --size 3b --device cuda --out results/
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import skimage.data
import torch
import typer
from PIL import Image
from rich.console import Console

from benchmarks.perceive import chart, procedure, report, sizes
from model import PAM, CheckpointError, load
from model.checkpoints import read
from model.checkpoints.loading import build, check_device

GIB = 1 << 30


class Size(StrEnum):
    """Sizes that random weights come in."""

    NANO = "nano"
    LARGE_TOWER = "large-tower"
    SMALL = "1.5b"
    LARGE = "3b"


class Dtype(StrEnum):
    """Number formats of the weights."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


app = typer.Typer(add_completion=False)


@app.command()
def main(
    weights: Annotated[str | None, typer.Option(help="A checkpoint: nano, a folder, or a Hugging Face id.")] = None,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="Random weights of --size.")] = False,
    size: Annotated[Size, typer.Option(help="Large-tower: SAM 2.1 large, nano's language model.")] = Size.NANO,
    proposals: Annotated[
        bool | None, typer.Option(help="Classical proposals in front of SAM 2. Default: as in the checkpoint.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    dtype: Annotated[Dtype | None, typer.Option(help="Default: float32 on a CPU, bfloat16 on a GPU.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each runs both procedures.")] = 5,
    new_tokens: Annotated[int, typer.Option(min=2, help="Tokens of each answer, no more and no fewer.")] = 64,
    regions: Annotated[int, typer.Option(min=1, help="Regions that are asked for at once.")] = 8,
    image: Annotated[Path | None, typer.Option(help="A photograph; default: scikit-image's astronaut.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for perceive.json, perceive.md and perceive.png.")] = None,
) -> None:
    """Measure both procedures, and print the tables."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    console = Console(stderr=True)
    pixels = skimage.data.astronaut() if image is None else np.asarray(Image.open(image).convert("RGB"))
    task = procedure.Task(pixels, rounds, new_tokens, regions)
    try:
        with console.status("weights") as status:
            check_device(device)
            place = torch.device(device)
            kind = getattr(torch, dtype or ("bfloat16" if place.type == "cuda" else "float32"))
            pam = prepare(weights, size if random_weights else None, place, kind, proposals)

            def say(what: str) -> None:
                status.update(what)
                if not console.is_terminal:
                    console.print(what, highlight=False)

            results = procedure.measure(pam, task, say)
    except CheckpointError as error:
        sys.exit(f"perceive: {error}")
    except KeyboardInterrupt:
        console.print("perceive: stopped before a round was complete, so there are no figures")
        raise typer.Exit(130) from None
    results = {"settings": procedure.settings(pam, task, command()), "machine": report.machine(place), **results}
    text = report.tables(results)
    print(text)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "perceive.json").write_text(json.dumps(results, indent=1) + "\n")
        (out / "perceive.md").write_text(text + "\n")
        chart.draw(results, out / "perceive.png")
    if results["interrupted"]:
        raise typer.Exit(130)


def prepare(
    weights: str | None, size: Size | None, device: torch.device, dtype: torch.dtype, proposals: bool | None
) -> PAM:
    """The model to measure. Raises CheckpointError for one that cannot be had, or that the memory does not hold."""
    if (weights is None) == (size is None):
        raise CheckpointError("say which model: either --weights SOURCE or --random-weights with --size")
    if size is None:
        assert weights is not None
        check_memory(build(read(weights)), device, dtype)
        pam = load(weights, str(device), str(dtype).removeprefix("torch."))
        pam.config = replace(pam.config, proposals=pam.config.proposals if proposals is None else proposals)
        return pam
    pam = sizes.outline(sizes.configuration(size, proposals))
    check_memory(pam, device, dtype)
    return sizes.fill(pam, device, dtype)


def check_memory(pam: PAM, device: torch.device, dtype: torch.dtype) -> None:
    """Raise CheckpointError, before anything is taken, when the memory does not hold the model at work."""
    free = sizes.free_memory(device)
    need = sizes.needed_bytes(pam, dtype)
    if free is not None and need > free:
        raise CheckpointError(
            f"PAM {pam.config.name} in {str(dtype).removeprefix('torch.')} needs about {need / GIB:.1f} GiB at work, "
            f"and {free / GIB:.1f} GiB are free on {device}: take a smaller --size, or --dtype bfloat16"
        )


def command() -> str:
    """How this was started."""
    return shlex.join(["python", "-m", "benchmarks.perceive", *sys.argv[1:]])


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.perceive")
