"""The figures as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.perceive.measure import PHASES
from benchmarks.perceive.report import NAMES

MOMENTS = {
    "time to mask": "mask",
    "time to first word": "first word",
    "time to all fields": "all fields",
}
COLOURS = {"official": "#9aa5b1", "studio": "#1f6feb"}
PHASE_COLOURS = ("#0b3c5d", "#328cc1", "#6fb98f", "#d9b310", "#d1603d")


def draw(results: dict[str, Any], path: Path) -> None:
    """Write a PNG: how long until the mask, the first word and all fields; and which phases that time goes to."""
    figure = Figure(figsize=(11, 4.6), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    figures, settings, machine = results["figures"], results["settings"], results["machine"]
    unit, scale = ("s", 1.0) if figures["official"]["time to all fields"]["median"] >= 10 else ("ms", 1000.0)
    _moments(left, figures, unit, scale)
    _phases(right, figures, settings, unit, scale)
    threads = f", {machine['threads']} thread(s)" if settings["device"] == "cpu" else ""
    figure.suptitle(f"PAM {settings['model']}, {settings['dtype']}, {machine['device']}{threads}", fontsize=11)
    with matplotlib.rc_context({"font.family": "DejaVu Sans"}):
        figure.savefig(path)


def _moments(axes: Axes, figures: dict[str, Any], unit: str, scale: float) -> None:
    longest = scale * max(figures[side][name]["q3"] for side in NAMES for name in MOMENTS)
    for i, name in enumerate(MOMENTS):
        for offset, side in ((-0.2, "official"), (0.2, "studio")):
            middle, low, high = (scale * figures[side][name][k] for k in ("median", "q1", "q3"))
            label = NAMES[side] if i == 0 else None
            axes.barh(i + offset, middle, 0.36, color=COLOURS[side], label=label)
            axes.errorbar(middle, i + offset, xerr=[[middle - low], [high - middle]], color="black", capsize=2, lw=0.8)
            text = _number(middle)
            if side == "studio" and (ratio := figures["ratio"][name]["median"]) > 1.05:
                text += f"   {ratio:.1f}x sooner"
            axes.text(high + 0.015 * longest, i + offset, text, va="center", fontsize=9)
    axes.set_yticks(range(len(MOMENTS)), list(MOMENTS.values()))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.38 * longest)
    axes.set_xlabel(unit)
    axes.set_title("Time from the image to ...", fontsize=10)
    axes.legend(loc="upper right", fontsize=9, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _phases(axes: Axes, figures: dict[str, Any], settings: dict[str, Any], unit: str, scale: float) -> None:
    totals = {side: scale * sum(figures[side][phase]["median"] for phase in PHASES) for side in NAMES}
    for i, side in enumerate(NAMES):
        left = 0.0
        for phase, colour in zip(PHASES, PHASE_COLOURS, strict=True):
            width = scale * figures[side][phase]["median"]
            axes.barh(i, width, 0.55, left=left, color=colour, label=phase if i == 0 else None)
            if width > 0.07 * max(totals.values()):
                axes.text(left + width / 2, i, _number(width), ha="center", va="center", color="white", fontsize=9)
            left += width
        axes.text(left + 0.01 * max(totals.values()), i, _number(left), va="center", fontsize=9)
    axes.set_yticks(range(len(NAMES)), list(NAMES.values()))
    axes.set_ylim(1.5, -1.0)
    axes.set_xlim(0, 1.12 * max(totals.values()))
    axes.set_xlabel(unit)
    axes.set_title(f"Where it goes: {settings['fields']} fields of {settings['new_tokens']} tokens", fontsize=10)
    axes.legend(loc="upper center", ncols=len(PHASES), fontsize=9, frameon=False, handlelength=1, columnspacing=1)
    axes.spines[["top", "right"]].set_visible(False)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
