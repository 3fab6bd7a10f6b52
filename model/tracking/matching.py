"""A template that covers only part of its rectangle, laid on every place of a picture.

As OpenCV's `matchTemplate` with a mask has it, which takes some ten times as long at these sizes.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

LEAST_SPREAD = 1e-3
"""Variance of a pixel, in squares of its own unit, under which there is no pattern to go by."""


def squared_distances(picture: np.ndarray, template: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The sum of squared weighted differences at each place: TM_SQDIFF, float64 (H - h + 1, W - w + 1).

    picture: float (H, W, C). template: float (h, w, C). weights: float (h, w), of a pixel's difference.
    """
    middle = template.mean(axis=(0, 1))  # differences do not depend on it, and rounding does
    shown, sought, squares = _planes(picture, middle), _planes(template, middle), np.square(weights, dtype=float)
    sums = _Sums(picture.shape, template.shape)
    cross = (sums.of(shown) * sums.over(-2 * sought * squares)).sum(axis=0)
    found = sums.back(cross + sums.of((shown**2).sum(axis=0)) * sums.over(squares))
    return found + (sought**2 * squares).sum()


def correlations(picture: np.ndarray, template: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """How well colours go together at each place: TM_CCOEFF_NORMED, float64 (H - h + 1, W - w + 1), from -1 to 1.

    picture, template: see `squared_distances`. inner: bool (h, w), the pixels that count. -1 where there is no pattern.
    """
    middle, count = template[inner].mean(axis=0), np.count_nonzero(inner)
    shown, sought = _planes(picture, middle), _planes(template, middle) * inner
    sums = _Sums(picture.shape, template.shape)
    waves, inside = sums.of(shown), sums.over(inner.astype(float))
    together = sums.back((waves * sums.over(sought)).sum(axis=0))
    spread = sums.back(sums.of((shown**2).sum(axis=0)) * inside) - (sums.back(waves * inside) ** 2).sum(axis=0) / count
    pattern = (sought**2).sum()
    there = np.minimum(spread, pattern) > LEAST_SPREAD * count
    return np.divide(together, np.sqrt(np.maximum(spread, 0) * pattern), out=np.full_like(together, -1), where=there)


class _Sums:
    """Sums of products over every place of a template, by the Fourier transform."""

    def __init__(self, picture: tuple[int, ...], template: tuple[int, ...]):
        self._shape = [fft.next_fast_len(side, real=True) for side in picture[:2]]
        self._size = picture[0] - template[0] + 1, picture[1] - template[1] + 1

    def of(self, planes: np.ndarray) -> np.ndarray:
        return fft.rfft2(planes, self._shape)

    def over(self, planes: np.ndarray) -> np.ndarray:
        return np.conj(self.of(planes))

    def back(self, waves: np.ndarray) -> np.ndarray:
        return fft.irfft2(waves, self._shape)[..., : self._size[0], : self._size[1]]


def _planes(picture: np.ndarray, middle: np.ndarray) -> np.ndarray:
    return np.moveaxis(picture - middle, 2, 0).astype(float)
