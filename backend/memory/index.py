"""The named regions of one project, as one matrix: which of them a new region is like."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numkong
import numpy as np

from backend.category import category_name
from backend.ledger import Memory
from model import outline

MOST = 100_000
"""Memories of a project that are looked through; the oldest give way."""

_KEPT = 0.95
"""Share of them that stays when the oldest give way."""

NEIGHBOURS = 16
"""Memories that have a vote."""

_CANDIDATES = 64
"""Memories whose likeness to a region is computed in full: those that are most like it in 8 bits."""

_SAMPLE = 256
_ALIKE, _UNLIKE, _PRIOR_PAIRS = ((0.6, 0.2), (0.95, 0.06)), ((0.3, 0.25), (0.8, 0.15)), 6
"""Mean and standard deviation of the cosines of two regions of one category, and of two, by how they look and by their
outlines: what is taken for so many pairs before a project has any of its own."""
_LEAST_DEVIATION, _MOST_EVIDENCE = 0.03, 100.0


Spread = tuple[float, float]
"""Mean and standard deviation."""


@dataclass(frozen=True, eq=False)
class _Typical:
    """What tells the categories of a project apart.

    weights: float32 (2,), of the cosine by looks and of that by outlines; their sum is 1. alike, unlike: how the sum of
             the cosines, so weighted, spreads for two regions of one category and for two of different ones.
    """

    weights: np.ndarray
    alike: Spread
    unlike: Spread


@dataclass(frozen=True)
class Neighbour:
    """A memory that is like the region asked for.

    evidence: how much likelier the cosine of their embeddings is for two regions of one category than for two of
              different ones, less 1: what speaks for a common category beyond chance, 0.._MOST_EVIDENCE.
    """

    category: str
    evidence: float


class Index:
    """Memories of one project and one model. Not thread-safe.

    A lookup is one product with them all in 8 bits, and then in full with the best of them. Among 100,000 that took 1.5
    ms at nano's width, 128, and 1.6 at PAM-3B's, 288, on a quiet machine and on a busy one (benchmarks/memory.py). One
    product in float32 took 3.5 ms at 288, and 8 where other processes wanted the memory's bandwidth, too.

    width: of the embeddings, E.
    """

    def __init__(self, width: int):
        self._width = width
        self._clear()

    def __len__(self) -> int:
        return int(np.count_nonzero(self._alive))

    def replace(self, task_id: int, memories: Sequence[Memory]) -> None:
        """Put these in place of what was remembered of a task."""
        for place in self._places.pop(task_id, ()):
            self._alive[place] = False
            self._count(self._memories[place], -1)
        for memory in memories:
            self._add(memory)
        alive = len(self)
        if len(self._memories) > 2 * alive + _SAMPLE or alive > MOST:
            # Some more go than must, so that it is not made anew with every task from then on.
            most = MOST if alive <= MOST else math.ceil(_KEPT * MOST)
            kept = [self._memories[place] for place in np.flatnonzero(self._alive)[-most:]]
            self._clear()
            for memory in kept:
                self._add(memory)

    def neighbours(self, embedding: np.ndarray) -> list[Neighbour]:
        """The NEIGHBOURS memories that are most like a region with this embedding, float (E,), best first; or fewer."""
        typical = self._typical()
        query = _weighted(_units(embedding), typical.weights)
        places = self._candidates(query)
        likeness = self._matrix[places].astype(np.float32) @ query
        best = np.argsort(-likeness, kind="stable")[:NEIGHBOURS]
        return [
            Neighbour(self._memories[place].category, _evidence(float(cosine), typical.alike, typical.unlike))
            for place, cosine in zip(places[best], likeness[best], strict=True)
        ]

    def settled(self, category: str) -> tuple[str, float] | None:
        """The explanation that annotators gave most often, and last among equals, to a category; and its share.

        None where they gave none.
        """
        given = self._explanations.get(category_name(category))
        if not given:
            return None
        most = max(given.values())
        return [text for text, count in given.items() if count == most][-1], most / given.total()

    def judged(self) -> Iterable[str]:
        """The categories, as `category_name` has them, that the model gave and annotators kept or changed."""
        return self._fates.keys()

    def trust(self, category: str) -> float:
        """The share, 0..1, of the regions that the model gave this category whose annotators left it so.

        Before there are any it is 1; Laplace's rule of succession, with one kept region beforehand.
        """
        fates = self._fates.get(category_name(category), Counter())
        return (fates[True] + 1) / (fates.total() + 1)

    def _candidates(self, query: np.ndarray) -> np.ndarray:
        """The places of the _CANDIDATES memories that are most like a query, float32 (E,), in any order; or fewer."""
        count = len(self._memories)
        if not count:
            return np.arange(0)
        rough = np.empty((1, count))
        numkong.cdist(_rough(query)[0][None], self._codes[:count], "dot", out=rough)
        likeness = rough[0] * self._steps[:count]
        likeness[~self._alive[:count]] = -np.inf
        best = np.argpartition(likeness, -_CANDIDATES)[-_CANDIDATES:] if count > _CANDIDATES else np.arange(count)
        return best[self._alive[best]]

    def _clear(self) -> None:
        self._matrix: np.ndarray = np.zeros((_SAMPLE, self._width), np.float16)
        self._codes: np.ndarray = np.zeros((_SAMPLE, self._width), np.int8)
        self._steps: np.ndarray = np.zeros(_SAMPLE, np.float32)
        self._alive: np.ndarray = np.zeros(_SAMPLE, bool)
        self._memories: list[Memory] = []
        self._places: dict[int, list[int]] = {}
        self._explanations: dict[str, Counter[str]] = {}
        self._fates: dict[str, Counter[bool]] = {}
        self._known: tuple[int, _Typical] | None = None

    def _add(self, memory: Memory) -> None:
        place = len(self._memories)
        if place == len(self._matrix):
            self._matrix, self._codes, self._steps, self._alive = (
                np.concatenate([array, np.zeros_like(array)])
                for array in (self._matrix, self._codes, self._steps, self._alive)
            )
        units = _units(memory.embedding)
        self._matrix[place], self._alive[place] = units, True
        self._codes[place], self._steps[place] = _rough(units)
        self._memories.append(memory)
        self._places.setdefault(memory.task_id, []).append(place)
        self._count(memory, 1)

    def _count(self, memory: Memory, count: int) -> None:
        if memory.suggested:
            kept = category_name(memory.suggested) == category_name(memory.category)
            self._fates.setdefault(category_name(memory.suggested), Counter())[kept] += count
        if memory.explanation:
            given = self._explanations.setdefault(category_name(memory.category), Counter())
            if count > 0:
                given[memory.explanation] = given.pop(memory.explanation, 0) + count  # the last among equals
            else:
                given.subtract({memory.explanation: -count})
                if not given[memory.explanation]:
                    del given[memory.explanation]

    def _typical(self) -> _Typical:
        if self._known is None or abs(len(self._memories) - self._known[0]) * 10 > self._known[0]:
            places = np.random.default_rng(0).permutation(np.flatnonzero(self._alive))[:_SAMPLE]
            names = np.array([category_name(self._memories[place].category) for place in places])
            pairs = np.triu_indices(len(places), 1)
            rows = self._matrix[places].astype(np.float32)
            cosines = np.stack([(part @ part.T)[pairs] for part in _parts(rows)], axis=1)
            same = names[pairs[0]] == names[pairs[1]]
            self._known = len(self._memories), _told_apart(cosines[same], cosines[~same])
        return self._known[1]


def _told_apart(same: np.ndarray, different: np.ndarray) -> _Typical:
    """From the cosines of pairs of one category and of different ones, float (N, 2): Fisher's linear discriminant."""
    alike = [_spread(column, prior) for column, prior in zip(same.T, _ALIKE, strict=True)]
    unlike = [_spread(column, prior) for column, prior in zip(different.T, _UNLIKE, strict=True)]
    apart = [max(0.01, a[0] - u[0]) / (a[1] ** 2 + u[1] ** 2) for a, u in zip(alike, unlike, strict=True)]
    weights = np.array(apart, np.float32) / sum(apart)
    return _Typical(
        weights,
        _spread(same @ weights, _mixed(_ALIKE, weights)),
        _spread(different @ weights, _mixed(_UNLIKE, weights)),
    )


