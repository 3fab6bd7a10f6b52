"""What a person points at: clicks, a box, a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.errors import PromptError


class Point(NamedTuple):
    """A click, in pixels of the original image: x to the right, y down, origin at the top left corner."""

    x: float
    y: float
    positive: bool = True


class Box(NamedTuple):
    """Corners of a box, in pixels of the original image; x1 and y1 are exclusive."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, eq=False)
class Prompt:
    """Clicks, a box and a mask that together mean one object.

    points: clicks, oldest first; positive ones lie on the object, negative ones off it.
    box:    around the object, or None.
    mask:   bool (H, W) at the size of the original image, a rough mask to start from, or None.
    """

    points: tuple[Point, ...] = ()
    box: Box | None = None
    mask: np.ndarray | None = None

    def check(self, height: int, width: int) -> None:
        """Raise PromptError unless the prompt means something on an image of `height` x `width` pixels."""
        if self.box is None and self.mask is None and not any(p.positive for p in self.points):
            raise PromptError("the prompt needs a positive click, a box or a mask: it has none of them")
        for p in self.points:
            if not (0 <= p.x <= width and 0 <= p.y <= height):
                raise PromptError(f"click ({p.x:g}, {p.y:g}) lies outside the image of {width} x {height} pixels")
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            if not (x0 < x1 and y0 < y1):
                raise PromptError(f"box {tuple(self.box)} is empty: it needs x0 < x1 and y0 < y1")
            if not (x1 > 0 and y1 > 0 and x0 < width and y0 < height):
                raise PromptError(f"box {tuple(self.box)} lies outside the image of {width} x {height} pixels")
        if self.mask is not None:
            if self.mask.shape != (height, width) or self.mask.dtype != bool:
                raise PromptError(
                    f"the mask prompt is {self.mask.dtype} {self.mask.shape}, expected bool ({height}, {width})"
                )
            if not self.mask.any():
                raise PromptError("the mask prompt is empty")
