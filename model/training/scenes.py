"""Scenes drawn by a program, with the truth about every object in them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from model.training import photographs
from model.training.facts import COLOURS, TEXTURES, VALUES, Facts, lab_distance, look_at
from model.training.kinds import KINDS
from model.training.shapes import CATEGORIES, UNKNOWN, draw

DATA_VERSION = "scenes-6"
"""Changes whenever the same seed draws other scenes to train on."""

SIDE = 384
"""Side of the pictures that words are learned and measured on, in pixels."""

SHEET = 288
"""Largest side of the sheet on which a thing is drawn, in pixels."""

METALS = ("grey", "brown", "yellow")
TURNED = ("leaf", "stick", "star", "moon", "fish", "ring", "spoon", UNKNOWN)
"""Things that lie about at any angle."""

RECOGNISABLE = 0.45
"""A thing of which less can be seen is an object, and no more is to be said of what it is."""

ROUGH = 9.0
"""Mean deviation of the pixels of a surface from what surrounds them, of 255, above which it is called rough."""

_SHARES = np.array([3.0 if category == UNKNOWN else 1.0 for category in CATEGORIES])
WEIGHTS = _SHARES / _SHARES.sum()
"""How likely a thing is of which of CATEGORIES."""


@dataclass(frozen=True, eq=False)
class SceneObject:
    """One object: its visible mask, bool (S, S), and the facts about it.

    kind: which of all things that are to be told apart it is: a category by its place in CATEGORIES, a numbered shape
          by its number after these; None for things like no other.
    """

    mask: np.ndarray
    facts: Facts
    kind: int | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """A drawn picture, uint8 (S, S, 3) RGB, and the objects that can be seen in it."""

    image: np.ndarray
    objects: tuple[SceneObject, ...]


@dataclass(frozen=True, eq=False)
class Thing:
    """What was painted: its mask, bool (S, S), and its area in pixels, parts outside the picture included."""

    mask: np.ndarray
    area: float
    category: str
    texture: str
    kind: int | None


def draw_scene(seed: int, index: int, side: int = SIDE, *, photographed: bool = False) -> Scene:
    """Scene number `index` of the series `seed`: always the same picture for the same arguments.

    photographed: whether grounds and surfaces may come from photographs, and numbered shapes lie among the things.
    """
    rng = np.random.default_rng((seed, index))
    other = np.random.default_rng((seed, index, 11)) if photographed else None
    image = background(side, rng)
    if other is not None and other.random() < 0.3:
        image = photographs.cut(other, side, photographs.SURFACES).image.astype(np.float32)
    taken = np.zeros((side, side), bool)
    things: list[tuple[np.ndarray, Thing]] = []
    for _ in range(int(rng.integers(1, 7))):
        category = str(rng.choice(CATEGORIES, p=WEIGHTS))
        coat, kind = None, None
        if other is not None and other.random() < (0.6 if category == UNKNOWN else 0.15):
            category, kind = UNKNOWN, int(other.integers(KINDS))
        if other is not None and other.random() < (0.4 if category == UNKNOWN else 0.08):
            coat = photographs.cut(other, side, photographs.SURFACES).image
        thing = place(image, taken, category, kind, rng, coat)
        things = [(old & ~thing.mask, other) for old, other in things] + [(thing.mask, thing)]
        taken |= thing.mask
    final = degrade(image, rng)
    objects = [
        SceneObject(mask, look_at(final, mask, _recognised(thing, mask), thing.texture), _kind(thing, mask))
        for mask, thing in things
        if mask.sum() >= 0.0012 * side * side
    ]
    if not objects:
        return draw_scene(seed + 1_000_003, index, side, photographed=photographed)
    return Scene(final, tuple(objects))


def photo_scene(seed: int, index: int, side: int = SIDE, names: tuple[str, ...] = photographs.VIEWS) -> Scene:
    """One of these photographs as a scene: its parts have colour, size and place like all things, and no name."""
    rng = np.random.default_rng((seed, index, 13))
    view = photographs.cut(rng, side, names)
    masks = []
    if rng.random() < photographs.LUMP:
        view, piece = photographs.lump(view, rng, names)
        masks.append(piece)
    final = degrade(view.image.astype(np.float32), rng)
    masks += photographs.things(view, rng)
    objects = [SceneObject(mask, look_at(final, mask, UNKNOWN, _grain(final, mask))) for mask in masks]
    return Scene(final, tuple(objects)) if objects else draw_scene(seed, index, side, photographed=True)


def _grain(image: np.ndarray, mask: np.ndarray) -> str:
    """The texture word for a part of a photograph: rough where its brightness changes from pixel to pixel."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    local = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 3))
    return "rough" if float(local[mask].mean()) > ROUGH else "plain"


