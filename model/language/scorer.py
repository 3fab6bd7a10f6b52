"""A language model that has read a region and a question, asked how likely answers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.language.transformer import Prefix, Transformer


@dataclass(frozen=True, eq=False)
class PrefixScorer:
    """See `model.vocabulary.Scorer`. prefix: of one prompt, up to where the answer begins."""

    transformer: Transformer
    prefix: Prefix

    @property
    def first_log_probs(self) -> np.ndarray:
        """float32 (V,)."""
        return self.transformer.logits(self.prefix.hidden[0]).float().log_softmax(-1).cpu().numpy()

    def score(self, continuations: Sequence[Sequence[int]]) -> np.ndarray:
        """float32 (N,), summed log-probabilities."""
        return self.transformer.score(self.prefix, continuations).cpu().numpy()
