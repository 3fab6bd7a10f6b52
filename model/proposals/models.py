"""GrabCut's idea on superpixels: colour models of both sides and the picture's edges, in turn, until they agree."""

from __future__ import annotations

import numpy as np
from scipy.sparse import diags
from scipy.sparse.linalg import spsolve

from model.proposals.superpixels import Superpixels

BANDWIDTH = 7.0
"""Lab units within which colours count as alike."""

ROUNDS = 3


def kernel(sp: Superpixels) -> np.ndarray:
    """float (n, n): how alike the colours of superpixels are, by the other one's area; nothing to itself."""
    square = (sp.lab**2).sum(axis=1)
    distance = np.maximum(square[:, None] + square[None, :] - 2 * sp.lab @ sp.lab.T, 0)
    alike = np.exp(-distance / (2 * BANDWIDTH**2)) * sp.area[None, :]
    np.fill_diagonal(alike, 0)
    return alike


def refine(
    sp: Superpixels, alike: np.ndarray, member: np.ndarray, on: np.ndarray, off: np.ndarray, trust: float
) -> np.ndarray:
    """float (n,): how much each superpixel belongs to the object, from a guess `member` (n,), 0..1.

    on, off: indices of superpixels that are known. trust: how much colour counts against edges.
    """
    weight = sp.length * np.exp(-sp.change / (2 * np.median(sp.change) + 1e-6)) + 1e-6 if len(sp.change) else sp.length
    graph = sp.graph(weight)
    degree = np.asarray(graph.sum(axis=1)).ravel()
    laplacian = diags(degree) - graph
    strength = trust * np.sqrt(sp.area)
    for _ in range(ROUNDS):
        inside, outside = alike @ member / (sp.area @ member), alike @ (1 - member) / max(sp.area @ (1 - member), 1e-9)
        likely = (inside + 1e-9) / (inside + outside + 2e-9)
        hard = strength.copy()
        likely[on], likely[off] = 1, 0
        hard[on] = hard[off] = 1e4
        member = spsolve((laplacian + diags(hard)).tocsc(), hard * likely)
    return member
