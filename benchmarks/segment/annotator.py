"""A simulated annotator, who clicks where the error is deepest until the mask is right."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.segment.targets import Target
from model.prompt import Box, Point, Prompt

Segmenter = Callable[[Prompt], np.ndarray]
"""From a prompt to a mask, bool (H, W), on one picture."""

CAP = 20
SHOWN = 5
"""Clicks that everybody makes; those after them only where GOOD is not reached yet."""

GOOD = 0.9


@dataclass(frozen=True, eq=False)
class Session:
    """What came of one target by one method.

    ious:    after each click.
    box:     IoU of the mask from the tight box.
    obeyed:  for each click made, whether all clicks so far were obeyed.
    seconds: for each click, what the answer took.
    points:  the clicks.
    masks:   after the first and after click SHOWN (or the last before it).
    """

    target: Target
    method: str
    ious: tuple[float, ...]
    box: float
    obeyed: tuple[bool, ...]
    seconds: tuple[float, ...]
    points: tuple[Point, ...]
    masks: tuple[np.ndarray, np.ndarray]

    def iou_after(self, clicks: int) -> float:
        """IoU after that many clicks; of the last one where nothing was left to click at."""
        return self.ious[min(clicks, len(self.ious)) - 1]

    def clicks_to(self, iou: float) -> int:
        """NoC: clicks until that IoU is reached, CAP where it is not."""
        return next((n for n, value in enumerate(self.ious, 1) if value >= iou), CAP)


def annotate(target: Target, method: str, segmenter: Segmenter, cap: int = CAP) -> Session:
    """Click at most `cap` times, then ask once more with the box alone."""
    mask = np.zeros_like(target.truth)
    points: list[Point] = []
    ious: list[float] = []
    seconds: list[float] = []
    obeyed: list[bool] = []
    masks: list[np.ndarray] = []
    while len(points) < cap and (len(points) < SHOWN or ious[-1] < GOOD) and not np.array_equal(mask, target.truth):
        points.append(next_click(target.truth, mask))
        began = time.perf_counter()
        mask = segmenter(Prompt(tuple(points)))
        seconds.append(time.perf_counter() - began)
        ious.append(iou(mask, target.truth))
        obeyed.append(all(mask[int(p.y), int(p.x)] == p.positive for p in points))
        masks.append(mask)
    from_box = iou(segmenter(Prompt(box=box_around(target.truth))), target.truth)
    shown = masks[0], masks[min(SHOWN, len(masks)) - 1]
    return Session(target, method, tuple(ious), from_box, tuple(obeyed), tuple(seconds), tuple(points), shown)


def next_click(truth: np.ndarray, mask: np.ndarray) -> Point:
    """The deepest pixel of what `mask` misses or has too much of `truth`, whichever is deeper; both bool (H, W)."""
    missing, surplus = _deepest(truth & ~mask), _deepest(mask & ~truth)
    positive = missing[2] >= surplus[2]
    x, y, _ = missing if positive else surplus
    return Point(x, y, positive)


def _deepest(region: np.ndarray) -> tuple[float, float, float]:
    """x, y and depth of the pixel farthest from the edge of `region`; beyond the frame counts as outside."""
    depth = cv2.distanceTransform(np.pad(region.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return float(x), float(y), float(depth[y, x])


def box_around(truth: np.ndarray) -> Box:
    """The tight box of a mask that is not empty."""
    x, y, w, h = cv2.boundingRect(truth.astype(np.uint8))
    return Box(x, y, x + w, y + h)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two bool masks; 1 where both are empty."""
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0
