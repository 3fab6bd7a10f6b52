"""What PAM knows of an image after it has looked at it, and of an object after it has been pointed at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from model import sam as sam2
from model.region import Candidate, Candidates

if TYPE_CHECKING:
    from model.proposals import WorkingImage


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An image that was looked at once and can be asked about many times.

    height, width: of the original, in pixels.
    features:      SAM 2's.
    working:       what the classical proposals reuse, for models that need them.
    image:         the original, uint8 (H, W, 3) by reference, for models that take a closer look.
    """

    height: int
    width: int
    features: sam2.SamFeatures
    working: WorkingImage | None
    image: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held, for bounding a cache."""
        if self.working:
            return self.features.nbytes + self.working.nbytes  # it holds the original too
        return self.features.nbytes + (0 if self.image is None else self.image.nbytes)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A prompt's mask, and what the language side needs to talk about it.

    candidates:   the first is the mask: the best proposal, or token 0 of the decoder, as the official model has it.
    object_score: probability that the object is there at all, 0..1.
    output:       what SAM 2's decoder said, batch of one.
    image:        the picture, uint8 (H, W, 3) by reference, for models that take a closer look.
    """

    candidates: Sequence[Candidate]
    object_score: float
    output: sam2.SamOutput
    image: np.ndarray | None = None

    @property
    def mask(self) -> np.ndarray:
        """bool (H, W) at the size of the original image."""
        return self.candidates[0].mask

    @property
    def score(self) -> float:
        """Expected IoU of the mask, 0..1."""
        return self.candidates[0].score


def decoded(output: sam2.SamOutput, height: int, width: int) -> Candidates:
    """The four masks of SAM 2's decoder for one prompt, token 0 first, as the official model shows it.

    output: of one prompt. height, width: of the image, in pixels.
    """
    logits, scores = output.visible_logits, output.iou[0].tolist()

    def make(number: int) -> Candidate:
        with torch.inference_mode():
            mask = sam2.to_image_size(logits[:, number : number + 1], height, width)[0, 0] > 0
        return Candidate(mask.cpu().numpy(), scores[number])

    return Candidates(len(scores), make)
