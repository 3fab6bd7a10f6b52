"""Two voices on what a region is: the model's own, and that of what annotators called its like."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from backend.category import category_name
from backend.memory.index import Neighbour

Source = Literal["model", "memory"]

STRANGER = 2.0
"""What speaks for a region's being like nothing that is remembered, in units of `Neighbour.evidence`."""


@dataclass(frozen=True)
class Opinion:
    """A category, how probable it is, 0..1, and whose word it is."""

    category: str
    probability: float
    source: Source


def weigh(neighbours: Sequence[Neighbour], own: Mapping[str, float], closed: bool = False) -> Opinion:
    """The likeliest category.

    The neighbours vote, each with its evidence, against the chance that the region is like none of them;
    what they leave open is the model's to say.

    own:    what the model says a region is, with probabilities that sum to 1 at most, as far as it is trusted; at least
            one.
    closed: whether no category counts but those in `own`.
    """
    evidence: dict[str, list[float]] = {}
    names: dict[str, str] = {category_name(name): name for name in own}
    for neighbour in neighbours:
        if closed and category_name(neighbour.category) not in names:
            continue
        names.setdefault(category_name(neighbour.category), neighbour.category)
        evidence.setdefault(category_name(neighbour.category), []).append(neighbour.evidence)
    # Neighbours of one category are like each other, too: each further one says less that is new.
    votes = {name: sum(each) / math.sqrt(len(each)) for name, each in evidence.items()}
    total = sum(votes.values()) + STRANGER
    open_ = STRANGER / total
    said = {category_name(name): open_ * probability for name, probability in own.items()}
    mixed = {name: votes.get(name, 0.0) / total + said.get(name, 0.0) for name in {**said, **votes}}
    best = max(mixed, key=lambda name: mixed[name])
    from_memory = votes.get(best, 0.0) / total
    return Opinion(names[best], min(1.0, mixed[best]), "memory" if from_memory > said.get(best, 0.0) else "model")
