"""What a mask owes to the prompt, whatever the method: clicks obeyed, one object, inside the box."""

from __future__ import annotations

import cv2
import numpy as np

from model.prompt import Prompt
from model.proposals.seeds import click_pixels

REACH = 0.005
"""Radius, relative to the longer side, within which a click decides for the pixels of its own colour."""

COLOUR_REACH = 18
"""How far each channel (0..255) of a pixel may be from the clicked one for the click to decide for it too."""


def honour(image: np.ndarray, mask: np.ndarray, prompt: Prompt) -> np.ndarray:
    """`mask`, bool (H, W), made to keep the promises of `propose` on `image`, uint8 (H, W, 3). Returns a new array."""
    height, width = mask.shape
    positive = click_pixels(prompt, True, height, width)
    negative = click_pixels(prompt, False, height, width)
    window = allowed(prompt, positive, height, width)
    on = np.zeros((height, width), np.uint8)
    on[window] = mask[window]
    _paint(image, on, negative, positive, 0)
    _paint(image, on, positive, negative, 1)
    clipped = np.zeros_like(on)
    clipped[window] = on[window]
    clipped[negative[:, 1], negative[:, 0]] = 0
    clipped[positive[:, 1], positive[:, 0]] = 1
    kept = _holding(clipped, positive) if len(positive) else _main_parts(clipped)
    return _without_small_holes(kept, negative).astype(bool)


def allowed(prompt: Prompt, positive: np.ndarray, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns that the mask may use: those of the box, stretched to hold the positive clicks."""
    if prompt.box is None:
        return slice(0, height), slice(0, width)
    x0, y0 = np.floor(prompt.box[:2]).astype(int).tolist()
    x1, y1 = np.ceil(prompt.box[2:]).astype(int).tolist()
    xs, ys = [max(x0, 0), min(x1, width) - 1], [max(y0, 0), min(y1, height) - 1]
    xs += positive[:, 0].tolist()
    ys += positive[:, 1].tolist()
    return slice(min(ys), max(ys) + 1), slice(min(xs), max(xs) + 1)


def _paint(image: np.ndarray, on: np.ndarray, clicks: np.ndarray, others: np.ndarray, value: int) -> None:
    """Write `value` around `clicks`, on pixels of the clicked colour that are nearer to them than to any of `others`."""
    height, width = on.shape
    radius = max(1, round(REACH * max(height, width)))
    for x, y in clicks.tolist():
        y0, y1, x0, x1 = max(0, y - radius), min(height, y + radius + 1), max(0, x - radius), min(width, x + radius + 1)
        patch = np.ascontiguousarray(image[y0:y1, x0:x1])
        reached = np.zeros((patch.shape[0] + 2, patch.shape[1] + 2), np.uint8)
        flags = 4 | (1 << 8) | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY
        cv2.floodFill(patch, reached, (x - x0, y - y0), 0, (COLOUR_REACH,) * 3, (COLOUR_REACH,) * 3, flags)
        ys, xs = np.mgrid[y0:y1, x0:x1]
        ours = (xs - x) ** 2 + (ys - y) ** 2
        near = ours <= radius**2
        for u, v in others.tolist():
            near &= ours < (xs - u) ** 2 + (ys - v) ** 2
        on[y0:y1, x0:x1][reached[1:-1, 1:-1].astype(bool) & near] = value


def _holding(on: np.ndarray, clicks: np.ndarray) -> np.ndarray:
    """The 4-connected parts of `on` under `clicks`."""
    filled = on.copy()
    for x, y in clicks.tolist():
        cv2.floodFill(filled, None, (x, y), 2, flags=4)
    return (filled == 2).astype(np.uint8)


def _main_parts(on: np.ndarray) -> np.ndarray:
    """The largest part of `on`, and those at least a quarter as large."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(on, connectivity=4)
    if count <= 2:
        return on
    area = stats[:, cv2.CC_STAT_AREA]
    keep = area >= area[1:].max() / 4
    keep[0] = False
    return keep[labels].astype(np.uint8)


def _without_small_holes(on: np.ndarray, refusals: np.ndarray) -> np.ndarray:
    """`on` with its holes filled that are under a two-hundredth of it and hold no negative click."""
    outside = np.pad(on, 1)
    cv2.floodFill(outside, None, (0, 0), 2, flags=4)
    holes = (outside[1:-1, 1:-1] == 0).astype(np.uint8)
    if not holes.any():
        return on
    labels, stats = cv2.connectedComponentsWithStats(holes, connectivity=4)[1:3]
    fill = stats[:, cv2.CC_STAT_AREA] <= max(16, int(on.sum()) // 200)
    fill[0] = False
    fill[labels[refusals[:, 1], refusals[:, 0]]] = False
    return on | fill[labels]
