"""From prompts on an encoded image to segmentations: proposals or an earlier mask, then SAM 2's decoder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from model import sam as sam2
from model.errors import PromptError
from model.prompt import Prompt
from model.region import Candidate
from model.segmentation import EncodedImage, Segmentation, decoded

if TYPE_CHECKING:
    from model.pam import PAM

PROMPTS_PER_PASS = 32
"""Prompts in one decoder batch."""

LOGIT_BOUND = 32.0
"""Mask logits that are fed back are clamped to this, as sam2's image predictor clamps what it returns for refining."""


@torch.inference_mode()
def segment(
    pam: PAM, image: EncodedImage, prompts: Sequence[Prompt], previous: Sequence[Segmentation | None]
) -> list[Segmentation]:
    """What prompts mean, each as if it were alone.

    previous: what each found before its last click, or None. Raises PromptError.
    """
    for prompt in prompts:
        prompt.check(image.height, image.width)
    proposed = [_propose(image, *pair) for pair in zip(prompts, previous, strict=True)]
    masks = [_mask_prompt(pam, *each) for each in zip(prompts, proposed, previous, strict=True)]
    return decode(pam, image, prompts, proposed, masks)


@torch.inference_mode()
def adopt(pam: PAM, image: EncodedImage, prompts: Sequence[Prompt]) -> list[Segmentation]:
    """The same of prompts whose masks are taken as they are. Raises PromptError, for one without a mask, too."""
    known: list[Candidate] = []
    for prompt in prompts:
        prompt.check(image.height, image.width)
        if prompt.mask is None:
            raise PromptError("what is to be adopted needs a mask: the prompt has none")
        known.append(Candidate(prompt.mask, 1.0))
    masks = [as_mask_prompt(pam, each.mask) for each in known]
    return decode(pam, image, prompts, [[each] for each in known], masks)


@torch.inference_mode()
def decode(
    pam: PAM,
    image: EncodedImage,
    prompts: Sequence[Prompt],
    proposed: Sequence[Sequence[Candidate]],
    masks: Sequence[Tensor | None],
) -> list[Segmentation]:
    """What SAM 2's decoder says of prompts' clicks and boxes.

    Prompts share a pass of the decoder with those that have as many clicks and boxes as they: padding would be one
    more token that SAM 2 attends to.

    proposed: the candidates of each that are shown instead of the decoder's, or none.
    masks:    what each is given as its mask input, float (1, 1, S/4, S/4), or None.
    """
    like: dict[tuple[int, bool], list[int]] = defaultdict(list)
    points, labels = [], []
    for i, prompt in enumerate(prompts):
        each, label = sam2.prompt_tensors(
            prompt, image.height, image.width, pam.image_size, pam.device, image.features.embedding.dtype
        )
        points.append(each)
        labels.append(label)
        like[each.shape[1], masks[i] is None].append(i)
    found: dict[int, Segmentation] = {}
    for (_, unmasked), members in like.items():
        for start in range(0, len(members), PROMPTS_PER_PASS):
            some = members[start : start + PROMPTS_PER_PASS]
            output = sam2.decode(
                pam.sam,
                image.features,
                torch.cat([points[i] for i in some]),
                torch.cat([labels[i] for i in some]),
                None if unmasked else torch.cat([mask for i in some if (mask := masks[i]) is not None]),
                one_image=True,
            )
            for row, i in enumerate(some):
                found[i] = _found(image, output.row(row), proposed[i])
    return [found[i] for i in range(len(prompts))]


def as_mask_prompt(pam: PAM, mask: np.ndarray) -> Tensor:
    """A bool mask of the whole image, at any size, as SAM 2's mask input, float (1, 1, S/4, S/4)."""
    return sam2.mask_prompt(mask, pam.sam, pam.device).to(pam.image_newline.dtype)


def _found(image: EncodedImage, output: sam2.SamOutput, proposed: Sequence[Candidate]) -> Segmentation:
    return Segmentation(
        candidates=proposed or decoded(output, image.height, image.width),
        object_score=float(output.object_score[0, 0].float().sigmoid()),
        output=output,
        image=image.image,
    )


def _propose(image: EncodedImage, prompt: Prompt, previous: Segmentation | None) -> Sequence[Candidate]:
    if image.working is None:
        return []
    from model import proposals  # larger models do without it, and without what it imports

    if prompt.mask is None and previous is not None and previous.mask.any():
        prompt = replace(prompt, mask=previous.mask)
    return proposals.propose(image.working, prompt)


def _mask_prompt(
    pam: PAM, prompt: Prompt, proposed: Sequence[Candidate], previous: Segmentation | None
) -> Tensor | None:
    """What SAM 2 is given as its mask input, or None."""
    rough = proposed[0].mask if proposed else prompt.mask
    if rough is not None:
        return as_mask_prompt(pam, rough)
    return None if previous is None else previous.output.logits[:, :1].clamp(-LOGIT_BOUND, LOGIT_BOUND)
