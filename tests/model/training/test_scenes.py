"""Drawn scenes: repeatable, and true to their pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.prompt import Point
from model.training import prompts
from model.training.evaluation import read_caption
from model.training.scenes import (
    COLOURS,
    PLACES,
    SIZES,
    TEXTURES,
    Facts,
    colour_name,
    draw_scene,
    place_name,
    size_name,
)
from model.training.shapes import CATEGORIES, PAINTERS, draw

SEEDS = st.integers(0, 10_000)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(0, 10_000))
def test_a_scene_is_repeatable_and_its_masks_are_apart(seed: int, index: int):
    """A checkpoint's seed means something only if the same seed draws the same picture."""
    scene, again = draw_scene(seed, index, 96), draw_scene(seed, index, 96)
    assert np.array_equal(scene.image, again.image)
    assert [o.facts for o in scene.objects] == [o.facts for o in again.objects]
    assert scene.image.shape == (96, 96, 3) and scene.image.dtype == np.uint8
    covered = sum(o.mask.astype(int) for o in scene.objects)
    assert np.max(covered) == 1
    for thing in scene.objects:
        assert thing.facts.colour == colour_name(scene.image[thing.mask])
        assert thing.facts.size == size_name(thing.mask)


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_can_be_drawn(category: str):
    """An outline that is neither empty nor the whole sheet, and a relief of its size."""
    outline, relief = draw(category, 100, np.random.default_rng(1))
    assert outline.shape == relief.shape == (100, 100)
    assert 0.02 < (outline > 0).mean() < 0.9
    assert np.isfinite(relief).all()
    assert set(PAINTERS) == set(CATEGORIES)


@given(
    st.sampled_from(CATEGORIES),
    st.sampled_from(list(COLOURS)),
    st.sampled_from(TEXTURES),
    st.sampled_from([name for name, _ in SIZES]),
    st.sampled_from([place for row in PLACES for place in row]),
    st.sampled_from(list(COLOURS)),
)
def test_a_caption_says_what_it_is_asked_for(category, colour, texture, size, place, ground):
    """The evaluation reads back exactly the facts that a caption was made of."""
    caption = Facts(category, colour, texture, size, place, ground).caption
    assert read_caption(caption) == {"size": size, "colour": colour, "place": place}


def test_places():
    """Nine names for nine thirds, row by row."""
    for row in range(3):
        for column in range(3):
            mask = np.zeros((90, 60), bool)
            mask[30 * row + 10 : 30 * row + 20, 20 * column + 5 : 20 * column + 15] = True
            assert place_name(mask) == PLACES[row][column]


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_simulated_clicks_are_where_they_should_be(seed: int):
    """The first lies in the object; corrective ones lie where the guess is wrong, on the right side."""
    scene = draw_scene(seed, 0, 96)
    thing, rng = scene.objects[0], np.random.default_rng(seed)
    first = prompts.first_click(thing.mask, rng)
    assert thing.mask[int(first.y), int(first.x)]
    guess = prompts.rough_mask(scene.image, thing.mask, first, rng)
    assert guess.shape == thing.mask.shape and guess.any()
    for _ in range(3):
        click: Point = prompts.corrective_click(thing.mask, guess, rng)
        at = int(click.y), int(click.x)
        assert thing.mask[at] == click.positive
        if not np.array_equal(guess, thing.mask):
            assert guess[at] != click.positive
