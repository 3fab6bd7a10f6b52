"""What training on corrections is worth: new words, old words, masks, and the time it takes.

python -m benchmarks.finetune --out results/

(a) Six classes that nano never saw (benchmarks/drawn_domain.py): 200 corrected regions, one on each picture, then held
out ones; and drawn scenes of nano's own for what it could before. (b) Masks of one domain, cells of which a click first
finds the nucleus: 200 corrected masks, by the ranker of proposals that nano's masks come from, and by SAM 2's mask
decoder with proposals off.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console

import model
from benchmarks.drawn_domain import write, write_cells
from benchmarks.learning import OUTLINES, Annotators, clicked, draw_thing
from model import PAM
from model.checkpoints import save
from model.training.evaluation import Trial, attempt, figures, held_out
from model.training.finetune.run import Options, run

OLD = 1_000_005
"""Series of drawn scenes that old words are measured on; nothing is trained, fitted or chosen on it."""

console = Console(stderr=True)


def words(
    out: Path, base: str, seed: int, corrections: int, held: int, scenes: int, steps: int | None
) -> dict[str, Any]:
    """Part (a) for one domain."""
    data = out / f"words-{seed}"
    if not (data / "datasets.yaml").exists():
        write(data, 9_100_000 + seed, corrections, held)
    options = Options(data, base, out / f"run-words-{seed}", steps=steps, judged=held, seed=seed)
    report, seconds = timed(options)
    trials = [attempt(model.load(one), held_out(OLD, scenes)) for one in (base, options.out / "checkpoint")]
    before, after = map(figures, trials)
    both = [
        with_memory(model.load(one), 9_100_000 + seed, corrections, held) for one in (base, options.out / "checkpoint")
    ]
    fields = report["validation"]["fields"]
    means = {name: [round(float(np.mean(f[when])), 3) for when in ("before", "after")] for name, f in fields.items()}
    names = ("category", "category, named", "category, unknown", "explanation fits category", "colour", "size", "place")
    return {
        "seed": seed,
        "held out": means,
        "category with memory": both,
        "old": {name: [before[name], after[name]] for name in names if name in before},
        "old category gained": gained(*trials),
        "seconds": seconds,
    }


def gained(before: list[Trial], after: list[Trial]) -> list[float]:
    """By what share of the same things more the category is right, and the standard error of that."""
    right = np.array([[t.words.category == t.truth.category for t in trials] for trials in (before, after)], float)
    change = right[1] - right[0]
    return [round(float(value), 4) for value in (change.mean(), change.std() / len(change) ** 0.5)]


def with_memory(pam: PAM, seed: int, corrections: int, held: int) -> float:
    """The share of the same held-out things that is named rightly where memory has the corrections, as it does in use.

    What the model says of a correction is not held against it, though it would be: it may have been another one then.
    """
    annotators, right = None, []
    for number in range(corrections + held):
        category = list(OUTLINES)[number % len(OUTLINES)]
        image, mask = draw_thing(category, seed, number)
        (region,) = clicked(pam, image, [mask])
        annotators = annotators or Annotators(len(region.embedding))  # type: ignore[arg-type]
        if number < corrections:
            annotators.correct(replace(region, words=replace(region.words, category="")), category)
        else:
            right.append(annotators.suggest(region, alone=False).category == category)
    return round(float(np.mean(right)), 3)


def masks(out: Path, base: str, seed: int, corrections: int, held: int, steps: int) -> dict[str, Any]:
    """Part (b): mean IoU after one click, before and after, by the ranker and by the decoder alone."""
    data = out / f"cells-{seed}"
    if not (data / "datasets.yaml").exists():
        write_cells(data, seed, corrections, held)
    found: dict[str, Any] = {"seed": seed}
    alone = out / "without-proposals"
    if not alone.exists():
        pam = model.load(base)
        pam.config = replace(pam.config, proposals=False)
        save(pam, alone, {})
    for name, begin in (("ranker", base), ("decoder", str(alone))):
        options = Options(
            data, begin, out / f"run-{name}-{seed}", steps=1, masks=True, mask_steps=steps, judged=held, seed=seed,
            rehearse=0.0,
        )  # fmt: skip
        report, seconds = timed(options)
        values = report["validation"]["fields"]["mask"]
        found[name] = {when: round(float(np.mean(values[when])), 3) for when in ("before", "after")} | {
            "seconds": seconds
        }
    found["drawn scenes, ranker"] = [
        round(float(np.mean([trial.iou for trial in attempt(model.load(one), held_out(OLD, 60))])), 3)
        for one in (base, out / f"run-ranker-{seed}" / "checkpoint")
    ]
    return found


def timed(options: Options) -> tuple[dict[str, Any], float]:
    """A run, and the seconds of wall-clock time that it took with its evaluation, by its first whole run here."""
    taken = options.out / "seconds"
    if taken.is_file():
        return run(options), float(taken.read_text())
    began = time.monotonic()
    last = [""]

    def show(stage: str, step: int, steps: int) -> None:
        if stage != last[0] or step % 50 == 0:
            last[0] = stage
            console.print(f"{options.out.name}: {stage}, {step} of {steps}")

    report = run(options, show)
    seconds = round(time.monotonic() - began, 1)
    taken.write_text(str(seconds))
    return report, seconds


def main(
    out: Annotated[Path, typer.Option(help="Folder for finetune.json and all runs; finished ones are not repeated.")],
    base: Annotated[str, typer.Option(help="A nano.")] = "nano",
    seeds: Annotated[int, typer.Option(min=1, help="Domains; the spread is over them.")] = 1,
    corrections: Annotated[int, typer.Option(min=1)] = 200,
    held: Annotated[int, typer.Option(min=1, help="Held-out regions.")] = 120,
    scenes: Annotated[int, typer.Option(min=1, help="Drawn scenes for old words.")] = 300,
    steps: Annotated[int | None, typer.Option(min=1, help="Of training words; by default what `train` takes.")] = None,
    mask_steps: Annotated[int, typer.Option(min=1, help="Of training the decoder.")] = 150,
    part: Annotated[str, typer.Option(help="words, masks or both.")] = "both",
) -> None:
    """Train on drawn corrections and measure what that brought."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, Any]]] = {"words": [], "masks": []}
    for seed in range(seeds):
        if part in ("words", "both"):
            found["words"].append(words(out, base, seed, corrections, held, scenes, steps))
        if part in ("masks", "both"):
            found["masks"].append(masks(out, base, seed, corrections, held, mask_steps))
    (out / "finetune.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)
