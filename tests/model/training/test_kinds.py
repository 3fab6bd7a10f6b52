"""Numbered shapes: each one of a kind, and no two drawings of one alike."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.training.data import SceneBatches, Series
from model.training.kinds import KINDS
from model.training.scenes import draw_scene
from model.training.shapes import CATEGORIES, UNKNOWN, draw


@pytest.mark.parametrize("numbers", np.array_split(np.arange(KINDS), 6))
def test_every_kind_can_be_drawn(numbers: np.ndarray):
    """An empty or a full sheet would teach that nothing, or everything, is of that kind."""
    for number in numbers.tolist():
        outline, relief = draw(UNKNOWN, 96, np.random.default_rng(1), number)
        assert 0.01 < (outline > 0).mean() < 0.95, number
        assert relief.shape == outline.shape and np.isfinite(relief).all() and (relief > 0).all()


def test_two_of_a_kind_are_more_alike_than_two_of_different_kinds():
    """Otherwise there is nothing to learn from them."""
    drawn = [
        [draw(UNKNOWN, 64, np.random.default_rng((number, i)), number)[0] > 0 for i in range(2)] for number in range(60)
    ]

    def alike(a: np.ndarray, b: np.ndarray) -> float:
        return float((a & b).sum() / (a | b).sum())

    same = [alike(a, b) for a, b in drawn]
    other = [alike(drawn[i][0], drawn[(i + 1) % 60][1]) for i in range(60)]
    assert np.median(same) > np.median(other) + 0.2
    assert all((a != b).any() for a, b in drawn)


def test_scenes_say_which_kind_a_thing_is():
    """The number is what embeddings are taught by: a named thing has its category's, a numbered shape one after these,
    and what nobody can tell has none."""
    things = [thing for i in range(60) for thing in draw_scene(3, i, 128, photographed=True).objects]
    for thing in things:
        if thing.facts.category != UNKNOWN:
            assert thing.kind == CATEGORIES.index(thing.facts.category)
        else:
            assert thing.kind is None or len(CATEGORIES) <= thing.kind < len(CATEGORIES) + KINDS
    numbered = [thing for thing in things if thing.kind is not None and thing.kind >= len(CATEGORIES)]
    assert 0.1 < len(numbered) / len(things) < 0.5
    assert not any(thing.kind in range(len(CATEGORIES), 999) for i in range(20) for thing in draw_scene(3, i).objects)


def test_a_batch_carries_the_kinds_of_its_objects():
    """In the order of its rows, with -1 where there is none."""
    batch = SceneBatches(Series(4, 1, 3, 4, 64, 32, 1.0))[0]
    assert batch.kinds.shape == (12,)
    for kind, facts in zip(batch.kinds.tolist(), batch.facts, strict=True):
        assert kind == -1 or (kind >= len(CATEGORIES)) == (facts.category == UNKNOWN)
    assert cv2.getNumThreads() == 1
