"""Masks without a large network: what classical methods make of a prompt, and which of them to believe.

    working = prepare(image)            # once per image
    best = propose(working, prompt)[0]  # for each prompt

Several methods start from the same click, box or rough mask at a bounded working size. None is right everywhere, but
nearly always one of them is: a small ranker has learned which traits right masks have. The best ones are laid along
the edges of the picture at its full size.
"""

from __future__ import annotations

from model.prompt import Prompt
from model.proposals.ranker import judge
from model.proposals.steps import settle
from model.proposals.working import OFFERED, WorkingImage, prepare
from model.region import Candidate, Candidates

__all__ = ["WorkingImage", "judge", "prepare", "propose"]


def propose(working: WorkingImage, prompt: Prompt, count: int = OFFERED) -> Candidates:
    """At most `count` masks, clearly different from each other, best first; at least one. Deterministic.

    Every positive click lies in each mask and every negative one outside (on a pixel clicked both ways the positive
    click wins). Each part of the mask holds a positive click, if there is one; specks and small holes are gone. With a
    box the mask stays in the pixels that the box touches, unless a positive click outside the box stretches it.
    Raises PromptError (see Prompt.check).
    """
    prompt.check(*working.image.shape[:2])
    settled = settle(working, prompt)
    return Candidates(
        min(count, len(settled.masks)),
        lambda number: Candidate(settled.large(working, number, prompt), settled.scores[number]),
    )
