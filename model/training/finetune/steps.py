"""Which items a step of training reads: corrected regions, and old things among them.

Item number j of step i of a seed is always the same, whichever process makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

import cv2
import numpy as np
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from model.training.finetune.items import Item, Sight, seen
from model.training.finetune.records import RegionRecord
from model.training.finetune.rehearsal import rehearse


@dataclass(frozen=True)
class Plan:
    """Which regions a step reads.

    regions: how many there are. batch: how many a step reads, `rehearsed` of them old things.
    """

    seed: int
    steps: int
    regions: int
    batch: int
    rehearsed: int

    def step(self, number: int) -> list[int]:
        """Numbers of the regions of a step. Each region comes once before any comes again."""
        fresh = self.batch - self.rehearsed
        found = []
        for place in range(number * fresh, (number + 1) * fresh):
            lap, position = divmod(place, self.regions)
            found.append(int(np.random.default_rng((self.seed, lap, 23)).permutation(self.regions)[position]))
        return found


class Items(Dataset[list[Item]]):
    """The items of each step that are this process's: every `world`-th one from `rank` on."""

    def __init__(
        self,
        plan: Plan,
        regions: Sequence[RegionRecord],
        tokenizer: PreTrainedTokenizerBase,
        sight: Sight,
        rank: int = 0,
        world: int = 1,
    ):
        self.plan, self.regions, self.tokenizer, self.sight = plan, regions, tokenizer, sight
        self._rank, self._world = rank, world

    def __len__(self) -> int:
        return self.plan.steps

    def __getitem__(self, step: int) -> list[Item]:
        """Raises RecordError where a picture is gone or damaged."""
        cv2.setNumThreads(1)
        plan = self.plan
        new = [partial(self._seen, step, place, number) for place, number in enumerate(plan.step(step))]
        old = rehearse(plan.seed, step, plan.rehearsed, self.tokenizer, self.sight)
        every: Iterator[Callable[[], Item]] = chain(new, old)
        return [make() for make in islice(every, self._rank, None, self._world)]

    def _seen(self, step: int, place: int, number: int) -> Item:
        rng = np.random.default_rng((self.plan.seed, step, place, 29))
        return seen(self.regions[number], self.tokenizer, self.sight, rng)
