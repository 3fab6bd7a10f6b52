"""What a run brought: report.json for programs, report.md for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from model.training.finetune.judging import METRICS, Verdict, pairs, per_class


def as_json(
    base: str,
    version: str,
    data: dict[str, Any],
    before: Verdict,
    after: Verdict,
    notes: Sequence[str],
    left_out: Counter[str],
) -> dict[str, Any]:
    """The report as plain JSON types; the lists of a field are of the same regions, in the same order."""
    fields = {}
    for field, metric in METRICS.items():
        values = pairs(before.regions, after.regions, field)
        fields[field] = {
            "metric": metric,
            "before": [round(old, 4) for old, _ in values],
            "after": [round(new, 4) for _, new in values],
        }
    return {
        "base": base,
        "version": version,
        "data": data,
        "validation": {"regions": len(before.regions), "fields": fields},
        "per_class": per_class(before.regions, after.regions),
        "old_words": {
            "regions": len(before.old["mask"]),
            "fields": {
                name: {"metric": "IoU" if name == "mask" else "share right", "before": old, "after": after.old[name]}
                for name, old in before.old.items()
            },
        },
        "left_out": dict(left_out.most_common()),
        "notes": list(notes),
    }


def table(report: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Rows of field, metric, regions, mean before and mean after."""
    return _means(report["validation"]["fields"])


def _means(fields: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    rows = []
    for field, found in fields.items():
        both = [pair for pair in zip(found["before"], found["after"], strict=True) if None not in pair]
        means = [f"{mean:.3f}" for mean in np.mean(both, axis=0)] if both else ["–", "–"]
        rows.append((field, found["metric"], str(len(both)), *means))
    return rows


def class_table(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """Rows of class, regions, and for each of METRICS the means before and after."""
    return [
        (name, str(row["regions"]), *(_both(row.get(field)) for field in METRICS))
        for name, row in report["per_class"].items()
    ]


def as_markdown(report: dict[str, Any]) -> str:
    """The report to read."""
    data = report["data"]
    lines = [
        f"# {report['version']}",
        "",
        f"{report['base']} learned from {data['train']} regions of `{data['path']}`, and was judged on "
        f"{data['validation']} others.",
        "",
        *(f"- {note}" for note in report["notes"]),
        *([""] if report["notes"] else []),
        *_rows(("field", "metric", "regions", "before", "after"), table(report)),
        "",
        *_old(report["old_words"]),
        "By class, before → after:",
        "",
        *_rows(("class", "regions", *METRICS), class_table(report)),
    ]
    if report["left_out"]:
        counted = [(reason, str(count)) for reason, count in report["left_out"].items()]
        lines += ["", "Left out:", "", *_rows(("reason", "times"), counted)]
    return "\n".join([*lines, "", "![curves](curves.png)", ""])


def _old(found: dict[str, Any]) -> list[str]:
    if not found["regions"]:
        return []
    head = "What it could before, on drawn scenes and clips:"
    return [head, "", *_rows(("field", "metric", "things", "before", "after"), _means(found["fields"])), ""]


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]


def _both(means: Sequence[float | None] | None) -> str:
    return " → ".join("–" if value is None else f"{value:.2f}" for value in means or (None, None))
