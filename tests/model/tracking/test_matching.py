"""Templates that cover part of their rectangle, laid on a picture: the sums are OpenCV's, which is far slower."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.tracking.matching import correlations, squared_distances

SIZES = [((48, 48), (32, 32)), ((65, 115), (24, 20)), ((30, 31), (30, 31)), ((50, 40), (7, 24))]


def cut(picture: tuple[int, int], template: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture, a part of it with some noise, and which of that part's pixels count."""
    rng = np.random.default_rng(sum(picture))
    large = cv2.GaussianBlur(rng.normal(50, 30, (*picture, 3)).astype(np.float32), (5, 5), 0)
    y, x = (np.array(picture) - template) // 2
    small = large[y : y + template[0], x : x + template[1]] + rng.normal(0, 2, (*template, 3)).astype(np.float32)
    return large, np.ascontiguousarray(small), rng.random(template) > 0.3


@pytest.mark.parametrize(("picture", "template"), SIZES)
def test_they_are_what_opencv_sums_up(picture: tuple[int, int], template: tuple[int, int]) -> None:
    """On every place, but for OpenCV's rounding in single precision."""
    large, small, inner = cut(picture, template)
    mask = np.repeat(inner[..., None].astype(np.float32), 3, axis=2)
    expected = cv2.matchTemplate(large, small, cv2.TM_SQDIFF, mask=0.7 * mask)
    assert squared_distances(large, small, 0.7 * inner) == pytest.approx(expected, abs=2, rel=1e-5)
    expected = cv2.matchTemplate(large, small, cv2.TM_CCOEFF_NORMED, mask=mask)
    assert correlations(large, small, inner) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("plain", ["picture", "template"])
def test_nothing_goes_with_what_has_no_pattern(plain: str) -> None:
    """Rounding is no likeness."""
    large, small, inner = cut((40, 40), (20, 20))
    (large if plain == "picture" else small)[:] = 60.0
    assert (correlations(large, small, inner) == -1).all()
