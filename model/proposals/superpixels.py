"""A picture cut into small flat patches, and the graph of which touches which."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse
from skimage.segmentation import watershed

COUNT = 700
"""About how many superpixels a view is cut into, whatever its size."""


@dataclass(frozen=True, eq=False)
class Superpixels:
    """A partition of a view, and its neighbours.

    labels:   int32 (h, w), 0..n-1.
    lab:      float64 (n, 3), mean colour.
    area:     float64 (n,), pixels.
    pairs:    int64 (m, 2), neighbours, each pair once.
    strength: float64 (m,), mean gradient along the common border, Lab units per pixel.
    length:   float64 (m,), pixels of the common border.
    """

    labels: np.ndarray
    lab: np.ndarray
    area: np.ndarray
    pairs: np.ndarray
    strength: np.ndarray
    length: np.ndarray

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (self.labels, self.lab, self.area, self.pairs, self.strength, self.length))

    @cached_property
    def change(self) -> np.ndarray:
        """float64 (m,): how much changes from one superpixel of a pair to the other, in colour and at their border."""
        a, b = self.pairs.T
        return np.linalg.norm(self.lab[a] - self.lab[b], axis=1) + self.strength

    def graph(self, weights: np.ndarray) -> sparse.csr_matrix:
        """The symmetric adjacency matrix with `weights` (m,) on the pairs."""
        a, b = self.pairs.T
        both = (np.concatenate([a, b]), np.concatenate([b, a]))
        n = len(self.area)
        return sparse.csr_matrix((np.concatenate([weights, weights]), both), shape=(n, n))


def cut(lab: np.ndarray, gradient: np.ndarray) -> Superpixels:
    """Watershed basins of `gradient` (h, w) around a grid of markers, each moved to the flattest pixel nearby."""
    height, width = gradient.shape
    step = max(2, round((height * width / COUNT) ** 0.5))
    markers = np.zeros((height, width), np.int32)
    count = 0
    for top in range(0, height, step):
        for left in range(0, width, step):
            cell = gradient[top : top + step, left : left + step]
            y, x = divmod(int(cell.argmin()), cell.shape[1])
            count += 1
            markers[top + y, left + x] = count
    labels = watershed(gradient, markers).astype(np.int32) - 1
    flat = labels.ravel()
    area = np.bincount(flat, minlength=count).astype(np.float64)
    mean = np.stack([np.bincount(flat, lab[..., c].ravel(), count) / area for c in range(3)], axis=1)
    return Superpixels(labels, mean, area, *_borders(labels, gradient, count))


def _borders(labels: np.ndarray, gradient: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`pairs`, `strength` and `length` of Superpixels."""
    keys, edges = [], []
    for a, b, g, h in (
        (labels[:-1], labels[1:], gradient[:-1], gradient[1:]),
        (labels[:, :-1], labels[:, 1:], gradient[:, :-1], gradient[:, 1:]),
    ):
        differ = a != b
        keys.append(np.minimum(a, b)[differ].astype(np.int64) * count + np.maximum(a, b)[differ])
        edges.append(np.maximum(g, h)[differ])
    unique, which = np.unique(np.concatenate(keys), return_inverse=True)
    length = np.bincount(which, minlength=len(unique)).astype(np.float64)
    total = np.bincount(which, np.concatenate(edges), len(unique))
    return np.stack(np.divmod(unique, count), axis=1), total / np.maximum(length, 1), length
