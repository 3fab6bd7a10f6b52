"""An object that was lost is looked for: where it was going, or on the whole frame."""

from __future__ import annotations

import cv2
import numpy as np

from model.tracking import template as templates
from model.tracking.template import Likeness, Pose, Template

COARSE = 24
"""Longest side of the template while it is looked for everywhere, in its own pixels."""

SIZES = (1.0, 0.8, 1.25)
"""How much larger the object may have become meanwhile."""

LIKELY = 0.5
"""Correlation of colours at which a place is worth a closer look."""

TRIES = 3
"""Places that are looked at closely."""

SURE_SHARE, SURE_CORRELATION = 0.6, 0.5
"""How much an object must look like itself to be believed to be back."""


def search(template: Template, image: np.ndarray, near: Pose | None) -> tuple[Pose, Likeness] | None:
    """Where the object is, and how much it looks like itself there; None where it is not.

    near: looked at alone, where given; else the whole frame is.
    """
    poses = [near] if near is not None else _places(template, image)
    best: tuple[Pose, Likeness] | None = None
    for pose in poses:
        found, likeness = templates.register(template, image, [pose])
        if likeness.share >= SURE_SHARE and likeness.correlation >= SURE_CORRELATION:
            if best is None or likeness.share > best[1].share:
                best = found, likeness
    return best


def _places(template: Template, image: np.ndarray) -> list[Pose]:
    """Poses at which a coarse picture of the object fits, best first."""
    rate = min(1.0, COARSE / max(template.size))
    small = cv2.resize(template.lab, None, fx=rate, fy=rate, interpolation=cv2.INTER_AREA)
    inner = cv2.resize(template.inner.astype(np.uint8), small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    if not inner.any():
        return []
    weights = np.repeat(inner[..., None].astype(np.float32), 3, axis=2)
    stretch = float(np.sqrt(abs(np.linalg.det(template.place[:, :2]))))
    found: list[tuple[float, Pose]] = []
    for size in SIZES:
        # Pixels of the coarse frame per pixel of the frame, so that the object has the coarse template's size there.
        to_coarse = rate / (stretch * size)
        shape = (round(image.shape[1] * to_coarse), round(image.shape[0] * to_coarse))
        if shape[0] < small.shape[1] or shape[1] < small.shape[0]:
            continue
        frame = cv2.resize(image, shape, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        scores = cv2.matchTemplate(cv2.cvtColor(frame, cv2.COLOR_RGB2Lab), small, cv2.TM_CCOEFF_NORMED, mask=weights)
        scores[~np.isfinite(scores) | (np.abs(scores) > 1.01)] = -1
        for _ in range(TRIES):
            _, score, _, (x, y) = cv2.minMaxLoc(scores)
            if score < LIKELY:
                break
            pose = template.place.copy()
            pose[:, :2] *= size
            pose[:, 2] = (x + 0.5) / to_coarse - 0.5, (y + 0.5) / to_coarse - 0.5
            found.append((score, pose))
            r = max(1, COARSE // 4)
            scores[max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1] = -1
    return [pose for _, pose in sorted(found, key=lambda each: -each[0])[:TRIES]]
