"""What happens to an object in a clip, from its masks alone, and the sentence for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.training.facts import Facts, at, place_name
from model.training.shapes import CATEGORIES, UNKNOWN
from model.trajectory import STEP, spot

STILL = STEP
"""What moves by less than this share of the picture, stays."""

GROWN = 1.6
"""An area that is so many times that of the beginning makes an object larger."""

_VERBS = {
    "": ("stays", "moves"),
    "stays": ("still stays", "now moves"),
    "moves": ("stops", "moves on"),
}
"""What it did in the clip before, to what it is said to do: where it stays now, and where it moves."""


@dataclass(frozen=True)
class Story:
    """An object through a clip.

    facts:  of the frame that shows most of it.
    frames: on how many it was seen.
    start, far, end: places on the first one, on the one where it was farthest from there, and on the last one.
    moves:  whether it left its place at all.
    growth: "larger", "smaller" or "".
    """

    facts: Facts
    frames: int
    start: str
    far: str
    end: str
    moves: bool
    growth: str

    @classmethod
    def of(cls, facts: Facts, masks: Sequence[np.ndarray]) -> Story:
        """masks: bool (H, W), none of them empty, in the order of the clip."""
        spots = np.array([spot(mask) for mask in masks])
        away = np.linalg.norm(spots[:, :2] - spots[0, :2], axis=1)
        places = [place_name(masks[i]) for i in (0, int(away.argmax()), -1)]
        first, last = spots[[0, -1], 2]
        return cls(
            facts=facts,
            frames=len(masks),
            start=places[0],
            far=places[1],
            end=places[2],
            moves=bool(away.max() >= STILL),
            growth="larger" if last > GROWN * first else "smaller" if first > GROWN * last else "",
        )

    def caption(self, previous: str = "") -> str:
        """One sentence about what happens.

        previous: what was said of the clip before. What cannot be recognised keeps the name that it has there.
        """
        facts = self.facts
        if facts.category == UNKNOWN:
            facts = replace(facts, category=named(previous) or UNKNOWN)
        if self.frames == 1:
            return facts.caption
        verb = _VERBS[manner(previous)][self.moves]
        begins = "The" if previous else "A"
        grows = f" and gets {self.growth}" if self.growth else ""
        return f"{begins} {facts.subject} {verb} {self.way}{grows}, on a {facts.ground} background."

    @property
    def way(self) -> str:
        """Where it is, or where it goes, in a sentence."""
        if not self.moves:
            return at(self.start)
        if self.start != self.end:
            return f"from the {self.start} to the {self.end}"
        if self.start != self.far:
            return f"from the {self.start} to the {self.far} and back"
        return f"a little {at(self.start)}"


def manner(caption: str) -> str:
    """Whether a caption says that an object "moves", or "stays"; "" where it says neither."""
    if re.search(r"\bmoves\b", caption):
        return "moves"
    return "stays" if re.search(r"\b(stays|stops)\b", caption) else ""


def named(caption: str) -> str | None:
    """The category that a caption of ours speaks of."""
    subject = caption.partition(",")[0].split()
    return next((name for name in CATEGORIES if name in subject), None)
