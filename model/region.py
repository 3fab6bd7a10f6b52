"""What PAM answers: a mask and words about what it covers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FIELDS = ("category", "explanation", "caption")
"""The words of a region, in the order in which they are read."""


@dataclass(frozen=True)
class Words:
    """What the language model says of a region.

    scores: per field the mean probability of the tokens it wrote, 0..1.
    """

    category: str
    explanation: str
    caption: str
    scores: Mapping[str, float]

    def __getitem__(self, field: str) -> str:
        if field not in FIELDS:
            raise KeyError(field)
        return getattr(self, field)


@dataclass(frozen=True, eq=False)
class Candidate:
    """One mask that a prompt may mean: bool (H, W) at the size of the original image, and its expected IoU, 0..1."""

    mask: np.ndarray
    score: float


@dataclass(frozen=True, eq=False)
class Region:
    """One object of an image.

    mask:          bool (H, W) at the size of the original image.
    score:         how well the mask is expected to fit (predicted IoU), 0..1.
    words:         see Words.
    model_version: which model said so.
    """

    mask: np.ndarray
    score: float
    words: Words
    model_version: str
