"""Masks without a trained network: what classical methods make of a prompt, and which of them to believe.

    working = prepare(image)            # once per image
    best = propose(working, prompt)[0]  # for each prompt

Six methods start from the same click, box or rough mask at a bounded working size. None is right everywhere, but wrong
answers differ and right ones resemble each other: the mask that agrees most with the others is taken (the medoid by
IoU, weighed by how much each looks like an object), and laid along the edges of the picture at its full size.
"""

from __future__ import annotations

from model.prompt import Prompt
from model.proposals.enlarge import enlarge
from model.proposals.oblige import oblige
from model.proposals.steps import settle
from model.proposals.working import WorkingImage, prepare
from model.region import Candidate

__all__ = ["WorkingImage", "prepare", "propose"]


def propose(working: WorkingImage, prompt: Prompt, count: int = 1) -> list[Candidate]:
    """At most `count` masks, clearly different from each other, best first; at least one. Deterministic.

    Every positive click lies in each mask and every negative one outside (on a pixel clicked both ways the positive
    click wins). Each part of the mask holds a positive click, if there is one; specks and small holes are gone. With a
    box the mask stays in the pixels that the box touches, unless a positive click outside the box stretches it.
    Raises PromptError (see Prompt.check).
    """
    prompt.check(*working.image.shape[:2])
    settled = settle(working, prompt)
    return [
        Candidate(oblige(working.image, enlarge(working, settled.view, mask), prompt), score)
        for mask, score in list(zip(settled.masks, settled.scores, strict=True))[:count]
    ]
