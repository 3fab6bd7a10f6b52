"""Masks without a large network: what classical methods make of a prompt, and which of them to believe.

    working = prepare(image)            # once per image
    best = propose(working, prompt)[0]  # for each prompt

Several methods start from the same click, box or rough mask at a bounded working size. None is right everywhere, but
nearly always one of them is: a small ranker has learned which traits right masks have. The best ones are laid along
the edges of the picture at its full size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from model.prompt import Prompt
from model.proposals.ranker import judge
from model.proposals.steps import Settled, settle
from model.proposals.working import OFFERED, WorkingImage, prepare
from model.region import Candidate

__all__ = ["Proposals", "WorkingImage", "judge", "prepare", "propose"]


class Proposals(Sequence[Candidate]):
    """Masks that a prompt may mean, best first, clearly different from each other; at least one.

    They are brought to the image's size when they are asked for: on a large photograph that takes longer than finding
    them, and most are never looked at.
    """

    def __init__(self, working: WorkingImage, prompt: Prompt, settled: Settled, count: int):
        self._working, self._prompt, self._settled = working, prompt, settled
        self._made: list[Candidate | None] = [None] * min(count, len(settled.masks))

    def __len__(self) -> int:
        return len(self._made)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...
    @overload
    def __getitem__(self, index: slice) -> list[Candidate]: ...
    def __getitem__(self, index: int | slice) -> Candidate | list[Candidate]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        number = range(len(self))[index]
        made = self._made[number]
        if made is None:
            mask = self._settled.large(self._working, number, self._prompt)
            made = self._made[number] = Candidate(mask, self._settled.scores[number])
        return made


def propose(working: WorkingImage, prompt: Prompt, count: int = OFFERED) -> Proposals:
    """At most `count` masks, clearly different from each other, best first; at least one. Deterministic.

    Every positive click lies in each mask and every negative one outside (on a pixel clicked both ways the positive
    click wins). Each part of the mask holds a positive click, if there is one; specks and small holes are gone. With a
    box the mask stays in the pixels that the box touches, unless a positive click outside the box stretches it.
    Raises PromptError (see Prompt.check).
    """
    prompt.check(*working.image.shape[:2])
    return Proposals(working, prompt, settle(working, prompt), count)
