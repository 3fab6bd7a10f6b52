"""The picture as the proposal methods see it: small, in Lab, cut into superpixels; made once, prompted many times."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from cachetools import LRUCache

from model.errors import ImageError
from model.proposals.hierarchy import merges
from model.proposals.ranker import judge
from model.proposals.superpixels import Superpixels, cut

WORKING_SIDE = 320
"""Longest side of a view, in its own pixels."""

COLOURS = 24
TREES = (0.5, 0.75)
"""How much small regions are merged before large ones, in each of a view's trees."""

RECENT = 4
"""Prompts whose outcome an image keeps."""

OFFERED = 4
"""Masks kept of a prompt: part, object, whole, and one more."""


@dataclass(frozen=True, eq=False)
class View:
    """A window of an image at the working size.

    window:      (x0, y0, x1, y1) in pixels of the original, x1 and y1 exclusive.
    rgb:         uint8 (h, w, 3), lightly smoothed.
    lab:         float32 (h, w, 3), CIE Lab of `rgb`.
    gradient:    float32 (h, w), how fast the colour changes, in Lab units per pixel.
    superpixels: see Superpixels.
    """

    window: tuple[int, int, int, int]
    rgb: np.ndarray
    lab: np.ndarray
    gradient: np.ndarray
    superpixels: Superpixels

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in the view's own pixels."""
        return self.gradient.shape

    @cached_property
    def usual(self) -> float:
        """Lab units per pixel: a gradient above it stands out in this view."""
        return 2 * float(np.median(self.gradient)) + 1

    @cached_property
    def colours(self) -> np.ndarray:
        """int32 (h, w): which of at most COLOURS typical colours of this view is nearest."""
        lab = self.superpixels.lab.astype(np.float32)
        if len(lab) <= COLOURS:
            return self.superpixels.labels
        labels = np.empty(len(lab), np.int32)  # k-means starts from slices by lightness: the same for the same view
        labels[np.argsort(lab[:, 0], kind="stable")] = np.arange(len(lab)) * COLOURS // len(lab)
        criteria = (cv2.TERM_CRITERIA_MAX_ITER, 8, 0)
        labels = cv2.kmeans(lab, COLOURS, labels[:, None], criteria, 1, cv2.KMEANS_USE_INITIAL_LABELS)[1]
        return labels.ravel()[self.superpixels.labels]

    @cached_property
    def colour_counts(self) -> np.ndarray:
        """int (c,): pixels of each of the typical colours."""
        return np.bincount(self.colours.ravel())

    @cached_property
    def trees(self) -> tuple[np.ndarray, ...]:
        """Ways to merge the superpixels step by step (see hierarchy.merges)."""
        return tuple(merges(self.superpixels, exponent) for exponent in TREES)

    @property
    def side(self) -> int:
        return max(self.shape)

    @property
    def scale(self) -> float:
        """Pixels of the view per pixel of the original."""
        return self.side / max(self.window[2] - self.window[0], self.window[3] - self.window[1])

    @property
    def nbytes(self) -> int:
        """Bytes held at most: what is made when it is asked for is counted from the start."""
        pixels = self.rgb.nbytes + self.lab.nbytes + self.gradient.nbytes + self.superpixels.labels.nbytes
        return pixels + self.superpixels.nbytes + 16 * len(TREES) * len(self.superpixels.area)


Judge = Callable[[View, Sequence[np.ndarray], np.ndarray], np.ndarray]
"""From a view, masks on it, bool (h, w), and their traits (see traits.py) to the IoU to expect of each, 0..1."""


@dataclass(frozen=True, eq=False)
class WorkingImage:
    """An image made ready for prompts.

    image:   uint8 (H, W, 3) RGB, the original, by reference.
    pyramid: uint8 images, each about half of the next, the last one `image` itself.
    view:    the whole of the image at the working size.
    judge:   whom to ask which masks to believe.
    recent:  what the last few prompts came to, so that a further click need not go through the earlier ones again. Like
             a PAM, it takes one thread at a time.
    """

    image: np.ndarray
    pyramid: tuple[np.ndarray, ...]
    view: View
    judge: Judge = judge
    recent: LRUCache[Hashable, Any] = field(default_factory=lambda: LRUCache(RECENT), repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes held at most, the original image and what is kept of recent prompts included."""
        height, width = self.image.shape[:2]
        shown = height * -(-width // 8) + self.view.gradient.size
        recent = RECENT * (self.view.nbytes + OFFERED * self.view.gradient.size + shown)
        return sum(level.nbytes for level in self.pyramid) + self.view.nbytes + recent


def prepare(image: np.ndarray, judge: Judge = judge) -> WorkingImage:
    """Make `image`, uint8 (H, W, 3) RGB, ready for prompts. Raises ImageError for anything else."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ImageError(f"the image is {image.dtype} {image.shape}, expected uint8 (H, W, 3) with H and W at least 1")
    levels = [image]
    while max(levels[0].shape[:2]) > 2 * WORKING_SIDE:
        height, width = levels[0].shape[:2]
        half = ((width + 1) // 2, (height + 1) // 2)
        levels.insert(0, cv2.resize(levels[0], half, interpolation=cv2.INTER_AREA))
    height, width = image.shape[:2]
    pyramid = tuple(levels)
    return WorkingImage(image, pyramid, look(pyramid, (0, 0, width, height)), judge)


def look(pyramid: tuple[np.ndarray, ...], window: tuple[int, int, int, int]) -> View:
    """The view of `window` (x0, y0, x1, y1, pixels of the original), never magnified."""
    full_height, full_width = pyramid[-1].shape[:2]
    x0, y0, x1, y1 = window
    scale = min(1.0, WORKING_SIDE / max(x1 - x0, y1 - y0))
    level = next(p for p in pyramid if p is pyramid[-1] or max(p.shape[:2]) >= scale * max(full_height, full_width))
    to_x, to_y = level.shape[1] / full_width, level.shape[0] / full_height
    crop = level[
        int(y0 * to_y) : max(int(y0 * to_y) + 1, round(y1 * to_y)),
        int(x0 * to_x) : max(int(x0 * to_x) + 1, round(x1 * to_x)),
    ]
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    rgb = cv2.bilateralFilter(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), 5, 20, 2)
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    gradient = _gradient(lab)
    return View(window, rgb, lab, gradient, cut(lab, gradient))


def _gradient(lab: np.ndarray) -> np.ndarray:
    """float32 (h, w): the largest singular value of the colour Jacobian (Di Zenzo 1986), Scharr derivatives."""
    dx = cv2.Scharr(lab, cv2.CV_32F, 1, 0) / 32
    dy = cv2.Scharr(lab, cv2.CV_32F, 0, 1) / 32
    xx, yy, xy = ((p * q).sum(axis=2) for p, q in ((dx, dx), (dy, dy), (dx, dy)))
    return np.sqrt(np.maximum((xx + yy + np.hypot(xx - yy, 2 * xy)) / 2, 0))
