"""The report reads well in a terminal, however much was left out."""

from __future__ import annotations

from pathlib import Path

from backend.annotations import LeftOut
from backend.export import ExportReport


def report(*left_out: LeftOut, cancelled: int = 0) -> ExportReport:
    return ExportReport(
        project_id=3, title="PAM demo", out=Path("data/regions"), tasks=1, annotations=2, regions=3, images=1,
        cancelled=cancelled, records={"recognize_en.jsonl": 3, "explain_en.jsonl": 1},
        model_versions={"nano-1": 2}, left_out=left_out,
    )  # fmt: skip


def test_the_summary_counts_what_is_there() -> None:
    """Where it went, how much of what: numbers one can compare with the screen."""
    assert report().summary() == (
        '3 regions of project 3 "PAM demo" exported to data/regions\n'
        "  1 task, 2 annotations, 1 image\n"
        "  explain_en.jsonl: 1 record\n"
        "  recognize_en.jsonl: 3 records\n"
        "  coco.json: 3 regions"
    )


def test_the_summary_tells_what_stayed_out_and_keeps_short() -> None:
    """A thousand broken regions fill the manifest, not the terminal."""
    left_out = [LeftOut(task, "its mask is empty", 7, "r") for task in range(12)]
    lines = report(*left_out, cancelled=1).summary().splitlines()
    assert lines[5:8] == [
        "  1 cancelled annotation stayed out",
        "12 things could not be exported:",
        "  task 0, annotation 7, region r: its mask is empty",
    ]
    assert lines[-1] == "  and 2 more, listed in manifest.json" and len(lines) == 18
    assert len(report(*left_out).manifest()["left_out"]) == 12
