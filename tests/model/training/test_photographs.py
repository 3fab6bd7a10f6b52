"""Photographs among the drawn scenes: repeatable, true to their pixels, and without names."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.training import photographs
from model.training.facts import colour_name, ground_name, place_name, size_name
from model.training.scenes import _grain, draw_scene, photo_scene
from model.training.shapes import UNKNOWN


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_parts_are_true_to_their_pixels_and_nameless(seed: int, index: int) -> None:
    """The same scene every time; masks apart and in one piece each; the facts are those of the picture shown."""
    scene, again = photo_scene(seed, index, 128), photo_scene(seed, index, 128)
    assert np.array_equal(scene.image, again.image) and scene.image.shape == (128, 128, 3)
    assert [o.facts for o in scene.objects] == [o.facts for o in again.objects]
    assert np.max(sum(o.mask.astype(int) for o in scene.objects)) == 1
    for thing in scene.objects:
        facts = thing.facts
        assert facts.category == UNKNOWN
        assert (facts.colour, facts.ground) == (
            colour_name(scene.image[thing.mask]),
            ground_name(scene.image, thing.mask),
        )
        assert (facts.size, facts.place) == (size_name(thing.mask), place_name(thing.mask))
        assert cv2.connectedComponents(thing.mask.astype(np.uint8))[0] == 2


def test_parts_follow_the_picture_when_it_is_turned_and_mirrored() -> None:
    """Pixels of a part are alike: a part that went another way than its picture would mix what lies apart."""
    within, overall = [], []
    for index in range(12):
        view = photographs.cut(np.random.default_rng(index), 128, ("astronaut",))
        lab = cv2.cvtColor(view.image, cv2.COLOR_RGB2LAB).astype(np.float32)
        spread = [lab[view.parts == k].var(axis=0).sum() * (view.parts == k).mean() for k in np.unique(view.parts)]
        within.append(sum(spread))
        overall.append(lab.reshape(-1, 3).var(axis=0).sum())
    assert np.sum(within) < 0.35 * np.sum(overall)


@pytest.mark.parametrize("index", range(3))
def test_only_training_sees_photographs(index: int) -> None:
    """Scenes that are measured on are drawn, and the same as before photographs came; some of training's differ."""
    plain = draw_scene(9, index, 96)
    assert np.array_equal(plain.image, draw_scene(9, index, 96, photographed=False).image)
    assert any(
        not np.array_equal(draw_scene(9, i, 96).image, draw_scene(9, i, 96, photographed=True).image) for i in range(8)
    )


def test_a_lump_is_a_piece_of_another_photograph():
    """Inside its mask the picture is another one, outside it stays, and the parts know that they are covered."""
    changed = []
    for index in range(8):
        rng = np.random.default_rng(index)
        view = photographs.cut(rng, 128, ("moon",))
        covered, mask = photographs.lump(view, rng, ("brushes",))
        changed.append(np.abs(covered.image.astype(int) - view.image).max(axis=2)[mask].mean())
        far = cv2.dilate(mask.astype(np.uint8), np.ones((25, 25), np.uint8)) == 0
        assert np.array_equal(covered.image[far], view.image[far])
        assert np.array_equal(covered.parts < 0, mask) and 0 < mask.mean() < 0.3
    assert np.mean(changed) > 30


def test_what_scores_are_fitted_on_is_not_shown_in_training():
    """Photographs that training shows say nothing of others; and each that comes with the package has its licence."""
    assert not set(photographs.HELD_BACK) & set(photographs.SURFACES)
    credits = (photographs.OWN / "README.md").read_text()
    for path in photographs.OWN.glob("*.jpg"):
        assert path.stem in (*photographs.VIEWS, *photographs.HELD_BACK)
        assert f"`{path.name}`" in credits


def test_rough_is_what_changes_from_pixel_to_pixel() -> None:
    """A slope of brightness is plain, noise is rough, wherever it is asked about."""
    image = np.repeat(np.linspace(0, 255, 96, dtype=np.uint8)[None, :, None], 96, axis=0).repeat(3, axis=2)
    image[48:] = np.random.default_rng(0).integers(0, 255, (48, 96, 1), np.uint8)
    above = np.zeros((96, 96), bool)
    above[8:40, 8:88] = True
    assert (_grain(image, above), _grain(image, above[::-1])) == ("plain", "rough")
