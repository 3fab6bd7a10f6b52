"""Scenes drawn by a program, with the truth about every object in them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from model.training.shapes import CATEGORIES, DEFINITIONS, draw

DATA_VERSION = "scenes-1"
"""Changes whenever the same seed draws other scenes."""

COLOURS = {
    "red": (200, 40, 40),
    "orange": (235, 130, 35),
    "yellow": (230, 205, 60),
    "green": (60, 150, 60),
    "cyan": (70, 190, 195),
    "blue": (50, 85, 195),
    "purple": (125, 60, 160),
    "pink": (235, 140, 175),
    "brown": (120, 75, 40),
    "black": (25, 25, 25),
    "dark grey": (75, 75, 75),
    "grey": (130, 130, 130),
    "light grey": (190, 190, 190),
    "white": (240, 240, 240),
}
"""Colour names and a typical RGB value of each."""

SIZES = (("tiny", 0.004), ("small", 0.025), ("medium", 0.10), ("large", 0.30), ("huge", 1.01))
"""Size words and the share of the picture below which they hold."""

PLACES = (
    ("top left", "top", "top right"),
    ("left", "centre", "right"),
    ("bottom left", "bottom", "bottom right"),
)

METALS = ("grey", "light grey", "brown", "yellow", "dark grey")
TEXTURES = ("plain", "striped", "spotted", "rough")

_NAMES = tuple(COLOURS)
_LAB = cv2.cvtColor(np.array([list(COLOURS.values())], np.uint8), cv2.COLOR_RGB2LAB)[0].astype(np.float32)


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
    def caption(self) -> str:
        """One sentence about what can be seen."""
        look = "" if self.texture == "plain" else f"{self.texture} "
        article = "An" if self.size[0] in "aeiou" else "A"
        where = "in the centre" if self.place == "centre" else f"at the {self.place}"
        return f"{article} {self.size} {look}{self.colour} {self.category} {where}, on a {self.ground} background."


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One object: its visible mask, bool (S, S), and the facts about it."""

    mask: np.ndarray
    facts: Facts


@dataclass(frozen=True, eq=False)
class Scene:
    """A drawn picture, uint8 (S, S, 3) RGB, and the objects that can be seen in it."""

    image: np.ndarray
    objects: tuple[SceneObject, ...]


def colour_name(pixels: np.ndarray) -> str:
    """The name of the median colour of RGB pixels, uint8 (N, 3): the nearest typical value in CIELAB."""
    median = np.median(pixels, axis=0).astype(np.uint8)
    lab = cv2.cvtColor(median[None, None], cv2.COLOR_RGB2LAB)[0, 0].astype(np.float32)
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


def draw_scene(seed: int, index: int, side: int = 256) -> Scene:
    """Scene number `index` of the series `seed`: always the same picture for the same arguments."""
    rng = np.random.default_rng((seed, index))
    image = _background(side, rng)
    layers: list[tuple[np.ndarray, str, str]] = []
    for _ in range(int(rng.integers(2, 11))):
        category = str(rng.choice(CATEGORIES))
        mask, texture = _place(image, category, rng)
        if mask.any():
            layers = [(old & ~mask, c, t) for old, c, t in layers] + [(mask, category, texture)]
    final = _degrade(image, rng)
    objects = [
        SceneObject(mask, _facts(final, mask, category, texture))
        for mask, category, texture in layers
        if mask.sum() >= 48
    ]
    if not objects:
        return draw_scene(seed + 1_000_003, index, side)
    return Scene(final, tuple(objects))


def _facts(image: np.ndarray, mask: np.ndarray, category: str, texture: str) -> Facts:
    return Facts(
        category, colour_name(image[mask]), texture, size_name(mask), place_name(mask), ground_name(image, mask)
    )


def _smooth_noise(side: int, cells: int, rng: np.random.Generator, channels: int = 1) -> np.ndarray:
    coarse = rng.random((cells, cells, channels)).astype(np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).reshape(side, side, channels)


def _some_colour(rng: np.random.Generator, names: tuple[str, ...] = _NAMES) -> np.ndarray:
    base = np.array(COLOURS[str(rng.choice(names))], np.float32)
    return np.clip(base + rng.normal(0, 14, 3), 0, 255).astype(np.float32)


