"""The benchmark of interactive segmentation: clicks are where they should be, figures are what they say, it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.segment import report
from benchmarks.segment.annotator import annotate, box_around, iou, next_click
from benchmarks.segment.baselines import BASELINES, baseline
from benchmarks.segment.targets import Set, Target, picture, targets
from model.prompt import Box, Point, Prompt
from model.proposals import ranker

ROOT = Path(__file__).parents[2]


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((60, 80), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_the_first_click_is_the_deepest_point() -> None:
    """Of a square its centre; of an object at the edge of the picture a point away from the edge."""
    assert next_click(rectangle(10, 10, 31, 31), np.zeros((60, 80), bool)) == Point(20, 20)
    assert next_click(rectangle(0, 0, 21, 21), np.zeros((60, 80), bool)) == Point(10, 10)


def test_later_clicks_go_to_the_deeper_error() -> None:
    """Positive where something is missing, negative where there is too much, whichever is deeper."""
    truth = rectangle(10, 10, 41, 31)
    assert next_click(truth, rectangle(10, 10, 20, 31)) == Point(30, 20)
    assert next_click(truth, truth | rectangle(50, 0, 79, 29)) == Point(64, 14, False)
    both = rectangle(10, 10, 34, 31) | rectangle(50, 30, 79, 59)
    assert next_click(truth, both) == Point(64, 44, False)


def test_a_session_counts_clicks_and_stops_when_all_is_right() -> None:
    """A segmenter that adds a quarter of the object with each click: IoU, NoC and obedience are those of its masks."""
    truth = rectangle(10, 10, 50, 50)

    def quarters(prompt: Prompt) -> np.ndarray:
        return truth if prompt.box else truth & rectangle(0, 0, 10 + 10 * len(prompt.points), 60)

    session = annotate(Target(Set.COINS, "none", "square", truth), "quarters", quarters)
    assert session.ious == pytest.approx((0.25, 0.5, 0.75, 1.0)) and session.box == 1
    assert session.clicks_to(0.7) == 3 and session.clicks_to(0.85) == 4
    assert session.iou_after(5) == 1
    assert not session.obeyed[0] and session.obeyed[3]
    figures = report.figures([session])
    assert figures["no worse"] == 1 and figures["IoU after 3"] == 0.75 and figures["NoC@90"] == 4


def test_an_object_that_is_never_found_costs_the_cap() -> None:
    """Hopeless ones are given up after the cap, and count as that many clicks."""
    target = Target(Set.COINS, "none", "square", rectangle(10, 10, 30, 30))
    session = annotate(target, "blind", lambda prompt: np.zeros((60, 80), bool))
    assert len(session.ious) == 20 and session.clicks_to(0.85) == 20
    assert report.figures([session])["clicks obeyed"] == 0
    sooner = annotate(target, "blind", lambda prompt: np.zeros((60, 80), bool), cap=7)
    assert len(sooner.ious) == 7 and report.figures([sooner])["NoC@85"] is None


@pytest.mark.parametrize("name", BASELINES)
def test_the_baselines_find_what_is_easy(name: str) -> None:
    """Each method alone, on a bright disc in front of a dark ground, by click and by box: a baseline that fails here
    would make nano look good for nothing."""
    truth = np.zeros((90, 120), np.uint8)
    cv2.circle(truth, (60, 45), 8, 1, -1)
    noise = np.random.default_rng(0).integers(0, 12, (90, 120, 3))
    image = np.where(truth[..., None] == 1, 200, 40).astype(np.uint8) + noise.astype(np.uint8)
    segment = baseline(BASELINES[name], image)
    on = truth.astype(bool)
    assert box_around(on) == Box(52, 37, 69, 54)
    assert iou(segment(Prompt((Point(60, 45),))), on) > 0.8
    assert iou(segment(Prompt((Point(60, 45), Point(20, 20, False)))), on) > 0.8
    assert iou(segment(Prompt(box=box_around(on))), on) > 0.8


def test_outlines_lie_on_their_photographs() -> None:
    """Every outlined object is there, none is empty, and what is measured on is never learned from."""
    sides = {name: list(targets(name)) for name in (Set.TUNING, Set.TEST, Set.TEACHING)}
    assert len(sides[Set.TUNING]) + len(sides[Set.TEST]) >= 60
    tuning, test, teaching = ({t.picture for t in side} for side in sides.values())
    assert not test & (tuning | teaching) and len(test | tuning) >= 12
    files = [json.loads((ROOT / f"tests/data/{name}.json").read_text()) for name in ("objects", "teaching")]
    outlines = {(o["photo"], o["object"]): o["outline"] for file in files for o in file["objects"]}
    assert len(outlines) == sum(map(len, sides.values()))
    for target in (target for side in sides.values() for target in side):
        assert target.truth.shape == picture(target.picture).shape[:2]
        assert np.count_nonzero(target.truth) >= 40, target.name
        height, width = target.truth.shape
        outline = outlines[target.picture, target.name]
        assert all(-3 <= x <= width + 3 and -3 <= y <= height + 3 for x, y in outline), target.name


def test_figures_table_and_sheet(tmp_path: Path) -> None:
    """Two objects are too few to say anything, but every output is there and agrees with the others."""
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.segment", "--sets", "coins,scenes", "--limit", "1", "--cap", "2"]
        + ["--out", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    written = json.loads((tmp_path / "segment.json").read_text())
    assert set(written["figures"]) == {"coins", "scenes"}
    assert set(written["figures"]["coins"]) == {"nano", *BASELINES}
    assert written["figures"]["coins"]["nano"]["clicks obeyed"] == 1
    assert len(written["sessions"]) == 10
    assert result.stdout.strip() in (tmp_path / "segment.md").read_text()
    assert cv2.imread(str(tmp_path / "segment.png")).shape[2] == 3


def test_an_unknown_set_is_refused() -> None:
    """A slip in --sets says what there is."""
    command = [sys.executable, "-m", "benchmarks.segment", "--sets", "coinz"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1 and "tuning, test, coins, scenes" in result.stderr


def test_the_ranker_can_be_learned(tmp_path: Path) -> None:
    """One scene teaches nothing, but what is written is what the ranker reads."""
    out = tmp_path / "ranker.npz"
    few = ["--scenes", "1", "--passes", "0", "--rounds", "1", "--clicks", "2", "--epochs", "1", "--out", out]
    command = [sys.executable, "-m", "benchmarks.segment.learn", *few]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    with np.load(out) as learned, np.load(ranker.WEIGHTS) as shipped:
        assert {name: learned[name].shape for name in learned} == {name: shipped[name].shape for name in shipped}
        assert np.isfinite(learned["weight 0"]).all()
