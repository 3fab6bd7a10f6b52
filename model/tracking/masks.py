"""Where objects are on a frame."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from model.prompt import Box


@dataclass(frozen=True, eq=False)
class TrackedMask:
    """An object on a frame.

    mask:         bool (H, W), all false where the object is gone.
    score:        expected IoU of the mask, 0..1.
    object_score: chance that the object is there at all, 0..1.
    """

    mask: np.ndarray
    score: float
    object_score: float

    @property
    def visible(self) -> bool:
        """Whether anything of the object is seen."""
        return bool(self.mask.any())

    @property
    def box(self) -> Box | None:
        """The smallest box that holds the mask, in pixels, x1 and y1 exclusive; None where the object is gone."""
        x, y, width, height = cv2.boundingRect(self.mask.view(np.uint8))
        return Box(float(x), float(y), float(x + width), float(y + height)) if width else None


@dataclass(frozen=True, eq=False)
class FrameMasks:
    """All objects on a frame.

    index, time: of the frame, see `model.frames.Frame`.
    objects:     by the key that each was prompted with; without those that were not prompted yet.
    """

    index: int
    time: float
    objects: Mapping[Hashable, TrackedMask]
