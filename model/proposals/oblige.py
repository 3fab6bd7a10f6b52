"""What a mask owes to the prompt, whatever the method: clicks obeyed, one object, inside the box."""

from __future__ import annotations

import math

import cv2
import numpy as np

from model.prompt import Box, Prompt
from model.proposals.seeds import click_pixels

REACH = 0.005
"""Radius, relative to the longer side, within which a click decides for the pixels of its own colour."""

COLOUR_REACH = 18
"""How far each channel (0..255) of a pixel may be from the clicked one for the click to decide for it too."""


def oblige(image: np.ndarray, mask: np.ndarray, prompt: Prompt) -> np.ndarray:
    """`mask`, bool (H, W), made to keep the promises of `propose` on `image`, uint8 (H, W, 3). Returns a new array."""
    height, width = mask.shape
    positive = click_pixels(prompt, True, height, width)
    negative = click_pixels(prompt, False, height, width)
    rows, columns = _busy(mask, positive, negative)
    corner = np.array([columns.start, rows.start])
    cropped, ours, theirs = image[rows, columns], positive - corner, negative - corner
    reach = max(1, round(REACH * max(height, width)))
    on = mask[rows, columns].astype(np.uint8)
    _paint(cropped, on, theirs, ours, reach, 0)
    _paint(cropped, on, ours, theirs, reach, 1)
    if prompt.box is not None:
        top, bottom, left, right = allowed(prompt.box, positive, height, width)
        on[: max(0, top - rows.start)] = on[max(0, bottom - rows.start) :] = 0
        on[:, : max(0, left - columns.start)] = on[:, max(0, right - columns.start) :] = 0
    on[theirs[:, 1], theirs[:, 0]] = 0
    on[ours[:, 1], ours[:, 0]] = 1
    on = _holding(on, ours) if len(ours) else _main_parts(on)
    full = np.zeros((height, width), bool)
    full[rows, columns] = _without_small_holes(on, theirs)
    if prompt.box is not None and not full.any():  # a box as thin as a pixel, which following edges wiped out
        top, bottom, left, right = allowed(prompt.box, positive, height, width)
        full[top:bottom, left:right] = True
        full[negative[:, 1], negative[:, 0]] = False
    return full


def _busy(mask: np.ndarray, *clicks: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold the mask and the clicks."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    ys = np.concatenate([rows[[0, -1]] if len(rows) else rows, *(c[:, 1] for c in clicks)])
    xs = np.concatenate([columns[[0, -1]] if len(columns) else columns, *(c[:, 0] for c in clicks)])
    if not len(ys):
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    return slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1)


def allowed(box: Box, positive: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """Top, bottom, left, right (ends exclusive) of the pixels that `box` touches, stretched to the positive clicks."""
    xs = [max(math.floor(box.x0), 0), min(math.ceil(box.x1), width) - 1, *positive[:, 0].tolist()]
    ys = [max(math.floor(box.y0), 0), min(math.ceil(box.y1), height) - 1, *positive[:, 1].tolist()]
    return min(ys), max(ys) + 1, min(xs), max(xs) + 1


def _paint(image: np.ndarray, on: np.ndarray, clicks: np.ndarray, others: np.ndarray, radius: int, value: int) -> None:
    """Write `value` around `clicks`, on pixels of the clicked colour that are nearer to them than to `others`."""
    height, width = on.shape
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
    outlines, tree = cv2.findContours(on, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    limit = max(16, int(np.count_nonzero(on)) // 200)
    filled = on
    for outline, (*_, parent) in zip(outlines, tree[0] if len(outlines) else (), strict=True):
        # The outline of a hole runs along the pixels around it.
        if parent < 0 or cv2.contourArea(outline) - cv2.arcLength(outline, True) / 2 > limit:
            continue
        if not any(cv2.pointPolygonTest(outline, (float(x), float(y)), False) > 0 for x, y in refusals.tolist()):
            filled = cv2.drawContours(filled.copy() if filled is on else filled, [outline], 0, 1, cv2.FILLED)
    return filled
