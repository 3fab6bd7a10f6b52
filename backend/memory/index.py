"""The named regions of one project, as one matrix: which of them a new region is like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.ledger import Memory

MOST = 100_000
"""Memories of a project that are looked through; the oldest give way."""

NEIGHBOURS = 16
"""Memories that have a vote."""

_SAMPLE = 256
_PRIOR_MEAN, _PRIOR_DEVIATION, _PRIOR_PAIRS = 0.3, 0.2, 6
_LEAST_DEVIATION = 0.02


@dataclass(frozen=True)
class Neighbour:
    """A memory that is like the region asked for.

    likeness: how many standard deviations their embeddings' cosine lies above what two regions of the project have.
    """

    category: str
    likeness: float


class Index:
    """Memories of one project and one model. Not thread-safe.

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
        if len(self._memories) > 2 * len(self) + _SAMPLE or len(self) > MOST:
            kept = [self._memories[place] for place in np.flatnonzero(self._alive)[-MOST:]]
            self._clear()
            for memory in kept:
                self._add(memory)

    def neighbours(self, embedding: np.ndarray) -> list[Neighbour]:
        """The NEIGHBOURS memories that are most like a region with this embedding, float (E,), best first; or fewer."""
        count = len(self._memories)
        cosines = np.where(self._alive[:count], self._matrix[:count] @ _unit(embedding), -np.inf)
        few = np.argpartition(-cosines, NEIGHBOURS)[:NEIGHBOURS] if count > NEIGHBOURS else np.arange(count)
        mean, deviation = self._typical()
        return [
            Neighbour(self._memories[place].category, float((cosines[place] - mean) / deviation))
            for place in few[np.argsort(-cosines[few], kind="stable")]
            if self._alive[place]
        ]

    def settled(self, category: str) -> tuple[str, float] | None:
        """The explanation that annotators gave most often, and last among equals, to a category; and its share.

        None where they gave none.
        """
        given = self._explanations.get(key(category))
        if not given:
            return None
        most = max(given.values())
        return [text for text, count in given.items() if count == most][-1], most / given.total()

    def trust(self, category: str) -> float:
        """The share, 0..1, of the regions that the model gave this category whose annotators left it so.

        Before there are any it is 1; Laplace's rule of succession, with one kept region beforehand.
        """
        fates = self._fates.get(key(category), Counter())
        return (fates[True] + 1) / (fates.total() + 1)

    def _clear(self) -> None:
        self._matrix: np.ndarray = np.zeros((_SAMPLE, self._width), np.float32)
        self._alive: np.ndarray = np.zeros(_SAMPLE, bool)
        self._memories: list[Memory] = []
        self._places: dict[int, list[int]] = {}
        self._explanations: dict[str, Counter[str]] = {}
        self._fates: dict[str, Counter[bool]] = {}
        self._spread: tuple[int, float, float] | None = None

    def _add(self, memory: Memory) -> None:
        place = len(self._memories)
        if place == len(self._matrix):
            self._matrix = np.concatenate([self._matrix, np.zeros_like(self._matrix)])
            self._alive = np.concatenate([self._alive, np.zeros_like(self._alive)])
        self._matrix[place], self._alive[place] = _unit(memory.embedding), True
        self._memories.append(memory)
        self._places.setdefault(memory.task_id, []).append(place)
        self._count(memory, 1)

    def _count(self, memory: Memory, count: int) -> None:
        if memory.suggested:
            kept = key(memory.suggested) == key(memory.category)
            self._fates.setdefault(key(memory.suggested), Counter())[kept] += count
        if memory.explanation:
            given = self._explanations.setdefault(key(memory.category), Counter())
            given[memory.explanation] = given.pop(memory.explanation, 0) + count
            self._explanations[key(memory.category)] = +given

    def _typical(self) -> tuple[float, float]:
        """Mean and standard deviation of the cosine of two regions, of a sample; of few, mixed with a guess."""
        if self._spread is None or abs(len(self._memories) - self._spread[0]) * 10 > self._spread[0]:
            rows = np.random.default_rng(0).permutation(np.flatnonzero(self._alive))[:_SAMPLE]
            cosines = (self._matrix[rows] @ self._matrix[rows].T)[np.triu_indices(len(rows), 1)]
            share = len(cosines) / (len(cosines) + _PRIOR_PAIRS)
            mean, variance = (cosines.mean(), cosines.var()) if len(cosines) else (0.0, 0.0)
            mean = share * mean + (1 - share) * _PRIOR_MEAN
            deviation = (share * variance + (1 - share) * _PRIOR_DEVIATION**2) ** 0.5
            self._spread = len(self._memories), float(mean), max(float(deviation), _LEAST_DEVIATION)
        return self._spread[1:]


def key(category: str) -> str:
    """What two categories have in common that differ in case and spaces alone."""
    return " ".join(category.split()).casefold()


def _unit(embedding: np.ndarray) -> np.ndarray:
    vector = embedding.astype(np.float32)
    return vector / max(float(np.linalg.norm(vector)), 1e-6)
