"""Drawn scenes: repeatable, and true to their pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.prompt import Point
from model.training import prompts
from model.training.evaluation import read_caption
from model.training.facts import (
    COLOURS,
    PLACES,
    SIZES,
    TEXTURES,
    VALUES,
    Facts,
    colour_name,
    ground_name,
    place_name,
    size_name,
)
from model.training.scenes import RECOGNISABLE, draw_scene
from model.training.shapes import CATEGORIES, DEFINITIONS, PAINTERS, UNKNOWN, draw

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
    assert read_caption(caption) == {
        "size": size, "colour": colour, "place": place, "texture": texture, "ground": ground,
    }  # fmt: skip


def test_colours_have_their_names():
    """Each typical value is called by its own name; a median is not moved by a few stray pixels."""
    for name, values in VALUES.items():
        for rgb in values:
            assert colour_name(np.array([rgb] * 5 + [(0, 255, 0)] * 2, np.uint8)) == name


def test_the_ground_is_what_lies_around():
    """Neither the thing itself nor what is far away."""
    image = np.full((100, 100, 3), (200, 40, 40), np.uint8)
    image[30:70, 30:70] = (60, 150, 60)
    mask = np.zeros((100, 100), bool)
    mask[40:60, 40:60] = True
    image[mask] = 250
    assert (ground_name(image, mask), colour_name(image[mask])) == ("green", "white")


def test_what_can_hardly_be_seen_has_no_name():
    """A thing of which less than a part is visible is an object: nobody could tell what it is."""
    things = [(s, o) for i in range(120) for s in [draw_scene(4, i, 96)] for o in s.objects]
    named = [o for _, o in things if o.facts.category != UNKNOWN]
    assert 0.1 < 1 - len(named) / len(things) < 0.45
    assert {o.facts.category for _, o in things} == set(DEFINITIONS)
    assert 0 < RECOGNISABLE < 1


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
