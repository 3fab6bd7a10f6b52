"""The language side: region tokens are spliced into a chat prompt, and a Qwen2 model writes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from model.fields import chat

PLACEHOLDER = "<image>"


@dataclass(frozen=True)
class Utterance:
    """What was written, and the mean probability of its tokens, 0..1; 0 for an empty text."""

    text: str
    score: float


def projector(inputs: int, hidden: int) -> nn.Sequential:
    """`mlp2x_gelu`: inputs -> hidden -> hidden."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden))


def prompt_ids(tokenizer: PreTrainedTokenizerBase, question: str) -> tuple[list[int], list[int]]:
    """Token ids before and after the image placeholder of a question; each side is tokenised on its own."""
    before, after = chat(question).split(PLACEHOLDER)
    return tokenizer.encode(before, add_special_tokens=False), tokenizer.encode(after, add_special_tokens=False)


def splice(embed: nn.Module, before: list[int], visual: Tensor, after: list[int]) -> Tensor:
    """Embeddings (L, hidden) of a prompt in which `visual`, float (V, hidden), stands for the placeholder."""
    device = visual.device
    return torch.cat([embed(torch.tensor(before, device=device)), visual, embed(torch.tensor(after, device=device))])


def left_pad(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows (L_i, hidden) as a batch (B, L, hidden) that is padded at the left, and its attention mask, int64 (B, L)."""
    length = max(len(row) for row in rows)
    batch = rows[0].new_zeros(len(rows), length, rows[0].shape[1])
    mask = torch.zeros(len(rows), length, dtype=torch.long, device=batch.device)
    for i, row in enumerate(rows):
        batch[i, length - len(row) :] = row
        mask[i, length - len(row) :] = 1
    return batch, mask


def write(
    language: nn.Module, tokenizer: PreTrainedTokenizerBase, prompts: list[Tensor], max_new_tokens: int
) -> list[Utterance]:
    """Answer several prompts in one batch, greedily.

    prompts: embeddings (L_i, hidden), as `splice` gives them.
    """
    embeds, mask = left_pad(prompts)
    end = int(tokenizer.convert_tokens_to_ids("<|im_end|>"))  # type: ignore[arg-type]
    output = language.generate(  # type: ignore[operator]
        inputs_embeds=embeds,
        attention_mask=mask,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
        return_dict_in_generate=True,
        output_logits=True,
    )
    logits = torch.stack(output.logits, dim=1).float()
    chosen = logits.log_softmax(-1).gather(2, output.sequences[:, :, None])[:, :, 0]
    return [_utterance(tokenizer, ids, scores, end) for ids, scores in zip(output.sequences, chosen, strict=True)]


def _utterance(tokenizer: PreTrainedTokenizerBase, ids: Tensor, log_probabilities: Tensor, end: int) -> Utterance:
    ends = (ids == end).nonzero()
    length = int(ends[0]) if len(ends) else len(ids)
    text = str(tokenizer.decode(ids[:length], skip_special_tokens=True))
    # The end token does not count: it is nearly certain, and would make a one-word answer look so too.
    return Utterance(text.strip(), float(log_probabilities[:length].exp().mean()) if length else 0.0)
