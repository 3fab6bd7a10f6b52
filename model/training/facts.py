"""What can be said of a region from its pixels alone, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from model.training.shapes import DEFINITIONS, UNKNOWN

_PROTOTYPES = (
    ("red", (200, 40, 40)),
    ("red", (125, 30, 35)),
    ("orange", (235, 130, 35)),
    ("yellow", (230, 205, 60)),
    ("green", (60, 150, 60)),
    ("green", (35, 80, 45)),
    ("green", (150, 190, 95)),
    ("blue", (50, 85, 195)),
    ("blue", (30, 45, 110)),
    ("blue", (115, 175, 225)),
    ("purple", (125, 60, 160)),
    ("purple", (170, 130, 200)),
    ("pink", (235, 140, 175)),
    ("brown", (120, 75, 40)),
    ("brown", (165, 120, 80)),
    ("black", (25, 25, 25)),
    ("grey", (80, 80, 80)),
    ("grey", (130, 130, 130)),
    ("grey", (185, 185, 185)),
    ("white", (242, 242, 242)),
)
"""Typical RGB values of the eleven basic colour terms (Berlin and Kay, Basic Color Terms, 1969)."""

COLOURS = tuple(dict.fromkeys(name for name, _ in _PROTOTYPES))
VALUES = {colour: tuple(rgb for name, rgb in _PROTOTYPES if name == colour) for colour in COLOURS}
"""Colour name to its typical RGB values."""

SIZES = (("small", 0.02), ("medium", 0.10), ("large", 0.30), ("huge", 1.01))
"""Size words and the share of the picture below which they hold."""

PLACES = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)

TEXTURES = ("plain", "striped", "spotted", "rough")

_NAMES = tuple(name for name, _ in _PROTOTYPES)


def _lab(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.asarray(rgb, np.float32)[None] / 255, cv2.COLOR_RGB2LAB)[0]


_LAB = _lab(np.array([rgb for _, rgb in _PROTOTYPES]))


@dataclass(frozen=True)
class Facts:
    """What can be said of an object, measured on the pixels of its visible mask except category and texture."""

    category: str
    colour: str
    texture: str
    size: str
    place: str
    ground: str

    @property
    def explanation(self) -> str:
        """What a thing of this category is and is for."""
        return DEFINITIONS[self.category]

    @property
    def subject(self) -> str:
        """What it is, with its looks and without an article."""
        look = "" if self.texture == "plain" else f"{self.texture} "
        return f"{self.size} {look}{self.colour} {self.category}"

    @property
    def caption(self) -> str:
        """One sentence about what can be seen."""
        return f"A {self.subject} {at(self.place)}, on a {self.ground} background."


def at(place: str) -> str:
    """Where that is, in a sentence."""
    return "in the centre" if place == "centre" else f"at the {place}"


def look_at(image: np.ndarray, mask: np.ndarray, category: str = UNKNOWN, texture: str = "plain") -> Facts:
    """The facts of what a bool mask (H, W) covers on uint8 (H, W, 3) RGB."""
    return Facts(
        category, colour_name(image[mask]), texture, size_name(mask), place_name(mask), ground_name(image, mask)
    )


def colour_name(pixels: np.ndarray) -> str:
    """The name of the median colour of RGB pixels, uint8 (N, 3): the nearest typical value in CIELAB."""
    lab = _lab(np.median(pixels, axis=0)[None])[0]
    return _NAMES[int(np.square(_LAB - lab).sum(1).argmin())]


def size_name(mask: np.ndarray) -> str:
    """The size word for a bool mask (H, W)."""
    share = mask.mean()
    return next(name for name, limit in SIZES if share < limit)


def place_name(mask: np.ndarray) -> str:
    """Which ninth of the picture holds the centroid of a bool mask (H, W)."""
    ys, xs = np.nonzero(mask)
    row = min(2, int(3 * (ys.mean() + 0.5) / mask.shape[0]))
    column = min(2, int(3 * (xs.mean() + 0.5) / mask.shape[1]))
    return PLACES[row][column]


def ground_name(image: np.ndarray, mask: np.ndarray) -> str:
    """The colour name of what surrounds a bool mask (H, W) closely."""
    reach = max(3, round(0.02 * max(mask.shape)))
    around = cv2.dilate(mask.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8)).astype(bool) & ~mask
    return colour_name(image[around] if around.any() else image.reshape(-1, 3))


def lab_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Distance of two RGB colours, float (3,) of 0..255, in CIELAB (CIE 1976)."""
    return float(np.linalg.norm(_lab(one[None])[0] - _lab(other[None])[0]))
