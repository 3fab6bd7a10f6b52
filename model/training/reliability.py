"""Whether scores can be believed: expected calibration error, Platt scaling, reliability diagrams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.optimize import minimize

BINS = 10


def error(score: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error (Naeini et al., 2015), 0..1, over bins of equal width.

    score: float (N,), 0..1. right: bool (N,).
    """
    return float(sum(share * abs(mean - hit) for share, mean, hit in table(score, right, bins)))


def table(score: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[tuple[float, float, float]]:
    """Of each bin that is not empty: its share of all answers, their mean score, and the share of right ones."""
    index = np.minimum((score * bins).astype(int), bins - 1)
    members = [index == i for i in range(bins)]
    return [(float(m.mean()), float(score[m].mean()), float(right[m].mean())) for m in members if m.any()]


def fit(log_probability: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the logistic function of a log-probability, float (N,), that best foretells `right`.

    The targets are drawn in a little as Platt has it, so that a perfect answerer does not get infinite numbers. The
    slope is positive: a calibrated score never turns the order around. Without evidence, 1 and 0.
    """
    if not len(right):
        return 1.0, 0.0
    count = np.array([(~right).sum(), right.sum()], float)
    wanted = np.where(right, (count[1] + 1) / (count[1] + 2), 1 / (count[0] + 2))

    def loss(x: np.ndarray) -> float:
        logit = np.exp(x[0]) * log_probability + x[1]
        return float((np.logaddexp(0, logit) - wanted * logit).mean() + 1e-4 * (x**2).sum())

    slope, offset = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return round(float(np.exp(slope)), 4), round(float(offset), 4)


def draw(fields: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """A PNG with a reliability diagram for each field: how often answers of a score are right."""
    import matplotlib  # of a second

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(fields), figsize=(4 * len(fields), 4), squeeze=False)
    for axis, (name, (score, right)) in zip(axes[0], fields.items(), strict=True):
        rows = table(score, right)
        axis.plot([0, 1], [0, 1], "--", color="grey")
        axis.scatter([r[1] for r in rows], [r[2] for r in rows], s=[20 + 400 * r[0] for r in rows])
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="share right")
        axis.set_title(f"{name}: ECE {error(score, right):.3f} of {len(score)}")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
