"""Two voices on what a region is: the model's own, and that of what annotators called its like."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from backend.memory.index import Neighbour, key

Source = Literal["model", "memory"]

SHARPNESS = 1.5
"""How much more a neighbour's vote counts for each standard deviation that it is more alike."""

STRANGER = 20.0
"""The vote of "like nothing that is remembered", in votes of a neighbour that is no more alike than any."""


@dataclass(frozen=True)
class Opinion:
    """A category, how probable it is, 0..1, and whose word it is."""

    category: str
    probability: float
    source: Source


def weigh(neighbours: Sequence[Neighbour], own: Mapping[str, float], closed: bool = False) -> Opinion:
    """The likeliest category.

    The neighbours vote, each the more the more alike it is, against the chance that the region is like none of them;
    what they leave open is the model's to say.

    own:    what the model says a region is, with probabilities that sum to 1 at most, as far as it is trusted; at least
            one.
    closed: whether no category counts but those in `own`.
    """
    votes: dict[str, float] = {}
    names: dict[str, str] = {key(name): name for name in own}
    for neighbour in neighbours:
        if closed and key(neighbour.category) not in names:
            continue
        names.setdefault(key(neighbour.category), neighbour.category)
        vote = math.exp(min(SHARPNESS * neighbour.likeness, 50.0))
        votes[key(neighbour.category)] = votes.get(key(neighbour.category), 0.0) + vote
    total = sum(votes.values()) + STRANGER
    open_ = STRANGER / total
    said = {key(name): open_ * probability for name, probability in own.items()}
    mixed = {name: votes.get(name, 0.0) / total + said.get(name, 0.0) for name in {**said, **votes}}
    best = max(mixed, key=lambda name: mixed[name])
    from_memory = votes.get(best, 0.0) / total
    return Opinion(names[best], min(1.0, mixed[best]), "memory" if from_memory > said.get(best, 0.0) else "model")
