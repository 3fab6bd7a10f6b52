"""The report reads well in a terminal, however much was left out."""

from __future__ import annotations

from pathlib import Path

from backend.annotations import LeftOut
from backend.dataset.report import ExportReport
from backend.dataset.state import Excluded

COUNTS = {"tasks": 1, "annotations": 2, "regions": 3, "images": 1, "validation_images": 0, "cancelled": 1}


def report(left_out: int = 0, is_new: bool = True, skipped: dict[int, str] | None = None) -> ExportReport:
    manifest = {
        "counts": COUNTS,
        "model_versions": {"nano-1": 2},
        "left_out": {"picture": left_out} if left_out else {},
    }
    some = tuple(Excluded("picture", LeftOut(n, f"{n} is gone", 9, "r")) for n in range(min(left_out, 10)))
    return ExportReport(Path("data/regions/v0002"), is_new, manifest, 4, 5, 2, some, skipped or {})


def test_the_summary_counts_what_is_there() -> None:
    """Which version, how much of what: numbers one can compare with the screen."""
    assert report().summary().splitlines() == [
        "data/regions/v0002: 3 regions in 1 image",
        "  1 task, 2 annotations, 0 images for validation",
        "  nano-1: suggested 2 regions",
        "  written anew: 2 of 5 shards",
        "  1 cancelled annotation stayed out",
    ]


def test_nothing_new_is_said() -> None:
    """A run by the clock that found nothing says so in its first words."""
    assert report(is_new=False).summary().startswith("nothing has changed since data/regions/v0002: 3 regions")


def test_what_was_left_out_is_shown_up_to_ten() -> None:
    """A thousand lost pictures must not fill the screen."""
    assert report(left_out=1).summary().splitlines()[-3:] == [
        "1 thing had to be left out:",
        "  task 0, annotation 9, region r: 0 is gone",
        "  images that could not be had are asked for again after a day, or at once with --retry",
    ]
    lines = report(left_out=1000).summary().splitlines()
    assert lines[-2] == "  and 990 more, listed in data/regions/v0002/left_out.jsonl"
    assert len(lines) == 18


def test_projects_that_are_not_in_it_are_named() -> None:
    """Nobody should have to find out from the numbers."""
    assert report(skipped={7: "it is gone"}).summary().splitlines()[-1] == "project 7 is not in it: it is gone"
