"""What PAM answers: a mask and words about what it covers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from model.vocabulary import Ranking

FIELDS = ("category", "explanation", "caption")
"""The words of a region, in the order in which they are read."""


@dataclass(frozen=True)
class Words:
    """What the language model says of a region.

    log_probabilities: per field the mean log-probability of the tokens it wrote; -inf where it wrote nothing. Of a
                       category that was chosen from a list, the log of its probability within the list.
    ranking:           of that list, where there was one; says how sure the choice is, and whether any label fits.
    """

    category: str
    explanation: str
    caption: str
    log_probabilities: Mapping[str, float]
    ranking: Ranking | None = None

    @property
    def scores(self) -> dict[str, float]:
        """Per field the geometric mean of its tokens' probabilities, 0..1: what is low is worth a look."""
        return {field: math.exp(value) for field, value in self.log_probabilities.items()}

    def __getitem__(self, field: str) -> str:
        if field not in FIELDS:
            raise KeyError(field)
        return getattr(self, field)


@dataclass(frozen=True, eq=False)
class Candidate:
    """One mask that a prompt may mean: bool (H, W) at the size of the original image, and its expected IoU, 0..1."""

    mask: np.ndarray
    score: float


class Candidates(Sequence[Candidate]):
    """Masks that a prompt may mean, best first, each made when it is asked for.

    On a large photograph, bringing a mask to the image's size takes longer than finding it, and most are never looked
    at. make: from a number, 0..count - 1, to the candidate. keep: whether what was made is kept for the next time.
    """

    def __init__(self, count: int, make: Callable[[int], Candidate], keep: bool = True):
        self._count, self._make, self._keep = count, make, keep
        self._made: dict[int, Candidate] = {}

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> list[Candidate]: ...
    def __getitem__(self, index: int | slice) -> Candidate | list[Candidate]:
        if isinstance(index, slice):
            return [self[i] for i in range(self._count)[index]]
        number = range(self._count)[index]
        if (made := self._made.get(number)) is None:
            made = self._make(number)
            if self._keep:
                self._made[number] = made
        return made


@dataclass(frozen=True, eq=False)
class Region:
    """One object of an image.

    mask:          bool (H, W) at the size of the original image.
    score:         how well the mask is expected to fit (predicted IoU), 0..1.
    object_score:  probability that the object is there at all, 0..1.
    words:         see Words.
    model_version: which model said so.
    embedding:     what it is found again by, float32 (E,): first what the semantic perceiver saw in it, then the last
                   model.outline.LENGTH numbers tell the outline of its mask. Each part is of length sqrt(1/2);
                   regions of a kind are near each other, by the cosine, for one model version. None where it was
                   not kept.
    """

    mask: np.ndarray
    score: float
    object_score: float
    words: Words
    model_version: str
    embedding: np.ndarray | None = None
