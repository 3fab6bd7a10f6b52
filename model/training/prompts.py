"""What people and proposals would give for an object whose mask is known: clicks, boxes and rough masks."""

from __future__ import annotations

import cv2
import numpy as np

from model.prompt import Box, Point


def first_click(mask: np.ndarray, rng: np.random.Generator) -> Point:
    """A click that a person would make on a bool mask (H, W): at its deepest point, or somewhere well inside."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    if rng.random() < 0.3:
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        return Point(float(x), float(y))
    return _any_of(depth >= 0.4 * depth.max(), rng, positive=True)


def corrective_click(mask: np.ndarray, guess: np.ndarray, rng: np.random.Generator) -> Point:
    """A click where a guess is wrong, bool (H, W) both: positive on what it misses, negative on what it adds."""
    missed, added = mask & ~guess, guess & ~mask
    if missed.sum() >= added.sum():
        return _any_of(missed if missed.any() else mask, rng, positive=True)
    return _any_of(added, rng, positive=False)


def jittered_box(mask: np.ndarray, rng: np.random.Generator) -> Box:
    """A box as people draw it: around a bool mask (H, W), its sides off by a tenth of its extent at most."""
    ys, xs = np.nonzero(mask)
    x0, x1, y0, y1 = xs.min(), xs.max() + 1, ys.min(), ys.max() + 1
    dx, dy = 0.1 * (x1 - x0) * rng.uniform(-1, 1, 2), 0.1 * (y1 - y0) * rng.uniform(-1, 1, 2)
    return Box(float(x0 + dx[0]), float(y0 + dy[0]), float(x1 + dx[1]), float(y1 + dy[1]))


def rough_mask(image: np.ndarray, mask: np.ndarray, click: Point, rng: np.random.Generator) -> np.ndarray:
    """What a classical method might propose for a bool mask (H, W).

    Mostly right, sometimes leaking or short, never empty.
    """
    way = rng.choice(["flood", "morph", "bite", "disc", "exact"], p=[0.35, 0.25, 0.2, 0.08, 0.12])
    guess = {"flood": _flood, "morph": _morph, "bite": _bite, "disc": _disc}.get(str(way), _exact)(
        image, mask, click, rng
    )
    return guess if guess.any() else mask


def _any_of(where: np.ndarray, rng: np.random.Generator, *, positive: bool) -> Point:
    ys, xs = np.nonzero(where)
    i = int(rng.integers(len(xs)))
    return Point(float(xs[i]), float(ys[i]), positive)


def _flood(image: np.ndarray, mask: np.ndarray, click: Point, rng: np.random.Generator) -> np.ndarray:
    lab = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 1.0), cv2.COLOR_RGB2LAB)
    grown = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    tolerance = (float(np.exp(rng.uniform(np.log(4), np.log(30)))),) * 3
    flags = 4 | (255 << 8) | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE
    cv2.floodFill(lab, grown, (int(click.x), int(click.y)), 0, tolerance, tolerance, flags)
    guess = grown[1:-1, 1:-1] > 0
    # A leak over half the picture is what a medoid of proposals votes down: keep what lies near the object.
    return guess & _dilated(mask, int(rng.integers(3, 40)))


def _morph(image: np.ndarray, mask: np.ndarray, click: Point, rng: np.random.Generator) -> np.ndarray:
    reach = int(rng.integers(1, 2 + int(0.12 * np.sqrt(mask.sum()))))
    if rng.random() < 0.5:
        return _dilated(mask, reach)
    return ~_dilated(~mask, reach)


def _bite(image: np.ndarray, mask: np.ndarray, click: Point, rng: np.random.Generator) -> np.ndarray:
    disc = np.zeros(mask.shape, np.uint8)
    edge = mask & _dilated(~mask, 1)
    at = _any_of(edge if edge.any() else mask, rng, positive=True)
    radius = max(2, int(np.sqrt(mask.sum()) * rng.uniform(0.15, 0.5)))
    cv2.circle(disc, (int(at.x), int(at.y)), radius, 1, -1)
    return mask & (disc == 0) if rng.random() < 0.5 else mask | (disc > 0)


def _disc(image: np.ndarray, mask: np.ndarray, click: Point, rng: np.random.Generator) -> np.ndarray:
    disc = np.zeros(mask.shape, np.uint8)
    cv2.circle(disc, (int(click.x), int(click.y)), max(2, int(np.sqrt(mask.sum()) * rng.uniform(0.3, 0.8))), 1, -1)
    return disc > 0


def _exact(image: np.ndarray, mask: np.ndarray, click: Point, rng: np.random.Generator) -> np.ndarray:
    return mask


def _dilated(mask: np.ndarray, reach: int) -> np.ndarray:
    # By distance, for it takes as long for a far reach as for a near one.
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3) <= reach if mask.any() else mask
