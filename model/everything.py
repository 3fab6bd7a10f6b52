"""Everything that may be an object, without a click: candidates from all over the picture, of which the best stay.

Models with a decoder of their own are asked with a grid of clicks, as SAM's automatic mask generation does (Kirillov et
al., arXiv 2304.02643, section "fully automatic"; arXiv 2408.00714). Nano takes the regions of its superpixel trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor

from model import sam as sam2
from model.errors import PromptError
from model.prompt import Point, Prompt
from model.region import Candidate, Candidates
from model.segmenting import PROMPTS_PER_PASS

if TYPE_CHECKING:
    from model.pam import PAM
    from model.segmentation import EncodedImage

STABILITY_OFFSET = 1.0
"""How far the threshold of the logits is moved up and down to see whether a mask stays."""

INSIDE = 0.85
"""Share of a mask that lies in a larger one, from which on it is nested in it."""


@dataclass(frozen=True)
class EverythingOptions:
    """Which regions of an image are kept.

    points_per_side: of the grid of clicks, for models that are asked with one.
    least_score:     lowest predicted IoU of a mask, 0..1; None for the model's own choice.
    least_stability: lowest IoU, 0..1, of a mask with what becomes of it when what it was cut out by changes a little;
                     None for the model's own choice.
    smallest, largest: area, as a share of the picture's.
    duplicate:       IoU from which of two masks only the better stays.
    nested:          whether objects that lie in others, which were kept before them, are kept.
    most:            regions of one image.
    """

    points_per_side: int = 32
    least_score: float | None = None
    least_stability: float | None = None
    smallest: float = 0.001
    largest: float = 0.7
    duplicate: float = 0.8
    nested: bool = True
    most: int = 24

    def __post_init__(self) -> None:
        shares = (self.least_score, self.least_stability, self.smallest, self.largest, self.duplicate)
        if not 1 <= self.points_per_side <= 128 or not 1 <= self.most <= 1000:
            raise PromptError(
                f"points_per_side is {self.points_per_side} and most is {self.most}: they go from 1 to 128 and to 1000"
            )
        if any(share is not None and not 0 <= share <= 1 for share in shares):
            raise PromptError("scores, stability, sizes and overlaps of regions are shares from 0 to 1")


EVERYTHING = EverythingOptions()


@dataclass(frozen=True, eq=False)
class Found:
    """One mask that may be an object.

    small:     bool (h, w), on the whole image at a working size.
    score:     predicted IoU, 0..1.
    stability: see EverythingOptions.
    enlarge:   gives the mask at the image's size, bool (H, W).
    """

    small: np.ndarray
    score: float
    stability: float
    enlarge: Callable[[], np.ndarray]

    @cached_property
    def area(self) -> int:
        """Pixels of `small`."""
        return int(np.count_nonzero(self.small))

    def candidates(self) -> Candidates:
        """The one mask, brought to the image's size when it is asked for, and not kept: on a large photograph two
        dozen masks are more memory than the picture."""
        return Candidates(1, lambda _: Candidate(self.enlarge(), self.score), keep=False)

    def middle(self, height: int, width: int) -> Point:
        """The deepest place of the mask, in pixels of an image of `height` x `width`."""
        x, y, _ = deepest(self.small)
        return Point(x * width / self.small.shape[1], y * height / self.small.shape[0])


def deepest(mask: np.ndarray) -> Point:
    """The middle of the pixel of a bool mask (H, W) that is farthest from its edge; beyond the frame is outside."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    depth = cv2.distanceTransform(np.pad(mask[y : y + h, x : x + w].astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = divmod(int(depth.argmax()), w)
    return Point(x + column + 0.5, y + row + 0.5)


def find(pam: PAM, image: EncodedImage, options: EverythingOptions) -> list[Found]:
    """The masks of an image that are worth a look, best first; none of a picture without structure."""
    if image.working is not None:
        from model.proposals.everywhere import everywhere

        return select(everywhere(image.working, options.smallest, options.largest), options, 0.1, 0.5)
    return select(from_grid(pam, image, options), options, 0.8, 0.95)


def from_grid(pam: PAM, image: EncodedImage, options: EverythingOptions) -> Iterator[Found]:
    """What SAM 2's decoder makes of a grid of clicks, its four masks of each; those that are too weak are left out."""
    side = options.points_per_side
    steps = (np.arange(side) + 0.5) / side
    prompts = [Prompt((Point(x * image.width, y * image.height),)) for y in steps for x in steps]
    for start in range(0, len(prompts), PROMPTS_PER_PASS):
        logits, scores, stability = _decode(pam, image, prompts[start : start + PROMPTS_PER_PASS])
        least = 0.8 if options.least_score is None else options.least_score
        for row, column in np.argwhere(scores >= least).tolist():
            mask = logits[row : row + 1, column : column + 1].clone()
            yield Found(
                (mask[0, 0] > 0).cpu().numpy(),
                float(scores[row, column]),
                float(stability[row, column]),
                lambda mask=mask: _enlarged(mask, image.height, image.width),  # type: ignore[misc]
            )


@torch.inference_mode()
def _decode(pam: PAM, image: EncodedImage, prompts: Sequence[Prompt]) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Mask logits (B, 4, S/4, S/4), predicted IoUs and stabilities, float (B, 4)."""
    like = image.features.embedding
    tensors = [
        sam2.prompt_tensors(p, image.height, image.width, pam.image_size, pam.device, like.dtype) for p in prompts
    ]
    points, labels = (torch.cat(each) for each in zip(*tensors, strict=True))
    output = sam2.decode(pam.sam, image.features, points, labels, None, one_image=True)
    logits = output.visible_logits.float()
    high, low = (logits > level for level in (STABILITY_OFFSET, -STABILITY_OFFSET))
    stability = high.sum((2, 3)) / low.sum((2, 3)).clamp(min=1)
    return logits, output.iou.float().clamp(0, 1).cpu().numpy(), stability.cpu().numpy()


@torch.inference_mode()
def _enlarged(logits: Tensor, height: int, width: int) -> np.ndarray:
    return (sam2.to_image_size(logits, height, width)[0, 0] > 0).cpu().numpy()


def select(
    found: Iterator[Found], options: EverythingOptions, least_score: float, least_stability: float
) -> list[Found]:
    """Those of `found` that are good enough and differ from each other, best first.

    least_score, least_stability: where the options leave them to the model.
    """
    least_score = least_score if options.least_score is None else options.least_score
    least_stability = least_stability if options.least_stability is None else options.least_stability
    fit = [
        each
        for each in found
        if each.score >= least_score
        and each.stability >= least_stability
        and options.smallest * each.small.size <= each.area <= options.largest * each.small.size
        and each.area
    ]
    fit.sort(key=lambda each: -each.score)
    bits = [_packed(each.small) for each in fit]
    kept: list[int] = []
    for index, each in enumerate(fit):
        if len(kept) == options.most:
            break
        if kept:
            shared = np.bitwise_count(np.stack([bits[k] for k in kept]) & bits[index]).sum(axis=1, dtype=np.int64)
            areas = np.array([fit[k].area for k in kept])
            if (shared / (areas + each.area - shared) >= options.duplicate).any():
                continue
            if not options.nested and (shared >= INSIDE * np.minimum(areas, each.area)).any():
                continue
        kept.append(index)
    return [fit[index] for index in kept]


def _packed(mask: np.ndarray) -> np.ndarray:
    bits = np.packbits(mask)
    return np.pad(bits, (0, -len(bits) % 8)).view(np.uint64)
