"""An object that was lost is looked for: where it was going, or on the whole frame."""

from __future__ import annotations

import cv2
import numpy as np

from model.tracking import template as templates
from model.tracking.matching import correlations
from model.tracking.template import Likeness, Pose, Template

COARSE = 24
"""Longest side of the template while it is looked for everywhere, in its own pixels."""

LARGEST = 640
"""Longest side of the frame that is searched, in pixels: small things on large frames are looked for less sharply."""

LEAST = 12
"""Pixels that the object must still have then."""

SIZES = (1.0, 0.8, 1.25)
"""How much larger the object may have become meanwhile."""

LIKELY = 0.5
"""Correlation of colours at which a place is worth a closer look."""

TRIES = 3
"""Places that are looked at closely."""

ROUNDS = 2
"""How often more a place is settled into: size and angle may be far from those that were tried."""

SURE_CORRELATION = 0.6
SURE_SHARE, LEAST_SHARE, FORGETTING = 0.85, 0.6, 0.003
"""How much an object must look like itself to be believed to be back: less and less as time goes by, in which it may
have changed."""


def search(
    template: Template, image: np.ndarray, last: Pose, *, lost: int, everywhere: bool
) -> tuple[Pose, Likeness] | None:
    """Where the object is, and how much it looks like itself there; None where it is not.

    last: where it was, as large and turned as it was. lost: frames since then. everywhere: whether it is looked for on
    the whole frame.
    """
    poses = _places(template, image, last) if everywhere else [last]
    needed = max(LEAST_SHARE, SURE_SHARE - FORGETTING * lost)
    best: tuple[Pose, Likeness] | None = None
    for pose in poses:
        found, likeness = templates.register(template, image, [pose])
        if likeness.share >= needed and likeness.correlation >= SURE_CORRELATION:
            if best is None or likeness.share > best[1].share:
                best = found, likeness
    for _ in range(ROUNDS if best is not None else 0):
        assert best is not None
        best = templates.register(template, image, [best[0]])
    return best


def _places(template: Template, image: np.ndarray, last: Pose) -> list[Pose]:
    """Poses at which a coarse picture of the object fits, best first."""
    stretch = float(np.sqrt(abs(np.linalg.det(last[:, :2]))))
    middle = (np.array(template.size) - 1) / 2
    found: list[tuple[float, Pose]] = []
    for size in SIZES:
        whole = max(template.size) * stretch * size
        to_coarse = min(1.0, COARSE / whole, LARGEST / max(image.shape[:2]))
        rate = to_coarse * stretch * size
        small = cv2.resize(template.lab, None, fx=rate, fy=rate, interpolation=cv2.INTER_AREA)
        inner = cv2.resize(template.inner.astype(np.uint8), small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        shape = (round(image.shape[1] * to_coarse), round(image.shape[0] * to_coarse))
        if np.count_nonzero(inner) < LEAST or shape[0] < small.shape[1] or shape[1] < small.shape[0]:
            continue
        frame = cv2.resize(image, shape, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        scores = correlations(cv2.cvtColor(frame, cv2.COLOR_RGB2Lab), small, inner > 0)
        for _ in range(TRIES):
            _, score, _, (x, y) = cv2.minMaxLoc(scores)
            if score < LIKELY:
                break
            centre = (np.array([x, y]) + np.array(small.shape[1::-1]) / 2) / to_coarse - 0.5
            linear = last[:, :2] * size
            pose = np.hstack([linear, (centre - linear @ middle)[:, None]])
            found.append((score, pose))
            r = max(1, COARSE // 4)
            scores[max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1] = -1
    return [pose for _, pose in sorted(found, key=lambda each: -each[0])[:TRIES]]