def _mixed(spreads: Sequence[Spread], weights: np.ndarray) -> Spread:
    """How a weighted sum spreads whose terms spread so, each for itself."""
    means, deviations = np.array(spreads).T
    return float(means @ weights), float(np.linalg.norm(deviations * weights))


def _spread(cosines: np.ndarray, prior: Spread) -> Spread:
    """Mean and deviation of cosines, float (N,), together with _PRIOR_PAIRS that spread like `prior`."""
    count = len(cosines)
    mean = (cosines.sum() + _PRIOR_PAIRS * prior[0]) / (count + _PRIOR_PAIRS)
    squares = np.square(cosines - mean).sum() + _PRIOR_PAIRS * (prior[1] ** 2 + (prior[0] - mean) ** 2)
    return float(mean), max(float(squares / (count + _PRIOR_PAIRS)) ** 0.5, _LEAST_DEVIATION)


def _evidence(cosine: float, alike: Spread, unlike: Spread) -> float:
    # More alike than two of a kind usually are is no evidence against it, and the other way round.
    logs = [
        -math.log(deviation) - 0.5 * min(0.0, side * (cosine - mean) / deviation) ** 2
        for side, (mean, deviation) in ((1, alike), (-1, unlike))
    ]
    return min(max(0.0, math.expm1(min(logs[0] - logs[1], 10.0))), _MOST_EVIDENCE)


def _parts(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What embeddings, float (..., E), say of looks and of outlines, see `model.Region`."""
    return embeddings[..., : -outline.LENGTH], embeddings[..., -outline.LENGTH :]


def _units(embedding: np.ndarray) -> np.ndarray:
    """The embedding, float32 (E,), with each of its parts made one of length 1."""
    parts = (part.astype(np.float32) for part in _parts(embedding))
    return np.concatenate([part / max(float(np.linalg.norm(part)), 1e-6) for part in parts])


def _rough(units: np.ndarray) -> tuple[np.ndarray, float]:
    """A vector, float (E,), as int8 (E,) times a step."""
    step = max(float(np.abs(units).max()), 1e-6) / 127
    return np.rint(units / step).astype(np.int8), step


def _weighted(embedding: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.concatenate([weight * part for weight, part in zip(weights, _parts(embedding), strict=True)])
