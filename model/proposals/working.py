"""The picture as the proposal methods see it: small, in Lab, cut into superpixels; made once, prompted many times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from scipy import sparse
from skimage.segmentation import watershed

from model.errors import ImageError

WORKING_SIDE = 320
"""Longest side, in pixels, of the picture that proposals are made on."""

SUPERPIXELS = 700


@dataclass(frozen=True, eq=False)
class Superpixels:
    """A partition of a working image and the graph of its neighbours.

    labels:   int32 (h, w), 0..n-1.
    lab:      float32 (n, 3), mean colour.
    area:     float64 (n,), pixels.
    pairs:    int32 (m, 2), neighbours, each pair once.
    strength: float64 (m,), mean gradient along the shared border, relative to the picture's own gradients.
    length:   float64 (m,), pixels of the shared border.
    """

    labels: np.ndarray
    lab: np.ndarray
    area: np.ndarray
    pairs: np.ndarray
    strength: np.ndarray
    length: np.ndarray

    @property
    def count(self) -> int:
        return len(self.area)

    @cached_property
    def difference(self) -> np.ndarray:
        """float64 (m,): colour distance of the two superpixels of each pair."""
        a, b = self.pairs.T
        return np.linalg.norm(self.lab[a] - self.lab[b], axis=1).astype(np.float64)

    def graph(self, weights: np.ndarray) -> sparse.csr_matrix:
        """The symmetric adjacency matrix with `weights` (m,) on the pairs."""
        a, b = self.pairs.T
        both = (np.concatenate([a, b]), np.concatenate([b, a]))
        return sparse.csr_matrix((np.concatenate([weights, weights]), both), shape=(self.count, self.count))


@dataclass(frozen=True, eq=False)
class WorkingImage:
    """An image made ready for prompts.

    image:       uint8 (H, W, 3) RGB, the original, by reference.
    rgb:         uint8 (h, w, 3), the same at the working size, lightly smoothed.
    lab:         float32 (h, w, 3), CIE Lab of `rgb`.
    gradient:    float32 (h, w), how fast the colour changes, in Lab units per pixel.
    superpixels: see Superpixels.
    pyramid:     uint8 images, each about twice the size of the one before, from above the working size to `image`.
    """

    image: np.ndarray
    rgb: np.ndarray
    lab: np.ndarray
    gradient: np.ndarray
    superpixels: Superpixels
    pyramid: tuple[np.ndarray, ...]

    @property
    def height(self) -> int:
        return self.rgb.shape[0]

    @property
    def width(self) -> int:
        return self.rgb.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes held, the original image included."""
        s = self.superpixels
        arrays = (*(self.pyramid or (self.image,)), self.rgb, self.lab, self.gradient)
        return sum(a.nbytes for a in (*arrays, s.labels, s.lab, s.area, s.pairs, s.strength, s.length))


def prepare(image: np.ndarray) -> WorkingImage:
    """Make `image`, uint8 (H, W, 3) RGB, ready for prompts. Raise ImageError for anything else."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ImageError(f"the image is {image.dtype} {image.shape}, expected uint8 (H, W, 3) with H and W at least 1")
    height, width = image.shape[:2]
    scale = min(1.0, WORKING_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pyramid = _pyramid(image, size)
    small = cv2.resize(pyramid[0], size, interpolation=cv2.INTER_AREA) if pyramid else image
    rgb = cv2.bilateralFilter(small, 5, 20, 2)
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    gradient = _gradient(lab)
    return WorkingImage(image, rgb, lab, gradient, _superpixels(lab, gradient), pyramid)


def _pyramid(image: np.ndarray, smallest: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """`image` and its halves, smallest first, all larger than `smallest` (width, height); empty if `image` is not."""
    levels = []
    while max(image.shape[:2]) > max(smallest):
        levels.insert(0, image)
        size = ((image.shape[1] + 1) // 2, (image.shape[0] + 1) // 2)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return tuple(levels)


def _gradient(lab: np.ndarray) -> np.ndarray:
    """float32 (h, w): the largest singular value of the colour Jacobian (Di Zenzo), Scharr derivatives."""
    dx = cv2.Scharr(lab, cv2.CV_32F, 1, 0) / 32
    dy = cv2.Scharr(lab, cv2.CV_32F, 0, 1) / 32
    xx, yy, xy = ((p * q).sum(axis=2) for p, q in ((dx, dx), (dy, dy), (dx, dy)))
    return np.sqrt(np.maximum((xx + yy + np.hypot(xx - yy, 2 * xy)) / 2, 0))


def _superpixels(lab: np.ndarray, gradient: np.ndarray) -> Superpixels:
    """Watershed basins of `gradient` around markers on a regular grid, each moved to the flattest pixel nearby."""
    height, width = gradient.shape
    step = max(2, round((height * width / SUPERPIXELS) ** 0.5))
    markers = np.zeros((height, width), np.int32)
    for i, top in enumerate(range(0, height, step)):
        for j, left in enumerate(range(0, width, step)):
            cell = gradient[top : top + step, left : left + step]
            y, x = np.unravel_index(np.argmin(cell), cell.shape)
            markers[top + y, left + x] = i * ((width + step - 1) // step) + j + 1
    labels = watershed(gradient, markers).astype(np.int32) - 1
    return _describe(labels, lab, gradient)


def _describe(labels: np.ndarray, lab: np.ndarray, gradient: np.ndarray) -> Superpixels:
    count = int(labels.max()) + 1
    flat = labels.ravel()
    area = np.bincount(flat, minlength=count).astype(np.float64)
    mean = np.stack([np.bincount(flat, lab[..., c].ravel(), count) / area for c in range(3)], axis=1)
    pairs, strength = [], []
    for axis in (0, 1):
        a, b = (np.take(labels, r, axis) for r in (range(labels.shape[axis] - 1), range(1, labels.shape[axis])))
        g = np.maximum(*(np.take(gradient, r, axis) for r in
                         (range(labels.shape[axis] - 1), range(1, labels.shape[axis]))))
        on_border = a != b
        pairs.append(np.sort(np.stack([a[on_border], b[on_border]], axis=1), axis=1))
        strength.append(g[on_border])
    key = np.concatenate(pairs).astype(np.int64) @ np.array([count, 1])
    unique, inverse = np.unique(key, return_inverse=True)
    length = np.bincount(inverse, minlength=len(unique)).astype(np.float64)
    total = np.bincount(inverse, np.concatenate(strength), len(unique))
    strength_of_pair = total / np.maximum(length, 1)
    return Superpixels(labels, mean.astype(np.float32), area, np.stack([unique // count, unique % count], 1).astype(np.int32),
                       strength_of_pair, length)
