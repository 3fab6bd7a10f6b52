"""A trajectory says where a thing went, whatever the size of the picture and however often it was looked at."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.trajectory import LENGTH, STEP, describe, spot

SHARE = st.floats(0.0, 1.0)
SPOTS = st.lists(st.tuples(SHARE, SHARE, SHARE), min_size=1, max_size=20)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 100), st.integers(0, 100))
def test_a_spot_is_the_middle_of_a_mask(height: int, width: int, y: int, x: int):
    """In shares of a picture that is not square; pixels are squares, not points."""
    mask = np.zeros((150, 300), bool)
    mask[y : y + height, x : x + width] = True
    assert np.allclose(spot(mask), ((x + width / 2) / 300, (y + height / 2) / 150, height * width / 45000))
    assert spot(np.zeros((3, 4), bool)) == (0.5, 0.5, 0.0)


@given(SPOTS)
def test_numbers_are_bounded(spots: list[tuple[float, float, float]]):
    """Empty masks and far leaps included."""
    numbers = describe(spots)
    assert numbers.shape == (LENGTH,)
    assert numbers.dtype == np.float32
    assert np.isfinite(numbers).all() and (np.abs(numbers) <= 5).all()


@given(SPOTS, st.integers(1, 4))
def test_pace_says_nothing(spots: list[tuple[float, float, float]], times: int):
    """A slow clip shows the same way on more frames."""
    assert np.array_equal(describe(spots), describe([each for each in spots for _ in range(times)]))


def test_what_the_numbers_are():
    """Right by one step and back a little, twice as large."""
    numbers = describe([(0.5, 0.5, 0.1), (0.5 + STEP, 0.5, 0.1), (0.5 + STEP / 2, 0.5, 0.2)])
    step = np.tanh(1 / 3) * 3
    half = np.tanh(1 / 6) * 3
    assert np.allclose(numbers, [0, 0, STEP, 0, half, 0, step, 0, step, np.log(2)], atol=1e-6)
    still = describe([(0.2, 0.3, 0.1)] * 3)
    assert np.allclose(still[4:], 0)


def test_backwards():
    """The way there is the way back, turned round."""
    there = [(0.1, 0.2, 0.1), (0.4, 0.3, 0.15), (0.8, 0.9, 0.2)]
    forth, back = describe(there), describe(there[::-1])
    assert np.allclose(forth[:2], back[2:4]) and np.allclose(forth[2:4], back[:2])
    assert np.allclose(forth[4:6], -back[4:6]) and np.isclose(forth[9], -back[9])