def _recognised(thing: Thing, visible: np.ndarray) -> str:
    return thing.category if visible.sum() >= RECOGNISABLE * thing.area else UNKNOWN


def _kind(thing: Thing, visible: np.ndarray) -> int | None:
    if visible.sum() < RECOGNISABLE * thing.area:
        return None
    if thing.kind is not None:
        return len(CATEGORIES) + thing.kind
    return None if thing.category == UNKNOWN else CATEGORIES.index(thing.category)


def _noise(side: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    coarse = rng.random((cells, cells), np.float32)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)[..., None]


def _some_colour(rng: np.random.Generator, names: tuple[str, ...] = COLOURS) -> np.ndarray:
    values = VALUES[str(rng.choice(names))]
    base = np.array(values[int(rng.integers(len(values)))], np.float32)
    return np.clip(base + rng.normal(0, 10, 3), 0, 255).astype(np.float32)


def background(side: int, rng: np.random.Generator) -> np.ndarray:
    """A ground of one or two colours, grained or striped: float32 (S, S, 3)."""
    base = np.broadcast_to(_some_colour(rng), (side, side, 3)).copy()
    if rng.random() < 0.5:
        base += (_some_colour(rng) - base) * _noise(side, int(rng.integers(2, 6)), rng) * np.float32(rng.random())
    if rng.random() < 0.5:
        base += (_noise(side, int(rng.choice([16, 32, 64, 128])), rng) - 0.5) * np.float32(rng.uniform(10, 60))
    if rng.random() < 0.15:
        yy, xx = np.mgrid[:side, :side].astype(np.float32)
        angle, period = rng.uniform(0, np.pi), rng.uniform(8, 40)
        wave = np.sin((xx * np.cos(angle) + yy * np.sin(angle)) * np.float32(2 * np.pi / period))
        base += (wave * np.float32(rng.uniform(8, 30)))[..., None]
    return np.clip(base, 0, 255)


