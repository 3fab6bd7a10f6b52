"""From a view to the size of the original, the outline laid along the picture's own edges."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from model.proposals.working import View, WorkingImage

TILE = 64
MARGIN = 10
RADIUS = 4
BAND = 4
"""Pixels on each side of the outline that one level may change: what lies deeper was decided on the view."""

SAMPLED = 3
"""Every so many rows and columns of a tile count for the spread of its colours."""

SENSOR_NOISE = 4.0
"""Variance, in squared grey levels, below which differences in colour mean nothing."""

FINEST = 2200
"""Longest side of the levels on which edges are followed; what is finer is no more than a pixel of these."""

MAX_TILES = 1500
"""Tiles refined at one level, which bounds the time that a frayed outline takes; past it edges stay as they came."""


def enlarge(working: WorkingImage, view: View, mask: np.ndarray) -> np.ndarray:
    """`mask`, bool (h, w) of `view`, as bool (H, W) of the original.

    Level by level of the image pyramid the mask is enlarged, and in the tiles that its outline crosses a guided filter
    (He et al. 2010) moves the outline to where the colours of its two sides part.
    """
    height, width = working.image.shape[:2]
    x0, y0, x1, y1 = view.window
    soft = mask.astype(np.uint8) * 255
    for level in working.pyramid:
        ratio = level.shape[1] / width
        if ratio <= view.scale and level is not working.image:
            continue
        left, top, right, bottom = round(x0 * ratio), round(y0 * ratio), round(x1 * ratio), round(y1 * ratio)
        crop = level[top:bottom, left:right]
        # Of a strip a few pixels wide nothing is left on a coarse level.
        if crop.size and crop.shape[:2] != soft.shape:
            soft = cv2.resize(soft, (crop.shape[1], crop.shape[0]), interpolation=cv2.INTER_LINEAR)
            if max(level.shape[:2]) <= FINEST:
                _lay_along_edges(crop, soft)
    full = np.zeros((height, width), bool)
    full[y0:y1, x0:x1] = soft > 127
    return full


def _lay_along_edges(image: np.ndarray, soft: np.ndarray) -> None:
    """Rewrite `soft`, uint8 (h, w) with the outline at 127.5, near its outline after `image`, uint8 (h, w, 3)."""
    tiles = list(_crossed(soft))
    if len(tiles) > MAX_TILES:
        return
    before = soft.copy()
    height, width = soft.shape
    for rows, columns in tiles:
        y0, x0 = max(0, rows.start - MARGIN), max(0, columns.start - MARGIN)
        y1, x1 = min(height, rows.stop + MARGIN), min(width, columns.stop + MARGIN)
        better = _filtered(image[y0:y1, x0:x1], before[y0:y1, x0:x1])
        soft[rows, columns] = better[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0]


def _crossed(soft: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the tiles of `soft` that hold some of the outline."""
    height, width = soft.shape
    columns = range(0, width, TILE)
    for top in range(0, height, TILE):
        strip = soft[top : top + TILE]
        low = np.minimum.reduceat(strip.min(axis=0), columns)
        high = np.maximum.reduceat(strip.max(axis=0), columns)
        for k in np.flatnonzero((low < 128) & (high > 127)).tolist():
            yield slice(top, min(top + TILE, height)), slice(k * TILE, min((k + 1) * TILE, width))


def _filtered(image: np.ndarray, on: np.ndarray) -> np.ndarray:
    inside = on > 127
    if inside.all() or not inside.any():
        return on
    guided = guided_filter(_opposition(image.astype(np.float32), inside), on.astype(np.float32), RADIUS, 1e-2)
    outline = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    band = cv2.dilate(outline, np.ones((2 * BAND - 1, 2 * BAND - 1), np.uint8)).astype(bool)
    return np.where(band, np.clip(guided, 0, 255).astype(np.uint8), on)


def _opposition(rgb: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """float32 (h, w): the projection of the colours that parts the two sides best (Fisher 1936), at unit variance."""
    # OpenCV and not numpy's matrix products, whose threads get in each other's way on a busy machine.
    flags = cv2.COVAR_NORMAL | cv2.COVAR_ROWS | cv2.COVAR_SCALE
    sample = np.ascontiguousarray(rgb[::SAMPLED, ::SAMPLED]).reshape(-1, 3)
    spread, middle = cv2.calcCovarMatrix(sample, None, flags, ctype=cv2.CV_64F)
    on = inside.astype(np.uint8)
    apart = np.subtract(cv2.mean(rgb, on)[:3], cv2.mean(rgb, 1 - on)[:3])
    # With the total covariance the direction is the same as with that within the two sides.
    direction = np.linalg.solve(spread + SENSOR_NOISE * np.eye(3), apart)
    direction /= math.sqrt(direction @ spread @ direction) + 1e-9
    return cv2.transform(rgb - middle.astype(np.float32).reshape(1, 1, 3), direction.astype(np.float32)[None])


def guided_filter(guide: np.ndarray, p: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """He et al.'s guided filter of `p` by a grey `guide`, both float32 (h, w)."""
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(*channels: np.ndarray) -> Sequence[np.ndarray]:
        return cv2.split(cv2.blur(cv2.merge(channels), size, borderType=cv2.BORDER_REFLECT))

    m, q, mq, mm = mean(guide, p, guide * p, guide * guide)
    slope = (mq - m * q) / (np.maximum(mm - m * m, 0) + eps)
    slope, rest = mean(slope, q - slope * m)
    return slope * guide + rest
