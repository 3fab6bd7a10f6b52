"""Superpixels merged step by step into a tree: what holds a click at every scale, from part to object to whole."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np

from model.proposals.superpixels import Superpixels

EXPONENTS = (0.25, 0.5)
"""How much, by variant of the tree, small regions are merged before large ones."""


def merges(sp: Superpixels, exponent: float) -> np.ndarray:
    """int (n - 1, 2) or shorter: the pairs of regions merged, in order; merge k makes region n + k.

    Cheapest first: the difference in colour and the edge between two regions, times the smaller one's area to the
    power of `exponent`.
    """
    count = len(sp.area)
    colour, area = sp.lab.tolist(), sp.area.tolist()
    borders: list[dict[int, tuple[float, float]]] = [{} for _ in range(count)]
    for (a, b), strength, length in zip(sp.pairs.tolist(), sp.strength.tolist(), sp.length.tolist(), strict=True):
        borders[a][b] = borders[b][a] = (strength * length, length)

    def cost(a: int, b: int) -> float:
        total, length = borders[a][b]
        p, q = colour[a], colour[b]
        apart = ((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 + (p[2] - q[2]) ** 2) ** 0.5
        return (apart + total / length) * min(area[a], area[b]) ** exponent

    queue = [(cost(a, b), a, b) for a, b in sp.pairs.tolist()]
    heapq.heapify(queue)
    alive = [True] * count
    done: list[tuple[int, int]] = []
    while queue:
        _, a, b = heapq.heappop(queue)
        if not (alive[a] and alive[b]):
            continue
        new = len(alive)
        alive[a] = alive[b] = False
        alive.append(True)
        done.append((a, b))
        size = area[a] + area[b]
        colour.append([(area[a] * p + area[b] * q) / size for p, q in zip(colour[a], colour[b], strict=True)])
        area.append(size)
        joined: dict[int, tuple[float, float]] = {}
        for old in (a, b):
            for other, (total, length) in borders[old].items():
                if alive[other]:
                    t, n = joined.get(other, (0.0, 0.0))
                    joined[other] = (t + total, n + length)
        borders.append(joined)
        for other, border in joined.items():
            borders[other][new] = border
            heapq.heappush(queue, (cost(new, other), other, new))
    return np.array(done, int).reshape(-1, 2)


def ancestors(tree: np.ndarray, count: int, inside: np.ndarray) -> Iterator[np.ndarray]:
    """bool (count,) each: the regions of `tree` that hold all of the superpixels `inside`, smallest first."""
    region = np.arange(count)
    for k, pair in enumerate(tree):
        merged = np.isin(region, pair)
        region[merged] = count + k
        if (region[inside] == count + k).all():
            yield merged
