"""Which of many masks to believe: those that others resemble, weighed by how much each looks like an object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np

from model.proposals.seeds import Seeds, depths, surroundings
from model.proposals.working import View

PLAIN_DIFFERENCE = 10.0
"""Lab units: a difference in colour that is plain to see."""

EXPECTED_IOU = ((0.0, 0.15, 0.3, 0.4, 0.5, 0.6), (0.2, 0.42, 0.72, 0.76, 0.87, 0.96))
"""Consensus times merit, and the mean IoU seen at it on coins and photographs (not the held-out ones)."""

ROUGHLY = 0.75
"""IoU with a rough mask above which no more likeness is asked of a mask."""

SAME = 0.8
"""IoU above which two masks count as the same answer."""


def _agreement(masks: Sequence[np.ndarray]) -> np.ndarray:
    """float64 (n, n): IoU of each of `masks`, bool (h, w), with each other."""
    bits = np.stack([np.packbits(m) for m in masks])
    bits = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8))).view(np.uint64)
    overlap = np.stack([np.bitwise_count(bits & row).sum(axis=1, dtype=np.int64) for row in bits])
    area = overlap.diagonal()
    return overlap / np.maximum(area[:, None] + area[None, :] - overlap, 1)


def consensus(pool: Sequence[tuple[str, np.ndarray]], merits: np.ndarray) -> np.ndarray:
    """float64 (n,), 0..1: the mean IoU of each mask of `pool` with all of them.

    Each method (the name in front) has one vote, which its masks share; each counts for as much as its merit.
    """
    ballots = Counter(name for name, _ in pool)
    weights = merits / np.array([ballots[name] for name, _ in pool])
    return _agreement([mask for _, mask in pool]) @ weights / max(float(weights.sum()), 1e-9)


def medoid(pool: Sequence[tuple[str, np.ndarray]], merits: np.ndarray) -> int:
    """Which of `pool` agrees most with the rest (see consensus)."""
    return int(consensus(pool, merits).argmax())


def rank(view: View, seeds: Seeds, pool: Sequence[tuple[str, np.ndarray]]) -> list[tuple[np.ndarray, float]]:
    """Masks that differ from each other and the IoU to expect of them, 0..1, best first."""
    masks = [mask for _, mask in pool]
    # The pool holds equal masks as one and the same array.
    worth = {id(mask): merit(view, seeds, mask) for mask in {id(m): m for m in masks}.values()}
    merits = np.array([worth[id(mask)] for mask in masks])
    score = consensus(pool, merits) * merits
    alike = _agreement(masks) >= SAME
    chosen: list[int] = []
    for k in np.argsort(-score, kind="stable").tolist():
        if not alike[k, chosen].any():
            chosen.append(k)
    return [(masks[k], float(np.interp(score[k], *EXPECTED_IOU))) for k in chosen]


def merit(view: View, seeds: Seeds, mask: np.ndarray) -> float:
    """0..1: how much `mask` looks like the object meant, seen by itself.

    With clicks alone the object is seldom most of the picture, and people click near its middle.
    """
    if not mask.any():
        return 0.0
    value = appearance(view, mask)
    if seeds.box is not None:
        value *= box_fit(mask, seeds.box)
    if seeds.rough is not None:
        likeness = np.count_nonzero(mask & seeds.rough) / np.count_nonzero(mask | seeds.rough)
        value *= min(1.0, likeness / ROUGHLY)
    if seeds.box is None and seeds.rough is None:
        value *= (1 - np.count_nonzero(mask) / mask.size) * centred(mask, seeds.clicks) ** 0.5
    return value


def appearance(view: View, mask: np.ndarray) -> float:
    """0..1: objects end at edges, differ in colour from what lies around them, and are mostly convex."""
    return contrast(view, mask) * separation(view, mask) * solidity(mask) if mask.any() else 0.0


def contrast(view: View, mask: np.ndarray) -> float:
    """0..1: strength of the picture's edges under the outline of `mask`, set against what is usual in it."""
    near = surroundings(mask, 1)
    on = mask[near]
    thick = cv2.dilate(on.astype(np.uint8), np.ones((3, 3), np.uint8))
    under = view.gradient[near][thick.astype(bool) & ~on]
    return float((under / (under + view.usual)).mean()) if under.size else 0.0


def separation(view: View, mask: np.ndarray) -> float:
    """0..1: how much the colours just inside the outline of `mask` differ from those just outside."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    near = surroundings(mask, 4)
    m = mask[near].astype(np.uint8)
    around = cv2.dilate(m, kernel) - m
    rind = m - cv2.erode(m, kernel, borderValue=1)
    if not around.any() or not rind.any():
        return 0.0
    lab = view.lab[near]
    difference = np.subtract(cv2.mean(lab, around)[:3], cv2.mean(lab, rind)[:3])
    distance = float(np.linalg.norm(difference))
    return distance / (distance + PLAIN_DIFFERENCE)


def solidity(mask: np.ndarray) -> float:
    """0..1: the share of its convex hull that `mask` fills."""
    outlines = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    hull = cv2.contourArea(cv2.convexHull(np.concatenate(outlines)))
    return min(1.0, np.count_nonzero(mask) / max(hull, 1.0))


def centred(mask: np.ndarray, clicks: np.ndarray) -> float:
    """0..1: how deep in `mask` the deepest of `clicks` (k, 2) lies, against its deepest place; 1 without clicks."""
    if not len(clicks):
        return 1.0
    depth = depths(mask)
    return float(depth[clicks[:, 1], clicks[:, 0]].max() / depth.max())


def box_fit(mask: np.ndarray, box: tuple[slice, slice]) -> float:
    """0..1: IoU of the box around `mask` with `box`."""
    sides = []
    for axis, span in ((1, box[0]), (0, box[1])):
        on = np.flatnonzero(mask.any(axis=axis))
        sides.append((on[0], on[-1] + 1, span.start, span.stop))
    overlap = np.prod([max(0, min(b, d) - max(a, c)) for a, b, c, d in sides])
    union = np.prod([b - a for a, b, _, _ in sides]) + np.prod([d - c for _, _, c, d in sides]) - overlap
    return float(overlap / union)
