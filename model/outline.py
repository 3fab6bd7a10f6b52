"""The outline of a mask as a few numbers that stay the same wherever, however large and however turned it lies."""

from __future__ import annotations

import cv2
import numpy as np

LENGTH = 32
"""Numbers that tell an outline; even."""

_CORNERS = 256
_SIDE = 512
"""Pixels to which the longer side of what is traced is thinned out: more change nothing but the time it takes."""
_SPREAD = 10.0
"""Coefficients fall off quickly: on a logarithmic scale from about a tenth on, the small ones count, too."""


def describe(mask: np.ndarray) -> np.ndarray:
    """Fourier descriptors of a mask, bool (H, W): float32 (LENGTH,) of length 1; zeros where it is too small.

    The magnitudes of the LENGTH lowest coefficients of the outer boundary of the largest piece, taken as a function of
    arc length in the complex plane (Granlund, Fourier Preprocessing for Hand Print Character Recognition, IEEE Trans.
    Computers 1972), on a logarithmic scale and less their mean. An outline and its mirror image have the same numbers.
    """
    found, _ = cv2.findContours(_cut_out(mask), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    longest = max(found, key=cv2.contourArea, default=None)
    if longest is None or len(longest) < 4:
        return np.zeros(LENGTH, np.float32)
    boundary = longest[:, 0].astype(np.float64) @ [1, 1j]
    closed = np.append(boundary, boundary[0])
    walked = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(closed)))])
    evenly = np.interp(np.linspace(0, walked[-1], _CORNERS, endpoint=False), walked, closed)
    half = LENGTH // 2
    coefficients = np.abs(np.fft.fft(evenly))[[*range(1, half + 1), *range(-half, 0)]]
    scaled = np.log1p(_SPREAD * coefficients / np.linalg.norm(coefficients))
    centred = scaled - scaled.mean()
    return (centred / np.linalg.norm(centred)).astype(np.float32)


def _cut_out(mask: np.ndarray) -> np.ndarray:
    """The part of a mask where it is, thinned out, uint8."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.zeros((1, 1), np.uint8)
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    step = -(-max(part.shape) // _SIDE)
    return np.ascontiguousarray(part[::step, ::step], np.uint8)
