"""The numbers of an outline: the same wherever it lies, and others for another outline."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import outline

GEAR = np.array([[(1 - 0.25 * (k % 2)) * f(np.pi * k / 9) for f in (np.sin, np.cos)] for k in range(18)])
ARROW = np.array([[-1, -0.2], [0.2, -0.2], [0.2, -0.7], [1, 0], [0.2, 0.7], [0.2, 0.2], [-1, 0.2]])
HOOK = np.array([[-1, -1], [-0.5, -1], [-0.5, 0.5], [0.8, 0.5], [0.8, 1], [-1, 1]])


def drawn(corners: np.ndarray, size: float, angle: float, at: tuple[float, float], side: int = 400) -> np.ndarray:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.round(corners @ turn * size + at).astype(np.int32)], 1)
    return mask.astype(bool)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([GEAR, ARROW, HOOK]),
    st.floats(40, 130),
    st.floats(0, 6.2),
    st.tuples(st.floats(190, 210), st.floats(190, 210)),
)
def test_it_does_not_matter_where_it_lies(corners: np.ndarray, size: float, angle: float, at: tuple[float, float]):
    """Moved, scaled and turned, an outline is more like itself than like any other."""
    found = outline.describe(drawn(corners, size, angle, at))
    assert found.shape == (outline.LENGTH,) and found.dtype == np.float32
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    likeness = [found @ outline.describe(drawn(other, 100, 0, (200, 200))) for other in (GEAR, ARROW, HOOK)]
    best = [other is corners for other in (GEAR, ARROW, HOOK)].index(True)
    assert int(np.argmax(likeness)) == best and likeness[best] > 0.95


def test_a_mirrored_outline_is_the_same():
    """A cup is a cup whichever side its handle is on."""
    mask = drawn(HOOK, 100, 0.3, (200, 200))
    assert outline.describe(mask) @ outline.describe(mask[:, ::-1]) > 0.999


def test_a_large_mask_is_thinned_out():
    """Twelve megapixels tell what a hundredth of them do; and small crumbs beside the largest piece nothing."""
    large = drawn(ARROW, 1400, 0.4, (1500, 1500), 3000)
    small = drawn(ARROW, 140, 0.4, (150, 150), 300)
    small[:3, :3] = True
    assert outline.describe(large) @ outline.describe(small) > 0.98


@pytest.mark.parametrize("pixels", [[], [(5, 5)], [(5, 5), (5, 6)]])
def test_what_is_too_small_has_no_outline(pixels: list[tuple[int, int]]):
    """Zeros, which are like nothing, and no number that is none."""
    mask = np.zeros((12, 12), bool)
    for at in pixels:
        mask[at] = True
    assert not outline.describe(mask).any()


def test_a_disc_is_finite():
    """All coefficients but one are about 0 there."""
    mask = cv2.circle(np.zeros((64, 64), np.uint8), (32, 32), 20, 1, -1).astype(bool)
    found = outline.describe(mask)
    assert np.isfinite(found).all() and found.max() > 0.9
