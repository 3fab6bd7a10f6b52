"""A look at regions that nobody waits for, and what memory keeps of it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np

from backend.engine import Engine
from backend.memory.memory import ProjectMemories
from model import EncodedImage, Prompt

REGIONS_A_TURN = 4
"""Seen at once; a click waits for so many."""


class Seeing:
    """Shows regions to the engine's model while nobody clicks."""

    def __init__(self, engine: Engine, memories: ProjectMemories):
        self._engine, self._memories = engine, memories

    def encode(self, image: np.ndarray) -> EncodedImage:
        """A picture, uint8 (H, W, 3) RGB, for `see`. Raises ModelNotReady."""
        return self._engine.encode_in_spare_time(image)

    def see(self, project_id: int, task_id: int, image: EncodedImage, regions: Iterable[tuple[str, Prompt]]) -> None:
        """Have remembered what the model that encoded `image` sees in a task's regions, a few at a time.

        regions: ids and prompts, each with its mask. Raises LedgerError, and as `Engine.embed_in_spare_time`.
        """
        left = iter(regions)
        while some := dict(islice(left, REGIONS_A_TURN)):
            version, embeddings = self._engine.embed_in_spare_time(image, list(some.values()))
            self._memories.see(project_id, task_id, version, dict(zip(some, embeddings, strict=True)))
