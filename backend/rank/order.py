"""From what is uncertain and what is new to an order: greedy k-center, weighted by how unsure the model is.

K-center greedy (Sener and Savarese, "Active learning for convolutional neural networks: a core-set approach", ICLR
2018) takes next what is farthest from everything that is labelled or was taken before, so that near-duplicates wait.
What the model is sure of is farther down by as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GREEDY = 1000
"""Tasks that are taken one by one, each with a look at those before it; the rest follows by what was known then."""

REGIONS = 8
"""Regions of a task that count, the most uncertain ones."""

PATIENCE, LEAST_NEW = 0.1, 0.01
"""What is added to how unsure and to how new tasks are, so that neither alone makes them worth nothing."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One unlabelled task.

    unsure:     float (R,), 0..1, of each region how likely something about it is wrong.
    embeddings: float (R, E), what each region looks like, of length 1; see `model.Region`.
    """

    task_id: int
    unsure: np.ndarray
    embeddings: np.ndarray


@dataclass(frozen=True)
class Place:
    """One task in the order: how unsure its regions are and how far from what is known, both on average and 0..1."""

    task_id: int
    unsure: float
    new: float


def order(tasks: Sequence[Asked], known: np.ndarray, greedy: int = GREEDY) -> list[Place]:
    """All tasks, the one to ask about first at the front; those without regions at the end.

    known: float (K, E), embeddings of regions that are labelled. greedy: see GREEDY.
    """
    tasks = [_bounded(task) for task in tasks]
    blank = [task for task in tasks if not len(task.unsure)]
    asked = [task for task in tasks if len(task.unsure)]
    if not asked:
        return [Place(task.task_id, 0.0, 0.0) for task in blank]
    regions = np.concatenate([task.embeddings for task in asked]).astype(np.float32)
    unsure = np.array([task.unsure.mean() for task in asked])
    starts = np.cumsum([0] + [len(task.unsure) for task in asked])
    distance = _distances(regions, known.astype(np.float32))
    left = np.ones(len(asked), bool)
    places: list[Place] = []
    while left.any() and len(places) < greedy:
        new = np.add.reduceat(distance, starts[:-1]) / np.diff(starts)
        worth = np.where(left, _worth(unsure, new), -1.0)
        best = int(worth.argmax())
        left[best] = False
        places.append(Place(asked[best].task_id, float(unsure[best]), float(new[best])))
        taken = regions[starts[best] : starts[best + 1]]
        distance = np.minimum(distance, _distances(regions, taken))
    new = np.add.reduceat(distance, starts[:-1]) / np.diff(starts)
    rest = np.flatnonzero(left)
    rest = rest[np.argsort(-_worth(unsure, new)[rest], kind="stable")]
    places += [Place(asked[k].task_id, float(unsure[k]), float(new[k])) for k in rest]
    return places + [Place(task.task_id, 0.0, 0.0) for task in blank]


def _worth(unsure: np.ndarray, new: np.ndarray) -> np.ndarray:
    return (LEAST_NEW + new) * (PATIENCE + unsure)


def _bounded(task: Asked) -> Asked:
    first = np.argsort(-task.unsure, kind="stable")[:REGIONS]
    return Asked(task.task_id, task.unsure[first], task.embeddings[first])


def _distances(regions: np.ndarray, known: np.ndarray) -> np.ndarray:
    """float (R,), 0..1: half of 1 minus the cosine with the most similar of `known`; 1 where there are none."""
    nearest = np.full(len(regions), -1.0, np.float32)
    for start in range(0, len(known), 1024):
        nearest = np.maximum(nearest, (regions @ known[start : start + 1024].T).max(axis=1))
    return (1 - nearest) / 2
