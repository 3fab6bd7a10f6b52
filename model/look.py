"""What an object looks like and how it moves, as numbers that change when a person would say that they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np

BINS = (8, 8, 8)
"""Of lightness, and of the two colours."""


class Thresholds(Protocol):
    """appearance: Hellinger distance, 0..1. motion: sizes of the object per second."""

    @property
    def appearance(self) -> float: ...
    @property
    def motion(self) -> float: ...


@dataclass(frozen=True, eq=False)
class Look:
    """An object over a moment.

    colours:  float64 (512,), shares of its pixels.
    velocity: float64 (2,), in its own sizes per second.
    """

    colours: np.ndarray
    velocity: np.ndarray

    def differs(self, other: Look, by: Thresholds) -> Literal["appearance", "motion"] | None:
        """In what it is not like another; None where it is."""
        likeness = float(np.sqrt(self.colours * other.colours).sum())
        if np.sqrt(max(0.0, 1 - likeness)) > by.appearance:
            return "appearance"
        return "motion" if float(np.linalg.norm(self.velocity - other.velocity)) > by.motion else None


class Smoothed:
    """An object's look, averaged over the last `seconds` or so."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self.look: Look | None = None
        self._place: tuple[float, np.ndarray, float] | None = None

    def add(self, image: np.ndarray, mask: np.ndarray, at: float) -> Look:
        """The look with one more frame: uint8 (H, W, 3), a mask, bool (H, W), that is not empty, and its time."""
        colours = _colours(image, mask)
        moments = cv2.moments(mask.view(np.uint8), binaryImage=True)
        centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
        size = float(np.sqrt(moments["m00"]))
        if self.look is None or self._place is None:
            self.look = Look(colours, np.zeros(2))
        else:
            before, where, extent = self._place
            passed = max(at - before, 1e-3)
            speed = (centre - where) / passed / max(size, extent)
            share = 1 - np.exp(-passed / self._seconds)
            self.look = Look(
                self.look.colours + share * (colours - self.look.colours),
                self.look.velocity + share * (speed - self.look.velocity),
            )
        self._place = at, centre, size
        return self.look


def _colours(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    lab = cv2.cvtColor(image[y : y + h, x : x + w], cv2.COLOR_RGB2Lab)
    inside = np.ascontiguousarray(mask[y : y + h, x : x + w]).view(np.uint8)
    counts = cv2.calcHist([lab], [0, 1, 2], inside, BINS, [0, 256] * 3)
    # A colour on the border of two bins is in both: a small change of light must not move it from one to the other.
    soft = sum(np.roll(counts, step, axis) for axis in range(3) for step in (-1, 1)) + 2 * counts
    return (soft / soft.sum()).ravel().astype(np.float64)
