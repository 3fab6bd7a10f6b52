"""How an object moves through a clip, from its masks: a few numbers for a language side too small to compare frames.

PAM itself reads all of it off the frames; nano, which reads the places of a first and a last frame well, did not learn
in some thousand steps whether they are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

LENGTH = 10
"""Numbers of a trajectory."""

STEP = 0.06
"""Share of the picture that a movement is measured by."""

Spot = tuple[float, float, float]


def spot(mask: np.ndarray) -> Spot:
    """Where a bool mask (H, W) is, and how large: its centroid, x and y, and its area, in shares of the picture.

    The middle of the picture, and no area, for an empty mask.
    """
    moments = cv2.moments(mask.view(np.uint8), binaryImage=True)
    area, (height, width) = moments["m00"], mask.shape
    if not area:
        return 0.5, 0.5, 0.0
    return (moments["m10"] / area + 0.5) / width, (moments["m01"] / area + 0.5) / height, area / mask.size


def describe(spots: Sequence[Spot]) -> np.ndarray:
    """A trajectory of at least one spot, in the order of the clip: float32 (LENGTH,), none of them beyond 5.

    The first and the last centroid, from -1 to 1; the way from the first to the last and to the farthest, and how far
    that is, in STEPs; and the logarithm of the growth of the area.
    """
    where = np.array([each[:2] for each in spots])
    away = where - where[0]
    distance = np.linalg.norm(away, axis=1)
    first, last = (max(each[2], 1e-6) for each in (spots[0], spots[-1]))
    steps = np.concatenate([away[-1], away[int(distance.argmax())], [distance.max()]]) / STEP
    numbers = np.concatenate([2 * where[0] - 1, 2 * where[-1] - 1, np.tanh(steps / 3) * 3, [np.log(last / first)]])
    return np.clip(numbers, -5, 5).astype(np.float32)
