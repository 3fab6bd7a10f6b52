"""Sessions as figures, and the figures as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.segment.annotator import SHOWN, Session

SLACK = 0.005
"""IoU that a further click may cost and still count as no worse: less than an outline drawn by hand is exact to."""


def figures(sessions: Sequence[Session]) -> dict[str, Any]:
    """Means over the sessions of one method on one set."""
    steps = [after - before >= -SLACK for s in sessions for before, after in pairwise(s.ious)]
    return {
        "objects": len(sessions),
        **{f"IoU after {n}": _mean([s.iou_after(n) for s in sessions]) for n in (1, 3, SHOWN)},
        "NoC@85": _mean([s.clicks_to(0.85) for s in sessions]),
        "NoC@90": _mean([s.clicks_to(0.9) for s in sessions]),
        "box": _mean([s.box for s in sessions]),
        "clicks obeyed": _mean([o for s in sessions for o in s.obeyed]),
        "no worse": _mean(steps) if steps else 1.0,
        "ms, median": round(1000 * float(np.median([t for s in sessions for t in s.seconds])), 1),
    }


def summary(sessions: Sequence[Session]) -> dict[str, dict[str, dict[str, Any]]]:
    """Figures by set and method, in the order in which they come."""
    answer: dict[str, dict[str, dict[str, Any]]] = {}
    for key in dict.fromkeys((s.target.set.value, s.method) for s in sessions):
        these = [s for s in sessions if (s.target.set.value, s.method) == key]
        answer.setdefault(key[0], {})[key[1]] = figures(these)
    return answer


def each(sessions: Sequence[Session]) -> list[dict[str, Any]]:
    """Every session in plain figures."""
    return [
        {
            "set": s.target.set.value,
            "picture": s.target.picture,
            "object": s.target.name,
            "method": s.method,
            "IoU after each click": [round(v, 4) for v in s.ious],
            "box": round(s.box, 4),
            "clicks": [[p.x, p.y, p.positive] for p in s.points],
        }
        for s in sessions
    ]


def table(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """One Markdown table over all sets and methods."""
    heads = list(next(iter(next(iter(results.values())).values())))
    lines = ["| set | method | " + " | ".join(heads) + " |", "|---" * (len(heads) + 2) + "|"]
    for name, methods in results.items():
        for method, row in methods.items():
            lines.append(f"| {name} | {method} | " + " | ".join(_cell(h, row[h]) for h in heads) + " |")
    return "\n".join(lines)


def _cell(head: str, value: float) -> str:
    if head in ("clicks obeyed", "no worse"):
        return f"{100 * value:.1f}%"
    if head.startswith("NoC"):
        return f"{value:.1f}"
    return str(round(value)) if head in ("objects", "ms, median") else f"{value:.2f}"


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)