def place(
    image: np.ndarray,
    taken: np.ndarray,
    category: str,
    kind: int | None,
    rng: np.random.Generator,
    coat: np.ndarray | None,
) -> Thing:
    """Paint one thing onto `image`, float32 (S, S, 3), in place.

    coat: uint8 (S, S, 3), what it is covered with instead of a colour and a texture.
    """
    side = image.shape[0]
    extent = side * float(np.exp(rng.uniform(np.log(0.1), np.log(1.0))))
    sheet = int(np.clip(2 * extent, 48, SHEET))
    outline, relief = draw(category, sheet, rng, kind)
    angle = rng.uniform(0, 360) if category in TURNED else rng.normal(0, 8)
    if kind is not None:
        angle = rng.normal(0, 20)
    turn = cv2.getRotationMatrix2D((sheet / 2, sheet / 2), angle, extent / sheet)
    x, y = _free_spot(taken, extent, rng)
    reach = 0.72 * extent
    x0, y0, x1, y1 = (int(np.clip(v, 0, side)) for v in (x - reach, y - reach, x + reach + 1, y + reach + 1))
    turn[:, 2] += (x - x0 - sheet / 2, y - y0 - sheet / 2)
    size = (x1 - x0, y1 - y0)
    soft = cv2.warpAffine(outline, turn, size, flags=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    shade = cv2.warpAffine(relief, turn, size, borderValue=1.0)[..., None]
    view = image[y0:y1, x0:x1]
    colour = _contrasting(view, METALS if category == "coin" and rng.random() < 0.9 else COLOURS, rng)
    texture = "rough" if category == "coin" else str(rng.choice(TEXTURES, p=(0.55, 0.15, 0.15, 0.15)))
    paint = _textured(colour, texture, (y1 - y0, x1 - x0), extent, rng) * shade
    if coat is not None:
        paint = coat[y0:y1, x0:x1] * shade
        texture = _grain(coat, np.ones(coat.shape[:2], bool))
    if rng.random() < 0.5:
        shift = np.array([[1, 0, rng.uniform(-6, 6)], [0, 1, rng.uniform(2, 8)]], np.float32)
        shadow = cv2.GaussianBlur(cv2.warpAffine(soft, shift, size), (0, 0), rng.uniform(1.5, 5))
        view *= 1 - np.float32(rng.uniform(0.2, 0.5)) * shadow[..., None]
    view += (np.clip(paint, 0, 255) - view) * soft
    mask = np.zeros(taken.shape, bool)
    mask[y0:y1, x0:x1] = soft[..., 0] > 0.5
    return Thing(mask, float((outline > 127).sum()) * (extent / sheet) ** 2, category, texture, kind)


def _free_spot(taken: np.ndarray, extent: float, rng: np.random.Generator) -> tuple[float, float]:
    """Where a thing comes to lie: mostly beside the others, now and then on top of them or over the edge."""
    side = taken.shape[0]
    apart = rng.random() < 0.8
    for _ in range(6):
        margin = 0.45 * extent if apart else 0.0
        x, y = rng.uniform(min(margin, side / 2), max(side - margin, side / 2), 2)
        x0, y0, x1, y1 = (int(np.clip(v, 0, side)) for v in (x - margin, y - margin, x + margin, y + margin))
        if not apart or not taken[y0:y1:4, x0:x1:4].any():
            break
    return float(x), float(y)


def _contrasting(view: np.ndarray, names: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """A colour that mostly stands out from what is there: RGB, float32 (3,)."""
    ground = np.median(view[::4, ::4].reshape(-1, 3), axis=0)
    enough = 35.0 if rng.random() < 0.9 else 12.0
    for _ in range(8):
        colour = _some_colour(rng, names)
        if lab_distance(colour, ground) >= enough:
            break
    return colour


def _textured(
    colour: np.ndarray, texture: str, shape: tuple[int, int], extent: float, rng: np.random.Generator
) -> np.ndarray:
    height, width = shape
    if texture == "plain":
        return np.broadcast_to(colour, (height, width, 3))
    if texture == "rough":
        grain = _noise(max(height, width), int(rng.integers(24, 64)), rng)[:height, :width] - 0.5
        return colour * (1 + np.float32(rng.uniform(0.4, 0.9)) * grain)
    yy, xx = np.mgrid[:height, :width].astype(np.float32)
    period = max(5.0, extent * rng.uniform(0.12, 0.25))
    angle = rng.uniform(0, np.pi)
    a = (xx * np.cos(angle) + yy * np.sin(angle)) / np.float32(period)
    b = (yy * np.cos(angle) - xx * np.sin(angle)) / np.float32(period)
    if texture == "striped":
        pattern = (a % 1) < rng.uniform(0.3, 0.45)
    else:
        pattern = (a % 1 - 0.5) ** 2 + (b % 1 - 0.5) ** 2 < rng.uniform(0.06, 0.11)
    other = colour * 0.5 if colour.mean() > 110 else colour + 70
    return np.where(pattern[..., None], other.astype(np.float32), colour)


def degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What cameras and files do: light, blur, noise, grey, compression."""
    levels = (np.arange(256) / 255) ** rng.uniform(0.75, 1.3) * 255
    image = cv2.LUT(np.clip(image, 0, 255).astype(np.uint8), levels.astype(np.float32))
    if rng.random() < 0.3:
        image = 128 + (image - 128) * np.float32(rng.uniform(0.6, 0.9))
    if rng.random() < 0.12:
        image = np.repeat(image.mean(2, keepdims=True), 3, axis=2)
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.3))
    if rng.random() < 0.6:
        image = image + rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(1, 8))
    final = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 90))]
        final = np.asarray(cv2.imdecode(cv2.imencode(".jpg", final, quality)[1], cv2.IMREAD_COLOR))
    return final