def _background(side: int, rng: np.random.Generator) -> np.ndarray:
    base = np.broadcast_to(_some_colour(rng), (side, side, 3)).copy()
    if rng.random() < 0.6:
        base += (_some_colour(rng) - base) * _smooth_noise(side, int(rng.integers(2, 6)), rng) * rng.uniform(0.2, 1)
    if rng.random() < 0.5:
        grain = _smooth_noise(side, int(rng.choice([16, 32, 64, 128])), rng) - 0.5
        base += grain * rng.uniform(10, 70)
    if rng.random() < 0.15:
        yy, xx = np.mgrid[:side, :side]
        angle, period = rng.uniform(0, np.pi), rng.uniform(8, 40)
        wave = np.sin((xx * np.cos(angle) + yy * np.sin(angle)) * 2 * np.pi / period)
        base += (wave * rng.uniform(8, 30))[..., None]
    return np.clip(base, 0, 255)


def _place(image: np.ndarray, category: str, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Paint one thing onto `image` in place; returns its mask and its texture."""
    side = image.shape[0]
    extent = int(np.clip(side * np.exp(rng.uniform(np.log(0.08), np.log(1.1))), 14, 1.1 * side))
    outline, relief = draw(category, 2 * extent, rng)
    angle = rng.uniform(0, 360) if category in ("leaf", "stick", "star", "moon", "fish", "ring") else rng.normal(0, 8)
    turn = cv2.getRotationMatrix2D((extent, extent), angle, 0.5)
    x, y = rng.uniform(-0.03, 1.03, 2) * side
    turn[:, 2] += (x - extent, y - extent)
    soft = cv2.warpAffine(outline, turn, (side, side), flags=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    shade = cv2.warpAffine(relief, turn, (side, side), borderValue=1.0)[..., None]
    colour = _some_colour(rng, METALS if category == "coin" and rng.random() < 0.9 else _NAMES)
    texture = "rough" if category == "coin" else str(rng.choice(TEXTURES, p=(0.55, 0.15, 0.15, 0.15)))
    paint = _textured(colour, texture, side, extent, rng) * shade
    if rng.random() < 0.5:
        shift = np.array([[1, 0, rng.uniform(-6, 6)], [0, 1, rng.uniform(2, 8)]], np.float32)
        shadow = cv2.GaussianBlur(cv2.warpAffine(soft, shift, (side, side)), (0, 0), rng.uniform(1.5, 5))
        image *= 1 - rng.uniform(0.2, 0.6) * shadow[..., None]
    image += (np.clip(paint, 0, 255) - image) * soft
    return soft[..., 0] > 0.5, texture


def _textured(colour: np.ndarray, texture: str, side: int, extent: int, rng: np.random.Generator) -> np.ndarray:
    paint = np.broadcast_to(colour, (side, side, 3)).astype(np.float32)
    if texture == "plain":
        return paint
    yy, xx = np.mgrid[:side, :side].astype(np.float32)
    if texture == "rough":
        return paint * (1 + rng.uniform(0.15, 0.4) * (_smooth_noise(side, 96, rng) - 0.5) * 2)
    period = max(5.0, extent * rng.uniform(0.12, 0.25))
    angle = rng.uniform(0, np.pi)
    a = (xx * np.cos(angle) + yy * np.sin(angle)) / period
    b = (yy * np.cos(angle) - xx * np.sin(angle)) / period
    if texture == "striped":
        pattern = (a % 1) < rng.uniform(0.3, 0.45)
    else:
        pattern = (a % 1 - 0.5) ** 2 + (b % 1 - 0.5) ** 2 < rng.uniform(0.06, 0.11)
    other = colour * 0.35 if colour.mean() > 110 else colour + 110
    return np.where(pattern[..., None], other, paint)


def _degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What cameras and files do: light, blur, noise, grey, compression."""
    image = 255 * np.clip(image / 255, 0, 1) ** rng.uniform(0.7, 1.4)
    if rng.random() < 0.3:
        image = 128 + (image - 128) * rng.uniform(0.5, 0.9)
    if rng.random() < 0.25:
        image = np.repeat(image.mean(2, keepdims=True), 3, axis=2)
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3))
    if rng.random() < 0.6:
        image = image + rng.normal(0, rng.uniform(1, 9), image.shape)
    final = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 90))]
        final = np.asarray(cv2.imdecode(cv2.imencode(".jpg", final, quality)[1], cv2.IMREAD_COLOR))
    return final
