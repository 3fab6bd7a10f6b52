"""Clips drawn by a program, in which one thing moves or stays, with the truth about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from model.reading import CHOSEN
from model.training import photographs
from model.training.facts import look_at
from model.training.kinds import KINDS
from model.training.scenes import RECOGNISABLE, SIDE, WEIGHTS, Thing, background, degrade, place
from model.training.shapes import CATEGORIES, UNKNOWN
from model.training.story import Story

CLIPS_VERSION = "clips-1"
"""Changes whenever the same seed draws other clips to train on."""

LEAST, MOST = 0.004, 0.2
"""Share of the picture that a thing covers where it begins, before it gets larger or smaller."""

VISIBLE = 0.0012
"""Share of the picture below which nothing is said to be seen, as of scenes."""


@dataclass(frozen=True, eq=False)
class DrawnClip:
    """Frames, uint8 (S, S, 3) RGB, the visible part of the thing on each, bool (S, S), empty where it is not seen, and
    what share of the whole thing that is."""

    frames: tuple[np.ndarray, ...]
    masks: tuple[np.ndarray, ...]
    shares: tuple[float, ...]
    category: str
    texture: str

    @property
    def seen(self) -> list[int]:
        """The frames on which there is enough of the thing to be followed."""
        return [i for i, mask in enumerate(self.masks) if mask.mean() >= VISIBLE]

    def best(self, frames: Sequence[int]) -> int:
        """The one of these frames that shows most of the thing."""
        return max(frames, key=lambda i: int(self.masks[i].sum()))

    def story(self, frames: Sequence[int]) -> Story:
        """What happens on these frames, in their order."""
        best = self.best(frames)
        category = self.category if self.shares[best] >= RECOGNISABLE else UNKNOWN
        facts = look_at(self.frames[best], self.masks[best], category, self.texture)
        return Story.of(facts, [self.masks[i] for i in frames])


@dataclass(frozen=True, eq=False)
class _Sprite:
    """A thing alone: float32 (h, w, 3), how much of each pixel is its own, float32 (h, w), and the centre, x and y."""

    paint: np.ndarray
    alpha: np.ndarray
    centre: np.ndarray


def draw_clip(seed: int, index: int, count: int = CHOSEN, side: int = SIDE) -> DrawnClip:
    """Clip number `index` of the series `seed`: always the same for the same arguments. Something is seen on it."""
    rng = np.random.default_rng((seed, index, 41))
    ground = background(side, rng)
    if rng.random() < 0.4:
        names = photographs.SURFACES if rng.random() < 0.5 else photographs.VIEWS
        ground = photographs.cut(rng, side, names).image.astype(np.float32)
    taken = np.zeros((side, side), bool)
    for _ in range(int(rng.integers(0, 4))):
        taken |= place(ground, taken, str(rng.choice(CATEGORIES)), None, rng, None).mask
    thing, sprite = _thing(ground, rng)
    front = _front(ground, rng) if rng.random() < 0.25 else None
    way, scales, angles = _way(count, side, rng)
    drift = rng.uniform(-0.1, 0.1, 2) * side if rng.random() < 0.3 else np.zeros(2)
    light = int(rng.integers(1 << 30))
    frames, masks, shares = [], [], []
    for i in range(count):
        shift = np.array([[1, 0, drift[0] * i / count], [0, 1, drift[1] * i / count]])
        image = cv2.warpAffine(ground, shift, (side, side), borderMode=cv2.BORDER_REFLECT)
        turn = cv2.getRotationMatrix2D(tuple(sprite.centre), angles[i], scales[i])
        turn[:, 2] += way[i] - sprite.centre
        soft = cv2.warpAffine(sprite.alpha, turn, (side, side))
        paint = cv2.warpAffine(sprite.paint, turn, (side, side), borderMode=cv2.BORDER_REPLICATE)
        image += (paint - image) * soft[..., None]
        mask = soft > 0.5
        if front is not None:
            image += (front[0] - image) * front[1][..., None]
            mask &= front[1] < 0.5
        frames.append(degrade(image, np.random.default_rng(light)))
        masks.append(mask)
        shares.append(float(mask.sum()) / max(1.0, thing.area * scales[i] ** 2))
    clip = DrawnClip(tuple(frames), tuple(masks), tuple(shares), thing.category, thing.texture)
    return clip if clip.seen else draw_clip(seed + 1_000_003, index, count, side)


def _thing(ground: np.ndarray, rng: np.random.Generator) -> tuple[Thing, _Sprite]:
    """What moves, in colours that stand out from the ground."""
    side = len(ground)
    category = str(rng.choice(CATEGORIES, p=WEIGHTS))
    kind = int(rng.integers(KINDS)) if category == UNKNOWN and rng.random() < 0.4 else None
    coat = None
    if rng.random() < (0.3 if category == UNKNOWN else 0.08):
        coat = photographs.cut(rng, side, photographs.SURFACES).image
    while True:
        canvas = ground.copy()
        thing = place(canvas, np.zeros(ground.shape[:2], bool), category, kind, rng, coat)
        inside = np.pad(thing.mask[1:-1, 1:-1], 1).sum() == thing.mask.sum()
        if inside and LEAST <= thing.mask.mean() <= MOST:
            break
    x, y, w, h = cv2.boundingRect(thing.mask.view(np.uint8))
    box = slice(max(0, y - 3), y + h + 3), slice(max(0, x - 3), x + w + 3)
    alpha = cv2.GaussianBlur(thing.mask[box].astype(np.float32), (0, 0), 0.7)
    # The last pixels of a crop are repeated outwards; nothing of the thing may be in them.
    alpha[[0, -1]] = alpha[:, [0, -1]] = 0
    return thing, _Sprite(canvas[box], alpha, np.array(alpha.shape[::-1]) / 2)


def _front(ground: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Something that things pass behind: as it is painted, and how much of each pixel is its own."""
    canvas = ground.copy()
    thing = place(canvas, np.zeros(ground.shape[:2], bool), str(rng.choice(CATEGORIES)), None, rng, None)
    return canvas, cv2.GaussianBlur(thing.mask.astype(np.float32), (0, 0), 0.7)


