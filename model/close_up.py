"""A second look: the picture around a mask, enlarged, for a language side that would see a small thing in few cells.

The language model reads both looks like the frames of a clip (see model/clip.py): first the close-up in full, with a
token for the outline of the mask (see model/outline.py), then the whole picture at a quarter, which tells place and
size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model import outline
from model import sam as sam2
from model.sam import SamOutput

if TYPE_CHECKING:
    from model.pam import PAM

MARGIN = 1.4
"""Side of the close-up in extents of the mask."""

LEAST = 16
"""Smallest side of a close-up, in pixels of the picture."""

REDUCING_GAP = 3.0
"""How much finer than wanted Pillow reduces a large picture to by whole factors, before it resizes properly."""

Window = tuple[int, int, int, int]


def window(mask: np.ndarray) -> Window:
    """Around a bool mask (H, W): x0, y0, x1, y1 in its pixels, x1 and y1 exclusive.

    A square, moved into the picture where it would leave it, and cut where it is larger; the whole picture for an
    empty mask.
    """
    height, width = mask.shape
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return 0, 0, width, height
    x0, x1, y0, y1 = int(columns[0]), int(columns[-1]) + 1, int(rows[0]), int(rows[-1]) + 1
    side = max(LEAST, round(MARGIN * max(x1 - x0, y1 - y0)))
    left, right = _span((x0 + x1) / 2, side, width)
    top, bottom = _span((y0 + y1) / 2, side, height)
    return left, top, right, bottom


def _span(centre: float, side: int, limit: int) -> tuple[int, int]:
    start = min(max(0, round(centre - side / 2)), max(0, limit - side))
    return start, min(start + side, limit)


def cut(image: np.ndarray, mask: np.ndarray, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """The close-up of a bool mask (H, W) on uint8 (H, W, 3) RGB.

    Returns pixels, float32 (3, side, side), the mask as SAM 2's mask input, float32 (1, side/4, side/4), and its
    outline, float32 (outline.LENGTH,).
    """
    x0, y0, x1, y1 = window(mask)
    view = Image.fromarray(image[y0:y1, x0:x1]).resize((side, side), reducing_gap=REDUCING_GAP)
    logits = sam2.mask_logits(mask[y0:y1, x0:x1], (side // 4, side // 4))
    return sam2.normalise(np.asarray(view)), logits, torch.from_numpy(outline.describe(mask))


def decode(sam: Any, pixels: Tensor, masks: Tensor) -> SamOutput:
    """Encode B pictures, float (B, 3, S, S), and decode their masks, (B, 1, S/4, S/4), without clicks."""
    nowhere = torch.zeros(len(pixels), 1, 2, device=pixels.device, dtype=pixels.dtype)
    padding = torch.full((len(pixels), 1), -1, dtype=torch.int32, device=pixels.device)
    return sam2.decode(sam, sam2.encode(sam, pixels), nowhere, padding, masks, one_image=False)


def look(pam: PAM, views: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[SamOutput, Tensor]:
    """What SAM 2 makes of the close-ups of B regions, and their outlines, float (B, outline.LENGTH).

    views: the picture, uint8 (H, W, 3) RGB, and the mask, bool (H, W), of each.
    """
    cuts = [cut(image, mask, pam.config.close_up) for image, mask in views]
    pixels, masks, outlines = (torch.stack(each).to(pam.image_newline) for each in zip(*cuts, strict=True))
    return decode(pam.sam, pixels, masks), outlines
