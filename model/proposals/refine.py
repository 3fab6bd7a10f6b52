"""From the working size to the size of the original, the outline laid along the picture's own edges."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from model.proposals.working import WorkingImage

TILE = 64
MARGIN = 10
RADIUS = 4
MAX_TILES = 1500
"""Tiles refined at one level, which bounds the time that a frayed outline can take; past it edges stay as they came."""


def refine(working: WorkingImage, mask: np.ndarray) -> np.ndarray:
    """`mask`, bool (h, w) of the working image, as bool (H, W) of the original.

    Level by level of the image pyramid the mask is doubled, and in the tiles that its outline crosses a guided filter
    (He et al. 2010) moves the outline to where the colours of its two sides part.
    """
    soft = mask.astype(np.uint8) * 255
    for level in working.pyramid:
        height, width = level.shape[:2]
        soft = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
        tiles = list(_crossed(soft))
        if len(tiles) <= MAX_TILES:
            before = soft.copy()
            for rows, columns in tiles:
                _lay_along_edges(level, before, soft, rows, columns)
    return soft > 127


def _crossed(soft: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """The tiles of `soft` that hold some of the outline."""
    height, width = soft.shape
    for top in range(0, height, TILE):
        strip = soft[top : top + TILE]
        low = np.minimum.reduceat(strip.min(axis=0), range(0, width, TILE))
        high = np.maximum.reduceat(strip.max(axis=0), range(0, width, TILE))
        for k in np.nonzero((low < 128) & (high > 127))[0].tolist():
            yield slice(top, min(top + TILE, height)), slice(k * TILE, min((k + 1) * TILE, width))


def _lay_along_edges(level: np.ndarray, before: np.ndarray, soft: np.ndarray, rows: slice, columns: slice) -> None:
    """Rewrite one tile of `soft` from `before`, which the neighbouring tiles also read."""
    height, width = soft.shape
    y0, x0 = max(0, rows.start - MARGIN), max(0, columns.start - MARGIN)
    y1, x1 = min(height, rows.stop + MARGIN), min(width, columns.stop + MARGIN)
    on = before[y0:y1, x0:x1]
    inside = on > 127
    if inside.all() or not inside.any():
        return
    guide = _opposition(level[y0:y1, x0:x1].astype(np.float32), inside)
    p = on.astype(np.float32) / 255
    result = guided_filter(guide, p, RADIUS, 1e-2)
    # Only a band around the outline may change: what is deep inside or far outside was decided at the working size.
    band = cv2.dilate(cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)),
                      np.ones((7, 7), np.uint8)).astype(bool)
    merged = np.where(band, np.clip(result * 255, 0, 255).astype(np.uint8), on)
    soft[rows, columns] = merged[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0]


def _opposition(rgb: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """float32 (h, w): the projection of the colours that parts the two sides best (Fisher), at unit variance."""
    colours = rgb.reshape(-1, 3)
    flat = inside.ravel()
    ours, theirs = colours[flat], colours[~flat]
    spread = (np.cov(ours.T, bias=True) * len(ours) + np.cov(theirs.T, bias=True) * len(theirs)) / len(colours)
    direction = np.linalg.solve(spread + 4 * np.eye(3), ours.mean(axis=0) - theirs.mean(axis=0))
    projected = colours @ direction.astype(np.float32)
    return ((projected - projected.mean()) / (projected.std() + 1e-6)).reshape(inside.shape)


def guided_filter(guide: np.ndarray, p: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """He et al.'s guided filter of `p` by a grey `guide`, both float32 (h, w)."""
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(a: np.ndarray) -> np.ndarray:
        return cv2.blur(a, size, borderType=cv2.BORDER_REFLECT)

    m, q = mean(guide), mean(p)
    a = (mean(guide * p) - m * q) / (np.maximum(mean(guide * guide) - m * m, 0) + eps)
    return mean(a) * guide + mean(q - a * m)
