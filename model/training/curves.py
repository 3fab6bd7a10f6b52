"""Pictures of a training run: what it showed while it ran, over the steps."""

from __future__ import annotations

from pathlib import Path


def draw_curves(history: dict[str, list[dict]], path: Path) -> None:
    """A PNG with losses above and qualities (0..1) below, one column for each stage of `history`."""
    import matplotlib  # of a second

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(history), figsize=(5 * len(history), 7), squeeze=False)
    for column, (name, rows) in enumerate(history.items()):
        keys = [key for key in rows[0] if key != "step"]
        for row, wanted in enumerate((False, True)):
            axis = axes[row][column]
            for key in keys:
                if (key.removeprefix("clip ") in QUALITIES) == wanted:
                    axis.plot([r["step"] for r in rows], [r[key] for r in rows], label=key)
            axis.set_title(f"{name}: {'share right, IoU' if wanted else 'loss'}")
            axis.set_xlabel("step")
            axis.grid(alpha=0.3)
            if axis.lines:
                axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


QUALITIES = ("iou", "classified", "placed", "category right", "caption right")
"""Figures that are shares, 0..1, on scenes that were never seen before: every batch is a new one."""
