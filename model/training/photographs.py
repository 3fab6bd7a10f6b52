"""Photographs among the drawn scenes: grounds and surfaces as cameras see them, and things that have no name here.

A model that saw drawn scenes alone takes a photograph for one of them, and names what it cannot know.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from model.training.sheet import Sheet, around

OWN = Path(__file__).with_name("views")
"""Photographs that come with the package; the README there has their licences."""

VIEWS = (
    *("astronaut", "chelsea", "stereo_motorcycle", "rocket", "immunohistochemistry", "moon"),
    *("brushes", "dandelions", "dogs", "mountains", "path", "stream", "sunset"),
)
"""Photographs, by their names in skimage.data or in OWN, whose parts are shown as things without a name. None of them
is under `test` in tests/data/objects.json."""

SURFACES = (*VIEWS, "brick", "grass", "gravel", "page", "text")
"""Those that grounds and coats are cut from."""

HELD_BACK = ("coffee", "fig", "wine")
"""Those that training does not show, for scores to be fitted on; nothing is measured on them either."""

LONGEST = 512
"""Longest side at which a photograph is kept, in pixels."""

JOINED = 0.35
"""Chance that a part comes with one of its neighbours."""

_COVERED, _NONE = -1, -2
"""In place of the number of a part: what a lump lies on, and no part."""

LUMP = 0.5
"""Chance that a piece of another photograph lies on a view, of a round outline like no thing's."""


@dataclass(frozen=True, eq=False)
class View:
    """Something cut out of a photograph: uint8 (S, S, 3) RGB, and the parts that it falls into, int32 (S, S).

    A part is a number from 0 on; less is none.
    """

    image: np.ndarray
    parts: np.ndarray


def cut(rng: np.random.Generator, side: int, names: tuple[str, ...] = VIEWS) -> View:
    """A square out of one of these photographs, turned, mirrored and in other light."""
    name = str(rng.choice(names))
    image, parts = _photograph(name), _parts(name, int(rng.choice([100, 400])))
    height, width = parts.shape
    extent = min(height, width) * rng.uniform(0.35, 1.0)
    x, y = rng.uniform(0, width - extent), rng.uniform(0, height - extent)
    scale = side / extent
    place = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]], np.float32)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    image = cv2.warpAffine(image, place, (side, side), flags=way, borderMode=cv2.BORDER_REFLECT)
    parts = cv2.warpAffine(
        parts.astype(np.float32), place, (side, side), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT
    ).astype(np.int32)
    turns, mirrored = int(rng.choice([0, 0, 0, 1, 2, 3])), rng.random() < 0.5
    image, parts = np.rot90(image, turns), np.rot90(parts, turns)
    if mirrored:
        image, parts = image[:, ::-1], parts[:, ::-1]
    if rng.random() < 0.4:
        image = image[..., rng.permutation(3)]
    light = rng.uniform(0.75, 1.25, 3).astype(np.float32)
    return View(np.clip(image * light, 0, 255).astype(np.uint8), np.ascontiguousarray(parts))


def things(view: View, rng: np.random.Generator, most: int = 6) -> list[np.ndarray]:
    """Masks of some parts of a view, bool (S, S), apart from each other: single ones, and pairs of neighbours."""
    taken = np.zeros(view.parts.shape, bool)
    found = []
    area = taken.size
    for label in rng.permutation(np.unique(view.parts[view.parts >= 0]))[: 4 * most]:
        mask = view.parts == label
        if rng.random() < JOINED:
            mask |= view.parts == _neighbour(view.parts, mask, rng)
        mask = _largest(mask & ~taken)
        if 0.0012 * area <= mask.sum() <= 0.6 * area:
            found.append(mask)
            taken |= mask
        if len(found) == most:
            break
    return found


def lump(view: View, rng: np.random.Generator, names: tuple[str, ...] = VIEWS) -> tuple[View, np.ndarray]:
    """A view with a roundish piece of another one on it, and the mask of that piece, bool (S, S).

    Without such pieces whatever is round on a photograph is taken for one of the round things that have a name.
    """
    side = len(view.parts)
    piece = cut(rng, side, names).image.astype(np.float32)
    sheet = Sheet(side, rng)
    waves = [(k, rng.uniform(0, 0.25) / k, rng.uniform(0, 2 * np.pi)) for k in range(2, 7)]
    outline = around(lambda a: np.add.reduce([w * np.cos(k * a + p) for k, w, p in waves], initial=1.0))
    sheet.polygon(outline * rng.uniform(0.07, 0.4) * [1, rng.uniform(0.6, 1)] + rng.uniform(-0.9, 0.9, 2))
    soft = cv2.GaussianBlur(sheet.outline.astype(np.float32) / 255, (0, 0), rng.uniform(0.6, 2.5))[..., None]
    image = (soft * piece + (1 - soft) * view.image).astype(np.uint8)
    mask = sheet.outline > 0
    return View(image, np.where(mask, _COVERED, view.parts)), mask


def _neighbour(parts: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> int:
    rim = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~mask & (parts >= 0)
    return int(rng.choice(parts[rim])) if rim.any() else _NONE


def _largest(mask: np.ndarray) -> np.ndarray:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if count > 1 else mask


@cache
def _photograph(name: str) -> np.ndarray:
    own = OWN / f"{name}.jpg"
    if own.exists():
        image = np.asarray(Image.open(own).convert("RGB"))
    else:
        import skimage.data  # an import of a second that only training needs

        image = getattr(skimage.data, name)()
        image = image[0] if isinstance(image, tuple) else image
        image = np.dstack([image] * 3) if image.ndim == 2 else image[..., :3]
    scale = min(1.0, LONGEST / max(image.shape))
    return cv2.resize(np.ascontiguousarray(image), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


@cache
def _parts(name: str, coarseness: int) -> np.ndarray:
    """Felzenszwalb and Huttenlocher's graph-based segmentation (IJCV 2004) of a photograph, int32 (H, W)."""
    from skimage.segmentation import felzenszwalb

    return felzenszwalb(_photograph(name), scale=coarseness, sigma=0.8, min_size=120).astype(np.int32)
