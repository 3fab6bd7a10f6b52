"""A prompt, brought to a view: which of its pixels are surely on the object, which surely off it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from model.prompt import Prompt
from model.proposals.working import View

SEED_RADIUS = 0.012
"""Radius of the disc that a click vouches for, relative to the view's longer side."""


@dataclass(frozen=True, eq=False)
class Seeds:
    """What a prompt says about the pixels of a view.

    positive, negative: bool (h, w), surely on the object and surely off it: around clicks, and outside the box.
    clicks, refusals:   int (k, 2) and (l, 2), x and y of the positive and the negative clicks.
    box:                rows and columns that the box covers, or None.
    rough:              bool (h, w), the mask prompt, or None.
    """

    positive: np.ndarray
    negative: np.ndarray
    clicks: np.ndarray
    refusals: np.ndarray
    box: tuple[slice, slice] | None
    rough: np.ndarray | None

    @property
    def core(self) -> np.ndarray:
        """bool (h, w), never empty: what to start from; without clicks the heart of the rough mask or of the box."""
        if self.positive.any():
            return self.positive
        heart = self.rough & ~self.negative if self.rough is not None else ~self.negative
        if not heart.any():
            heart = np.ones_like(self.negative)
        depth = depths(heart)
        return depth >= 0.6 * depth.max()


def depths(mask: np.ndarray) -> np.ndarray:
    """float32 (h, w): how many pixels deep in `mask` a pixel lies; beyond the frame counts as outside."""
    return cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]


def surroundings(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns that hold all of `mask`, bool (h, w), and `margin` pixels around it, as far as there are any."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    return slice(max(0, y - margin), y + h + margin), slice(max(0, x - margin), x + w + margin)


def click_pixels(prompt: Prompt, positive: bool, height: int, width: int) -> np.ndarray:
    """int (k, 2): x and y of the pixels clicked in an image of that size; a click on the far edge counts inwards."""
    xy = np.array([(p.x, p.y) for p in prompt.points if p.positive == positive], np.float64).reshape(-1, 2)
    return np.minimum(xy, (width - 1, height - 1)).astype(int)


def sow(view: View, prompt: Prompt, height: int, width: int) -> Seeds:
    """The seeds on `view` of a prompt about an image of `height` x `width`; clicks outside the view are left out."""
    h, w = view.shape
    x0, y0, x1, y1 = view.window
    corner, ratio = np.array([x0, y0]), np.array([w / (x1 - x0), h / (y1 - y0)])

    def within(positive: bool) -> np.ndarray:
        xy = np.floor((click_pixels(prompt, positive, height, width) + 0.5 - corner) * ratio).astype(int)
        return xy[((xy >= 0) & (xy < (w, h))).all(axis=1)]

    clicks, refusals = within(True), within(False)
    on, off = (_discs(c, round(SEED_RADIUS * view.side), h, w) for c in (clicks, refusals))
    positive, negative = on & ~off, off & ~on
    negative[refusals[:, 1], refusals[:, 0]], positive[refusals[:, 1], refusals[:, 0]] = True, False
    box = None
    if prompt.box is not None:
        left, top = np.clip(np.floor((np.array(prompt.box[:2]) - corner) * ratio), 0, (w - 1, h - 1)).astype(int)
        right, bottom = np.ceil((np.array(prompt.box[2:]) - corner) * ratio).astype(int)
        box = slice(top, min(max(bottom, top + 1), h)), slice(left, min(max(right, left + 1), w))
        outside = np.ones((h, w), bool)
        outside[box] = False
        negative |= outside
        positive &= ~outside
    positive[clicks[:, 1], clicks[:, 0]], negative[clicks[:, 1], clicks[:, 0]] = True, False
    rough = None
    if prompt.mask is not None:
        crop = prompt.mask[y0:y1, x0:x1].astype(np.uint8) * 255
        rough = cv2.resize(crop, (w, h), interpolation=cv2.INTER_AREA) > 127
    return Seeds(positive, negative, clicks, refusals, box, rough if rough is not None and rough.any() else None)


def _discs(centres: np.ndarray, radius: int, height: int, width: int) -> np.ndarray:
    canvas = np.zeros((height, width), np.uint8)
    for x, y in centres.tolist():
        cv2.circle(canvas, (x, y), radius, 1, -1)
    return canvas.astype(bool)
