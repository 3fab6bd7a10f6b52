"""The language side against the reference: the spliced prompt row by row, the continuation token by token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from model import language
from model.pam import PAM
from tests.model.parity.reference import close, split_ids

Decoder = Callable[[PAM, list[int], torch.Tensor, int], tuple[list[int], torch.Tensor]]
"""Prompt ids, visual tokens (V, hidden) and a count of steps to greedy tokens and their logits (steps, vocabulary)."""


def splice(pam: PAM, ids: list[int], visual: torch.Tensor) -> torch.Tensor:
    """Embeddings (L, hidden) of prompt ids in which `visual`, (V, hidden), stands for the placeholder."""
    before, after = split_ids(ids)
    return language.splice(pam.language.get_input_embeddings(), before, visual, after)


def hugging_face(pam: PAM, ids: list[int], visual: torch.Tensor, steps: int) -> tuple[list[int], torch.Tensor]:
    """The Qwen2 of `transformers`, nothing reused: what training runs."""
    embeds = splice(pam, ids, visual)
    said: list[int] = []
    logits = []
    for _ in range(steps):
        logits.append(pam.language(inputs_embeds=embeds[None], use_cache=False).logits[0, -1])
        said.append(int(logits[-1].argmax()))
        embeds = torch.cat([embeds, pam.language.get_input_embeddings()(torch.tensor(said[-1:]))])
    return said, torch.stack(logits)


def fast(pam: PAM, ids: list[int], visual: torch.Tensor, steps: int) -> tuple[list[int], torch.Tensor]:
    """What answers are written with: the prefix prefilled once, the question one row beside a longer other one."""
    transformer = pam.writer.transformer
    before, after = split_ids(ids)
    prefix = transformer.prefill(torch.cat([transformer.embed(torch.tensor(before)), visual])[None])
    other = [*reversed(after), *after]
    tokens = torch.tensor([[after + [0] * len(after), other]])
    lengths = torch.tensor([[len(after), len(other)]])
    tails, hidden = transformer.start(prefix, tokens, lengths, len(other) + steps)
    logits = [transformer.logits(hidden)]
    while len(logits) < steps:
        logits.append(transformer.logits(transformer.step(tails, logits[-1].argmax(-1))))
    asked = torch.stack([both[0, 0] for both in logits])
    return asked.argmax(-1).tolist(), asked


DECODERS: tuple[Decoder, ...] = (hugging_face, fast)
"""Every way that PAM's language model is run; each is held to the same numbers."""


@torch.inference_mode()
def check_words(
    pam: PAM,
    facts: dict[str, Any],
    visual: torch.Tensor,
    expected: dict[str, np.ndarray],
    *,
    embeds_limit: float,
    logits_limit: float,
) -> None:
    """The spliced prompt and what is said to it. visual: (V, hidden)."""
    embeds = splice(pam, facts["prompt_ids"], visual)
    assert len(embeds) == facts["sequence_length"]
    close(embeds, expected["inputs_embeds_fp32"], embeds_limit)
    close(embeds.sum(-1), expected["inputs_embeds_row_sums"], embeds_limit * embeds.shape[1] ** 0.5)
    for decode in DECODERS:
        said, logits = decode(pam, facts["prompt_ids"], visual, len(expected["greedy_tokens"]))
        assert said == facts["greedy_tokens"] == expected["greedy_tokens"].tolist()
        close(logits, expected["step_logits"], logits_limit)
