"""Plots of what a version holds, `histograms.png`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backend.dataset.formats import fonts, summary
from backend.dataset.formats.summary import IOU_BINS, Summary
from backend.dataset.region import DatasetFacts, ImageBytes, ImageRegions

NAME = "histograms"
FILE = "histograms.png"

_MARGINS = {"left": 0.12, "right": 0.985, "bottom": 0.05, "top": 0.95, "wspace": 0.5, "hspace": 0.24}
"""In shares of the figure, or of a plot between plots: names of _LONGEST_NAME letters have their place on the left."""

_MOST_BARS = 20
_MOST_TICKS = 6
_LONGEST_NAME = 24
_OUTCOME_COLOURS = {"accepted": "#2a9d5c", "corrected": "#e0862f", "drawn": "#4a78b5"}


def write_shard(
    folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes, parent: Path | None = None
) -> list[str]:
    """Nothing: the summary counts."""
    return []


def finish(folder: Path, shards: Sequence[str], facts: DatasetFacts, parent: Path | None = None) -> list[str]:
    """Write `histograms.png`, unless there is no region; the paths written."""
    total = summary.read(folder)
    if not total.regions:
        return []
    # A figure of its own, without pyplot, which keeps a global state and is not for threads.
    # Its margins are fixed: to measure all texts for them would take as long as to draw them.
    figure = Figure(figsize=(15, 9), dpi=80)
    axes = figure.subplots(2, 3, gridspec_kw=_MARGINS)
    _categories(axes[0, 0], total)
    _outcomes(axes[0, 1], total)
    iou = "IoU of suggested and corrected mask"
    _intervals(axes[0, 2], iou, total.iou_bins, lambda bin: f"{bin / IOU_BINS:.2f}", spans=True)
    area = "Area of the region / area of the image"
    _intervals(axes[1, 0], area, total.area_octaves, lambda power: f"$2^{{{power}}}$", spans=True)
    _intervals(axes[1, 1], "Words in a caption", total.caption_words, str, step=10, spans=True)
    _intervals(axes[1, 2], "Regions per image", total.regions_per_image, str, what="images")
    (folder / FILE).unlink(missing_ok=True)
    figure.savefig(folder / FILE, metadata={"Software": None})
    return [FILE]


def _categories(axes: Axes, total: Summary) -> None:
    top = sorted(total.categories.items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST_BARS]
    axes.barh(range(len(top)), [count for _, count in top], color="#4a78b5")
    _name_bars(axes, [name for name, _ in top])
    axes.set_title(f"Regions by category ({len(top)} of {len(total.categories)})")


def _outcomes(axes: Axes, total: Summary) -> None:
    models: dict[str, Counter[str]] = {}
    for key, count in sorted(total.models.items()):
        model, _, outcome = key.rpartition("\t")
        models.setdefault(model, Counter())[outcome] += count
    if drawn := total.outcomes["drawn"]:
        models.setdefault("by hand", Counter())["drawn"] += drawn
    left: Mapping[str, int] = Counter()
    for outcome, colour in _OUTCOME_COLOURS.items():
        counts = Counter({model: outcomes[outcome] for model, outcomes in models.items()})
        axes.barh(
            range(len(models)),
            [counts[model] for model in models],
            left=[left.get(model, 0) for model in models],
            color=colour,
            label=outcome,
        )
        left = Counter(left) + counts
    _name_bars(axes, list(models))
    axes.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.06), frameon=False)
    axes.set_title("Regions by model and outcome")


def _name_bars(axes: Axes, names: Sequence[str]) -> None:
    """Write what each of the horizontal bars is, from above, in letters of any script."""
    short = [name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…" for name in names]
    axes.set_yticks(range(len(short)), [fonts.readable(name).replace("$", r"\$") for name in short])
    for text, name in zip(axes.get_yticklabels(), short, strict=True):
        text.set_fontproperties(font_manager.FontProperties(fname=str(fonts.font_of(name)), size=9))
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _intervals(
    axes: Axes,
    title: str,
    counts: Mapping[str, int],
    label: Callable[[int], str],
    step: int = 1,
    what: str = "regions",
    spans: bool = False,
) -> None:
    """Bars for counts by whole numbers, of which every `step`-th occurs; wider ones where there would be too many.

    spans: a number stands for all from it up to the next. Bars are then named at their edges, else below.
    """
    axes.set_title(title)
    axes.set_ylabel(what)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if not counts:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center")
        axes.set(xticks=[], yticks=[])
        return
    known = {int(key): count for key, count in counts.items()}
    low, high = min(known), max(known)
    wide = max(step, step * -(-(high - low) // (60 * step)))
    bins = Counter[int]()
    for key, count in known.items():
        bins[(key - low) // wide * wide + low] += count
    starts = list(range(low, high + 1, wide))
    axes.bar(range(len(starts)), [bins[start] for start in starts], 0.9, align="edge", color="#4a78b5")
    every = -(-len(starts) // _MOST_TICKS)
    if spans:
        edges = range(0, len(starts) + 1, every)
        axes.set_xticks(edges, [label(low + wide * edge) for edge in edges])
    else:
        names = [label(start) if wide == step else f"{label(start)}–{label(start + wide - 1)}" for start in starts]
        axes.set_xticks([i + 0.45 for i in range(0, len(starts), every)], names[::every])
