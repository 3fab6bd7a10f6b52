"""The sheet on which one thing is drawn."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np


class Sheet:
    """A square to draw one thing on, in units that run from -1 to 1: u to the right, v down.

    outline: uint8 (side, side), 255 inside the thing. u, v: float32 (side, side), the coordinates of each pixel.
    """

    def __init__(self, side: int, rng: np.random.Generator):
        self.rng = rng
        self.outline = np.zeros((side, side), np.uint8)
        self.centre, self.unit = side / 2, side * 0.46
        yy, xx = np.mgrid[:side, :side].astype(np.float32)
        self.u, self.v = (xx - self.centre) / self.unit, (yy - self.centre) / self.unit

    def ellipse(self, u: float, v: float, ru: float, rv: float, value: int = 255) -> None:
        """Fill an ellipse; value 0 cuts it out."""
        centre = (round(self.centre + u * self.unit), round(self.centre + v * self.unit))
        axes = (max(1, round(ru * self.unit)), max(1, round(rv * self.unit)))
        cv2.ellipse(self.outline, centre, axes, 0, 0, 360, value, -1)

    def polygon(self, points: np.ndarray) -> None:
        """Fill a polygon (N, 2)."""
        cv2.fillPoly(self.outline, [self._pixels(points)], 255)

    def inside(self, points: np.ndarray) -> np.ndarray:
        """Which pixels lie in a polygon (N, 2): bool (side, side)."""
        canvas = np.zeros_like(self.outline)
        cv2.fillPoly(canvas, [self._pixels(points)], 1)
        return canvas.astype(bool)

    def noise(self, cells: int) -> np.ndarray:
        """Smooth noise, float32 (side, side), about standard normal at `cells` x `cells` knots."""
        knots = self.rng.standard_normal((cells, cells)).astype(np.float32)
        return cv2.resize(knots, self.u.shape[::-1], interpolation=cv2.INTER_CUBIC)

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        return np.round(np.asarray(points) * self.unit + self.centre).astype(np.int32)


def around(radius: Callable[[np.ndarray], np.ndarray], count: int = 200) -> np.ndarray:
    """The outline (count, 2) whose distance from the centre is a function of the angle, clockwise from the top."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    r = radius(angle)
    return np.stack([r * np.sin(angle), -r * np.cos(angle)], axis=1)
