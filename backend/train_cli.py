"""The command `pam-studio train`: corrections become a better model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

REFUSED = 2
"""Exit code where the data or the folder cannot be used. It is 1 where something failed that may go well another time,
as on a full disk, and 128 plus the signal's number where a signal ended the run."""

RUNS = Path("data/training")
"""Where runs are whose folder was not chosen."""

_CLASSES = 30
"""That are shown, by name; the report has all."""


def train(
    data: Annotated[
        Path, typer.Option(help="A version of a data set, or a YAML, JSONL or JSON file of the official trainer.")
    ],
    base: Annotated[str, typer.Option(help="What learns: nano, a folder, or a Hugging Face id.")] = "nano",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; started again with it, a run goes on where it was. By default one in "
            "data/training, named after data and base."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps; by default what suits the data.")] = None,
    masks: Annotated[bool, typer.Option("--masks", help="What finds masks learns too, from corrected masks.")] = False,
    mask_steps: Annotated[int, typer.Option(min=1, help="Steps of that.")] = 150,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Regions a step, over all processes; default: 24 for nano, else 12.")
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, help="Of them, what is computed at once: less saves memory.")] = 24,
    rehearse: Annotated[
        float | None, typer.Option(min=0, max=0.9, help="Share of drawn things in a step, nano alone; default 5/6.")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=1e-8, max=0.1, help="Learning rate at its highest.")] = None,
    rank: Annotated[
        int | None,
        typer.Option(min=0, max=1024, help="Rank of LoRA, 0 for whole weights; default: 0 if small, else 16."),
    ] = None,
    judged: Annotated[int, typer.Option(min=1, help="Validation regions of the final table, at most.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same result (on the same machine).")] = 0,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between two saved states.")] = 25,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a process.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read pictures; with none a thread does.")] = 0,
    device: Annotated[str, typer.Option(help="auto or cpu.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="What is computed in: float32, bfloat16, or auto: what the device is fast in.")
    ] = "auto",
    sharded: Annotated[bool, typer.Option("--sharded", help="GPUs share the weights (FSDP).")] = False,
) -> None:
    """Train a model on corrected regions: perceiver, projectors and language model.

    The folder then holds checkpoint/ (for --model), report.md with a table of before and after, curves.png and
    tensorboard/. `pam-studio models consider` lets it answer if it has earned it. Several processes: torchrun
    --nproc-per-node N -m backend train …
    """
    for option, value, known in (
        ("--device", device, ("auto", "cpu")),
        ("--precision", precision, ("auto", "float32", "bfloat16")),
    ):
        if value not in known:
            raise typer.BadParameter(f"{value!r} is none of {', '.join(known)}", param_hint=option)

    import torch  # only now: what is wrong above, and --help, should not wait for it
    from rich.console import Console

    from model.errors import RecordError, TrainingError
    from model.training.finetune.loop import Pace, Stopped
    from model.training.finetune.run import Options, run

    torch.set_num_threads(threads)
    console = Console(stderr=True)
    out = out or RUNS / f"{data.resolve().stem}-{Path(base).name}"
    options = Options(
        data, base, out, steps, masks, mask_steps, batch, rehearse, seed, rate, rank, judged, device, sharded,
        precision,
        Pace(at_once, save_every, workers=workers),
    )  # fmt: skip
    try:
        with _bar(console) as show:
            report = run(options, show, lambda text: console.print(text, highlight=False))
    except (RecordError, TrainingError) as error:
        console.print(f"pam-studio: {error}", style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(REFUSED) from None
    except Stopped as stopped:
        console.print(f"{stopped}; start again with --out {out} to go on", highlight=False)
        raise typer.Exit(128 + stopped.signum) from None
    if report:
        _print(report, out)


class _bar:
    """A progress bar over all stages; on what is no terminal, a line whenever a twentieth is done."""

    def __init__(self, console: Any):
        from rich.progress import Progress

        self._console = console
        self._bar = Progress(console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("")
        self._last = -1

    def __enter__(self) -> Callable[[str, int, int], None]:
        self._bar.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _show(self, stage: str, step: int, steps: int) -> None:
        self._bar.update(self._task, description=stage, completed=step, total=steps)
        if not self._console.is_terminal and (twentieth := 20 * step // max(1, steps)) != self._last:
            self._last = twentieth
            self._console.print(f"{stage}: {step} of {steps}", highlight=False)


def _print(report: dict[str, Any], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from model.training.finetune.judging import METRICS
    from model.training.finetune.report import class_table, table

    console = Console()
    shown = Table(*("field", "metric", "regions", "before", "after"), title=f"{report['base']} → {report['version']}")
    for row in table(report):
        shown.add_row(*row)
    console.print(shown)
    classes = Table("class", "regions", *METRICS, title="before → after, by class")
    for cells in class_table(report)[:_CLASSES]:
        classes.add_row(*map(Text, cells))  # what annotators wrote is no markup
    if classes.row_count:
        console.print(classes)
    console.print(f"{out}/checkpoint, {out}/report.md, {out}/curves.png", highlight=False, soft_wrap=True)
    console.print(f"to let it answer: pam-studio models consider {out}", highlight=False, soft_wrap=True)