def _way(count: int, side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres in pixels, (count, 2), sizes, and angles in degrees, each (count,)."""
    kind = str(rng.choice(["stays", "moves", "turns", "enters", "pauses"], p=[0.25, 0.35, 0.15, 0.15, 0.1]))
    t = np.linspace(0, 1, count)
    ends = rng.uniform(0.12, 0.88, (3, 2))
    if kind == "enters":  # or leaves, where the clip is told backwards
        ends[0, int(rng.integers(2))] = rng.choice([-0.1, 1.1])
    if kind == "stays":
        way = ends[0] + rng.normal(0, 0.004, (count, 2))
    elif kind == "turns":
        way = ends[0] + np.sin(np.pi * t)[:, None] * (ends[1] - ends[0])
    else:
        if kind == "pauses":
            begin, end = np.sort(rng.uniform(0, 1, 2))
            t = np.clip((t - begin) / max(0.1, end - begin), 0, 1)
        bend = (ends[0] + ends[1]) / 2 + rng.normal(0, 0.08, 2)
        u = t[:, None]
        way = (1 - u) ** 2 * ends[0] + 2 * u * (1 - u) * bend + u**2 * ends[1]
    grows = np.exp(rng.uniform(np.log(0.45), np.log(2.2))) if rng.random() < 0.4 else rng.uniform(0.95, 1.05)
    angles = rng.uniform(-25, 25) * np.sin(np.pi * rng.uniform(0.5, 3) * np.linspace(0, 1, count))
    return way * side, grows ** np.linspace(0, 1, count), angles
