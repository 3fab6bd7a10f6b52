"""How well a list of labels does, and how far its probabilities can be believed, on drawn scenes.

    python -m benchmarks.vocabulary [--scenes 400] [--out vocabulary.json] [--plot vocabulary.png] [--write]

The temperature is fitted on one series of scenes and reported on another; neither was drawn for training.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import model
from model.training.calibration import (
    BINS,
    Reliability,
    Trials,
    collect,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from model.training.nano import CALIBRATED_ON, MEASURED_ON

SHORT_LIST = 5
"""A list as a project might have it: the right category and four others."""


def measure(fitted_on: Trials, reported_on: Trials, temperature: float) -> dict[str, Any]:
    """The figures of one list of categories, before and after the temperature."""
    likelihoods, truth = reported_on.log_likelihoods, reported_on.truth
    # What one would subtract to take out how often a category is said at all (batch calibration, arXiv 2309.17249).
    prior = fitted_on.log_likelihoods.mean(0)
    corrected = fit_temperature(fitted_on.log_likelihoods - prior, fitted_on.truth)

    few = with_distractors(reported_on, SHORT_LIST, seed=0)

    def row(values: np.ndarray, t: float, right: np.ndarray = truth) -> dict[str, float]:
        return {
            "temperature": round(t, 3),
            "accuracy": round(float((values.argmax(1) == right).mean()), 3),
            "ece": round(reliability(values, right, t).error, 3),
            "nll": round(negative_log_likelihood(values, right, t), 3),
        }

    return {
        "regions": {"fitted on": len(fitted_on.truth), "reported on": len(truth)},
        "labels": likelihoods.shape[1],
        "free answer": {
            "accuracy": round(float((reported_on.free == truth).mean()), 3),
            "in the list": round(float((reported_on.free >= 0).mean()), 3),
        },
        "ranked": row(likelihoods, 1.0),
        "ranked, with temperature": row(likelihoods, temperature),
        "ranked, prior taken out": row(likelihoods - prior, 1.0),
        "ranked, prior taken out, with temperature": row(likelihoods - prior, corrected),
        f"ranked among {SHORT_LIST}": row(few, 1.0, np.zeros(len(few), int)),
        f"ranked among {SHORT_LIST}, with temperature": row(few, temperature, np.zeros(len(few), int)),
        "bins": BINS,
    }


def with_distractors(trials: Trials, count: int, seed: int) -> np.ndarray:
    """Log-likelihoods, float (N, count), of the right category, which comes first, and of others drawn at random."""
    rng = np.random.default_rng(seed)
    every = np.arange(trials.log_likelihoods.shape[1])
    others = [rng.permutation(np.delete(every, right))[: count - 1] for right in trials.truth]
    chosen = np.column_stack([trials.truth, np.array(others)])
    return np.take_along_axis(trials.log_likelihoods, chosen, axis=1)


def plot(before: Reliability, after: Reliability, path: Path) -> None:
    """Reliability diagrams, side by side. Raises ImportError without matplotlib (`pip install -e .[benchmarks]`)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    for axes, result, title in zip(
        figure.subplots(1, 2, sharey=True), (before, after), ("before", "with temperature"), strict=True
    ):
        width = 1 / len(result.share)
        centres = (np.arange(len(result.share)) + 0.5) * width
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="perfectly calibrated")
        axes.bar(centres, np.nan_to_num(result.accuracy), 0.9 * width, color="#3b6ea5", label="accuracy")
        axes.plot(result.confidence, result.accuracy, ".", color="#d1495b", label="mean confidence of a bin")
        axes.step(centres, result.share, where="mid", color="0.3", linewidth=1, label="share of answers")
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", title=f"{title}: ECE {result.error:.3f}")
    figure.axes[0].set_ylabel("accuracy")
    figure.axes[0].legend(loc="upper left", fontsize=8)
    figure.savefig(path, dpi=120)


def write_temperature(folder: Path, temperature: float, figures: dict[str, Any]) -> None:
    """Put the temperature into a checkpoint's configuration, and beside it how it was found."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"]["label_temperature"] = round(temperature, 3)
    command = f"python -m benchmarks.vocabulary --scenes {figures['regions']['fitted on']} --write"
    config.setdefault("about", {})["vocabulary"] = {"command": command, **figures}
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main(
    checkpoint: Annotated[str, typer.Option("--model", help="`nano`, or the folder of a checkpoint.")] = "nano",
    scenes: Annotated[int, typer.Option(help="Scenes to fit on, and as many to report on; one click each.")] = 400,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file too.")] = None,
    picture: Annotated[Path | None, typer.Option("--plot", help="Draw reliability diagrams to this PNG.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the temperature into the checkpoint.")] = False,
) -> None:
    """Click on drawn objects, and have the category chosen from the list of all that are drawn."""
    pam = model.load(checkpoint, threads=threads)
    fitted_on, reported_on = collect(pam, CALIBRATED_ON, scenes), collect(pam, MEASURED_ON, scenes)
    temperature = fit_temperature(fitted_on.log_likelihoods, fitted_on.truth)
    figures = measure(fitted_on, reported_on, temperature)
    print(json.dumps(figures, indent=2))
    if out:
        out.write_text(json.dumps(figures, indent=2) + "\n")
    if picture:
        pair = (reliability(reported_on.log_likelihoods, reported_on.truth, t) for t in (1.0, temperature))
        plot(*pair, picture)
    if write:
        write_temperature(model.checkpoints.NANO if checkpoint == "nano" else Path(checkpoint), temperature, figures)


if __name__ == "__main__":
    typer.run(main)
