"""Clips with known truth: an object cut out of a photograph moves over another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.segment.targets import Set, Target, picture, targets

BACKGROUNDS = ("china", "coffee", "rocket", "astronaut", "chelsea", "flower", "raccoon")
HEIGHT, WIDTH = 270, 480


@dataclass(frozen=True)
class Path:
    """How an object moves.

    kind: "moves", "occluded" (a bar passes before it), "leaves" (and comes back), or "gone" (and never does).
    """

    seed: int
    frames: int = 60
    kind: str = "moves"


@dataclass(frozen=True, eq=False)
class Moving:
    """A frame, uint8 (H, W, 3) RGB, and the part of the object that is seen in it, bool (H, W)."""

    image: np.ndarray
    truth: np.ndarray


def objects() -> list[Target]:
    """Outlined objects that are large enough to be cut out."""
    found = [t for s in (Set.TUNING, Set.TEST) for t in targets(s)]
    return [t for t in found if 0.01 < t.truth.mean() < 0.5 and t.truth.sum() > 2000]


def clip(path: Path, height: int = HEIGHT, width: int = WIDTH) -> Iterator[Moving]:
    """The frames of a clip, the same for the same path."""
    rng = np.random.default_rng(path.seed)
    pool = objects()
    target = pool[int(rng.integers(len(pool)))]
    names = [name for name in BACKGROUNDS if name != target.picture]
    background = _cover(picture(names[int(rng.integers(len(names)))]), round(height * 1.3), round(width * 1.3))
    cut, alpha = _cut_out(target, height * float(rng.uniform(0.25, 0.5)))
    turns, grows = rng.uniform(-0.5, 0.5), rng.uniform(0.75, 1.3)
    ends = rng.uniform((0.25, 0.3), (0.75, 0.7), (3, 2)) * (width, height)
    drift = rng.uniform(-0.12, 0.12, 2) * (width, height)
    bar = rng.uniform(0, 255, 3)
    for i in range(path.frames):
        t = i / max(1, path.frames - 1)
        at = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]
        if path.kind in ("leaves", "gone"):
            away = np.clip((t - 0.25) / 0.2, 0, 1) - (np.clip((t - 0.65) / 0.2, 0, 1) if path.kind == "leaves" else 0)
            at = at + (away * 1.6 * width, 0)
        scale, angle = 1 + (grows - 1) * t, turns * np.sin(2 * np.pi * t)
        yield _frame(path, t, background, drift, cut, alpha, at, scale, angle, bar, height, width, rng)


def _frame(path, t, background, drift, cut, alpha, at, scale, angle, bar, height, width, rng) -> Moving:
    offset = np.array(background.shape[1::-1]) / 2 - (width / 2, height / 2) + drift * (t - 0.5)
    shown = cv2.warpAffine(background, np.float64([[1, 0, -offset[0]], [0, 1, -offset[1]]]), (width, height))
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    centre = np.array(alpha.shape[::-1]) / 2
    matrix = np.array([[c, -s, at[0] - c * centre[0] + s * centre[1]], [s, c, at[1] - s * centre[0] - c * centre[1]]])
    soft = cv2.warpAffine(alpha, matrix, (width, height))[..., None]
    thing = cv2.warpAffine(cut, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    image = shown * (1 - soft) + thing * soft
    truth = soft[..., 0] > 0.5
    if path.kind == "occluded":
        x = round(width * (1.3 * t - 0.15))
        wide = round(width * 0.12)
        image[:, max(0, x - wide) : max(0, x + wide)] = bar
        truth[:, max(0, x - wide) : max(0, x + wide)] = False
    image = image * (1 + 0.05 * np.sin(6 * t)) + rng.normal(0, 2, image.shape)
    return Moving(np.clip(image, 0, 255).astype(np.uint8), truth)


def _cover(image: np.ndarray, height: int, width: int) -> np.ndarray:
    scale = max(height / image.shape[0], width / image.shape[1])
    size = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    large = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return large[top : top + height, left : left + width]


def _cut_out(target: Target, side: float) -> tuple[np.ndarray, np.ndarray]:
    """The object's pixels, and float32 how much of each is the object's, its longer side `side` pixels long."""
    x, y, w, h = cv2.boundingRect(target.truth.view(np.uint8))
    scale = side / max(w, h)
    size = (max(8, round(w * scale)), max(8, round(h * scale)))
    pixels = cv2.resize(picture(target.picture)[y : y + h, x : x + w], size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(target.truth[y : y + h, x : x + w].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return pixels, cv2.copyMakeBorder(alpha, 0, 0, 0, 0, cv2.BORDER_CONSTANT)
