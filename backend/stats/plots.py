"""The plots of the statistics page, as SVG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backend.stats.course import MASK, WHOLE
from backend.stats.rows import NO_MODEL, by_version, top_categories
from backend.stats.tally import IOU_BINS, Stats, Tally
from model.region import FIELDS

COLOURS = {
    "accepted": "#2a9d5c",
    "corrected": "#e9a23b",
    "rejected": "#c8463c",
    "drawn": "#4a74b4",
    "refined": "#b9b2c4",
    "open": "#dddddd",
}
_LONGEST_NAME = 40


def model_plot(stats: Stats) -> str:
    """What became of the suggestions of each model version."""
    bars = [(version or NO_MODEL, tally) for version, tally in reversed(by_version(stats))]
    return _fates(bars, list(COLOURS))


def category_plot(stats: Stats) -> str:
    """What became of the regions of each frequent category."""
    return _fates(list(top_categories(stats))[::-1], ["accepted", "corrected", "rejected", "drawn"])


def field_plot(stats: Stats) -> str:
    """The share of each field that annotators left as it was suggested, for each model version; there must be one."""
    offered_by = {version for version, _ in stats.fields}
    versions = [version for version in stats.versions() if version in offered_by]
    names = (MASK, *FIELDS)
    figure, axes = _axes(0.35 * len(names) * len(versions) + 1 + 0.3 * -(-len(versions) // 2))
    height = 0.8 / len(versions)
    for index, version in enumerate(versions):
        tallies = [stats.fields.get((version, name)) for name in names]
        shares = [(t.acceptance or 0) if t else 0 for t in tallies]
        places = [place + index * height for place in range(len(names))]
        axes.barh(places, shares, height, label=_short(version))
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share that was kept as suggested")
    axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return _svg(figure)


def course_plot(stats: Stats) -> str:
    """The share of each field that was kept, as time went by: a panel each, as lines that agree would hide each other.

    A line is broken where another model took over.
    """
    points = stats.course.points()
    versions = list(dict.fromkeys(point.model_version for point in points))
    names = (WHOLE, MASK, *FIELDS)
    figure = Figure(figsize=(8, 2.4 + 0.25 * -(-len(versions) // 2)), layout="constrained")
    panels = figure.subplots(1, len(names), sharex=True, sharey=True)
    for axes, name in zip(panels, names, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(name, fontsize=10)
        for index, version in enumerate(versions):
            own = [point for point in points if point.model_version == version]
            here = [point for point in own if name in point.shares]
            axes.plot(
                [point.before + point.decided / 2 for point in here], [point.shares[name] for point in here],
                marker="o", ms=4, lw=1.5, color=f"C{index}", label=_short(version),
            )  # fmt: skip
            axes.axvline(own[0].before, color="#999999", lw=0.8, ls=":")
    panels[0].set_xlim(left=0)
    panels[0].set_ylim(-0.05, 1.05)
    panels[0].set_ylabel("kept as suggested")
    figure.supxlabel("suggestions that were decided on, in the order in which they were made", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=2, loc="outside upper center", frameon=False)
    return _svg(figure)


def iou_plot(stats: Stats) -> str:
    """How much of a corrected mask was right."""
    figure, axes = _axes(3)
    edges = [index / IOU_BINS for index in range(IOU_BINS)]
    axes.bar(edges, [stats.corrected_iou[index] for index in range(IOU_BINS)], 1 / IOU_BINS, align="edge", ec="white")
    axes.set_xlim(0, 1)
    axes.set_xlabel("IoU of the mask as suggested and as corrected")
    axes.set_ylabel("regions")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return _svg(figure)


def _fates(bars: Sequence[tuple[str, Tally]], fates: Sequence[str]) -> str:
    figure, axes = _axes(0.32 * len(bars) + 1.2)
    names = [_short(name) for name, _ in bars]
    places = range(len(bars))
    left = [0] * len(bars)
    for fate in fates:
        widths = [tally.fates[fate] for _, tally in bars]
        axes.barh(places, widths, 0.7, left=left, color=COLOURS[fate], label=fate)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(places, names)
    axes.set_xlabel("regions and suggestions")
    axes.legend(ncols=len(fates), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return _svg(figure)


def _axes(height: float):
    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _short(name: str) -> str:
    """A name that fits beside a plot; a dollar sign would begin mathematics."""
    short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    return short.replace("$", r"\$")


def _svg(figure: Figure) -> str:
    """An <svg> element. Letters stay letters, which the browser finds fonts for, in whatever script."""
    file = io.StringIO()
    with (
        matplotlib.rc_context({"svg.hashsalt": "pam-studio", "svg.fonttype": "none"}),
        warnings.catch_warnings(),
    ):
        # It measures texts with a font of its own, which the browser need not take.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]
