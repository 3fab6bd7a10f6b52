"""Masks without a trained network: what classical methods make of a prompt, and which of them to believe.

    working = prepare(image)            # once per image
    best = propose(working, prompt)[0]  # for each prompt

Seven methods start from the same clicks, box or rough mask at a bounded working size. None is right everywhere, but
wrong answers differ and right ones resemble each other: the proposal that agrees most with the others (the medoid, by
IoU) is taken, and laid along the edges of the picture at its full size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.prompt import Prompt
from model.proposals.honour import honour
from model.proposals.methods import candidates
from model.proposals.refine import refine
from model.proposals.seeds import sow
from model.proposals.select import rank
from model.proposals.working import WorkingImage, prepare

__all__ = ["Proposal", "WorkingImage", "prepare", "propose"]


@dataclass(frozen=True, eq=False)
class Proposal:
    """A mask that a prompt may mean.

    mask:  bool (H, W) at the size of the original image.
    score: expected IoU, 0..1, from how far the methods agree.
    """

    mask: np.ndarray
    score: float


def propose(working: WorkingImage, prompt: Prompt, count: int = 1) -> list[Proposal]:
    """At most `count` masks, clearly different from each other, best first; at least one. Deterministic.

    Every positive click lies in each mask and every negative one outside (on a pixel clicked both ways the positive
    click wins). Each part of the mask holds a positive click, if there is one; specks and small holes are gone. With a
    box the mask stays in the pixels that the box touches, unless a positive click outside the box stretches it.
    Raises PromptError (see Prompt.check).
    """
    height, width = working.image.shape[:2]
    prompt.check(height, width)
    ranked = rank(list(candidates(working, sow(working, prompt)).values()))
    return [Proposal(honour(working.image, refine(working, mask), prompt), score) for mask, score in ranked[:count]]
