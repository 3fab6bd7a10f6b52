"""The parts of the proposals: the tree of superpixels, the traits of masks, the ranker, what the prompt is owed."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

from model.prompt import Point, Prompt
from model.proposals import hierarchy, ranker
from model.proposals.oblige import oblige
from model.proposals.seeds import sow
from model.proposals.superpixels import Superpixels
from model.proposals.traits import NAMES, Standing, agreement, traits
from model.proposals.working import View, prepare


@pytest.fixture(scope="module")
def view() -> View:
    return prepare(skimage.data.chelsea()).view


@pytest.fixture(scope="module")
def sp(view: View) -> Superpixels:
    return view.superpixels


def disc(view: View, x: int, y: int, radius: int) -> np.ndarray:
    return cv2.circle(np.zeros(view.shape, np.uint8), (x, y), radius, 1, -1).astype(bool)


def test_the_tree_merges_everything_once(view: View, sp: Superpixels) -> None:
    """n superpixels of one picture become one region in n - 1 merges, and no region is merged twice."""
    for tree in view.trees:
        assert len(tree) == len(sp.area) - 1
        assert len(np.unique(tree)) == tree.size
        assert (tree < len(sp.area) + np.arange(len(tree))[:, None]).all()


def test_ancestors_grow_from_the_click_to_the_picture(view: View, sp: Superpixels) -> None:
    """Part, object, whole: each region holds the one before and all that was asked for, the last one everything."""
    inside = np.array([3, 40, 41])
    regions = list(hierarchy.ancestors(view.trees[0], len(sp.area), inside))
    assert regions[-1].all() and all(r[inside].all() for r in regions)
    assert all((a <= b).all() and (a < b).any() for a, b in zip(regions, regions[1:], strict=False))


def test_markers_claim_what_only_they_are_in() -> None:
    """A chain of four: 0 and 1 are alike, 2 and 3 are alike, and each marker claims its own pair."""
    labels = np.repeat(np.arange(4, dtype=np.int32), 5).reshape(4, 5)
    lab = np.array([[10.0, 0, 0], [12, 0, 0], [80, 0, 0], [83, 0, 0]])
    pairs = np.array([[0, 1], [1, 2], [2, 3]])
    sp = Superpixels(labels, lab, np.full(4, 5.0), pairs, np.array([1.0, 60, 1]), np.full(3, 5.0))
    tree = hierarchy.merges(sp, 0.5)
    assert tree.tolist() == [[0, 1], [2, 3], [4, 5]]
    on, off = np.array([True, False, False, False]), np.array([False, False, False, True])
    assert hierarchy.spread(tree, on, off).tolist() == [True, True, False, False]


def test_traits_say_what_they_are_called(view: View) -> None:
    """A disc around the click against one beside it: how deep the click lies, size, shape, likeness to what stood."""
    centre, aside = disc(view, 100, 100, 30), disc(view, 120, 100, 30)
    seeds = sow(view, Prompt((Point(100 / view.scale, 100 / view.scale),)), *skimage.data.chelsea().shape[:2])
    pool = [("a", centre), ("b", aside)]
    rows = traits(view, seeds, pool, [0, 1], agreement([centre, aside]), Standing(aside, 0.5), 1e5)
    assert rows.shape == (2, len(NAMES)) and np.isfinite(rows).all()
    first, second = (dict(zip(NAMES, row.tolist(), strict=True)) for row in rows)
    assert first["centred"] > 0.9 > 0.5 > second["centred"]
    assert first["size in view"] == pytest.approx(centre.mean(), abs=1e-6)
    assert first["solidity"] > 0.9 and first["compactness"] > 0.7
    assert second["likeness to before"] == 1 and first["likeness to before"] < 0.6
    assert first["score before"] == 0.5 and first["clicks"] == pytest.approx(0.2)


def test_agreement_is_intersection_over_union(view: View) -> None:
    """Against the plain formula, the odd number of pixels included."""
    masks = [disc(view, 100, 100, 30), disc(view, 110, 95, 25), disc(view, 250, 50, 5)]
    plain = [[np.count_nonzero(a & b) / np.count_nonzero(a | b) for b in masks] for a in masks]
    assert agreement(masks) == pytest.approx(np.array(plain))
    assert agreement([m[:77, :131] for m in masks[:2]])[0, 1] == pytest.approx(
        np.count_nonzero((masks[0] & masks[1])[:77, :131]) / np.count_nonzero((masks[0] | masks[1])[:77, :131])
    )


def test_the_ranker_fits_the_traits(view: View) -> None:
    """The shipped weights were learned from these traits, say how, and expect an IoU between 0 and 1."""
    with np.load(ranker.WEIGHTS) as stored:
        assert stored["mean"].shape == (len(NAMES),)
        about = json.loads(str(stored["about"]))
    assert about["command"].startswith("python -m benchmarks.segment.learn") and about["choices"] > 1000
    expected = ranker.judge(view, [], np.random.default_rng(0).normal(0, 3, (50, len(NAMES))).astype(np.float32))
    assert expected.shape == (50,) and (expected >= 0).all() and (expected <= 1).all() and np.ptp(expected) > 0.1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.booleans())
def test_small_holes_are_filled_unless_clicked_away(radius: int, refused: bool) -> None:
    """Of a disc with a round hole: small ones are filled, large ones and those with a negative click stay."""
    image = np.full((300, 300, 3), 128, np.uint8)
    mask = cv2.circle(cv2.circle(np.zeros((300, 300), np.uint8), (150, 150), 120, 1, -1), (150, 100), radius, 0, -1)
    hole = np.count_nonzero(mask == 0) - np.count_nonzero(cv2.circle(np.zeros_like(mask), (150, 150), 120, 1, -1) == 0)
    clicks = (Point(150, 220), *([Point(150, 100, False)] if refused else []))
    after = oblige(image, mask.astype(bool), Prompt(clicks))
    limit = np.count_nonzero(mask) / 200
    if refused:
        assert not after[100, 150]
    elif hole < 0.8 * limit:
        assert after[100, 150]
    elif hole > 1.3 * limit + 20:
        assert not after[100, 150]
