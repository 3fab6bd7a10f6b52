"""A prompt, brought to the working size: which pixels are surely on the object, which surely off it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from model.prompt import Prompt
from model.proposals.working import WorkingImage

SEED_RADIUS = 0.012
"""Radius of the disc that a click vouches for, relative to the longer side."""


@dataclass(frozen=True, eq=False)
class Seeds:
    """What the prompt says about the pixels of the working image.

    positive: bool (h, w), surely on the object; empty where the prompt has no positive click.
    negative: bool (h, w), surely off it: around negative clicks and outside the box.
    clicks:   int (k, 2), x and y of the positive clicks.
    refusals: int (l, 2), x and y of the negative clicks.
    box:      (x0, y0, x1, y1) in working pixels, or None.
    rough:    bool (h, w), the mask prompt, or None.
    """

    positive: np.ndarray
    negative: np.ndarray
    clicks: np.ndarray
    refusals: np.ndarray
    box: tuple[int, int, int, int] | None
    rough: np.ndarray | None


def click_pixels(prompt: Prompt, positive: bool, height: int, width: int) -> np.ndarray:
    """int (k, 2): x and y of the pixels clicked in an image of that size; a click on the far edge counts inwards."""
    xy = np.array([(p.x, p.y) for p in prompt.points if p.positive == positive], np.float64).reshape(-1, 2)
    return np.minimum(xy, (width - 1, height - 1)).astype(int)


def discs(centres: np.ndarray, radius: int, height: int, width: int) -> np.ndarray:
    """bool (height, width): discs of `radius` around `centres` (k, 2)."""
    canvas = np.zeros((height, width), np.uint8)
    for x, y in centres.tolist():
        cv2.circle(canvas, (x, y), radius, 1, -1)
    return canvas.astype(bool)


def sow(working: WorkingImage, prompt: Prompt) -> Seeds:
    """The seeds of `prompt` on `working`."""
    h, w = working.height, working.width
    full_height, full_width = working.image.shape[:2]
    scale = np.array([w / full_width, h / full_height])
    clicks, refusals = (
        np.minimum((click_pixels(prompt, sign, full_height, full_width) + 0.5) * scale, (w - 1, h - 1)).astype(int)
        for sign in (True, False)
    )
    radius = round(SEED_RADIUS * max(h, w))
    positive = discs(clicks, radius, h, w)
    negative = discs(refusals, radius, h, w)
    both = positive & negative
    positive &= ~both
    negative &= ~both
    negative[refusals[:, 1], refusals[:, 0]] = True
    positive[refusals[:, 1], refusals[:, 0]] = False
    positive[clicks[:, 1], clicks[:, 0]] = True
    negative[clicks[:, 1], clicks[:, 0]] = False
    box = None
    if prompt.box is not None:
        x0, y0 = np.floor(np.array(prompt.box[:2]) * scale).astype(int)
        x1, y1 = np.ceil(np.array(prompt.box[2:]) * scale).astype(int)
        x0, y0 = min(max(x0, 0), w - 1), min(max(y0, 0), h - 1)
        box = (int(x0), int(y0), int(min(max(x1, x0 + 1), w)), int(min(max(y1, y0 + 1), h)))
        outside = np.ones((h, w), bool)
        outside[box[1] : box[3], box[0] : box[2]] = False
        negative |= outside
        positive &= ~outside
    rough = None
    if prompt.mask is not None:
        rough = cv2.resize(prompt.mask.astype(np.uint8) * 255, (w, h), interpolation=cv2.INTER_AREA) > 127
    return Seeds(positive, negative, clicks, refusals, box, rough if rough is not None and rough.any() else None)
