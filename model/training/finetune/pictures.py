"""A picture of a run: its losses, and the overlap of masks, over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO


def draw_curves(history: Mapping[str, Sequence[Mapping[str, float]]], file: BinaryIO) -> None:
    """A PNG with a panel for each stage, one line for each figure of its rows."""
    import matplotlib  # of a second

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(history), figsize=(6 * len(history), 4), squeeze=False, layout="constrained")
    for axis, (name, rows) in zip(axes[0], history.items(), strict=True):
        for key in sorted({key for row in rows for key in row} - {"step"}):
            shown = [(row["step"], row[key]) for row in rows if key in row]
            axis.plot(*zip(*shown, strict=True), label=key, marker="." if len(shown) < 2 else None)
        axis.set(title=name, xlabel="step", ylabel="IoU" if name == "masks" else "cross entropy, nats a token")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize="small")
    figure.savefig(file, dpi=100, format="png")
    pyplot.close(figure)
