"""How a prompt is put together: chat text, with a region's tokens in place of `<image>`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from model.errors import QuestionError
from model.fields import PLACEHOLDER, chat, check_spoken


@dataclass(frozen=True)
class Question:
    """What is asked about a region.

    text:   the human turn; it begins with `<image>` (see model/fields.py).
    begins: words that the answer must begin with; they are not part of what is answered.
    Raises QuestionError where these are more than plain words.
    """

    text: str
    begins: str = ""

    def __post_init__(self) -> None:
        if not self.text.startswith(PLACEHOLDER):
            raise QuestionError(f"the question {self.text[:60]!r} does not begin with {PLACEHOLDER}: see fields.ask")
        check_spoken(self.text.removeprefix(PLACEHOLDER), "the question")
        check_spoken(self.begins, "the beginning of the answer")


def projector(inputs: int, hidden: int) -> nn.Sequential:
    """`mlp2x_gelu`: inputs -> hidden -> hidden."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden))


def prompt_ids(tokenizer: PreTrainedTokenizerBase, question: Question) -> tuple[list[int], list[int]]:
    """Token ids before and after the image placeholder of a question; each side is tokenised on its own."""
    before, after = chat(question.text).split(PLACEHOLDER)
    return (
        tokenizer.encode(before, add_special_tokens=False),
        tokenizer.encode(after + question.begins, add_special_tokens=False),
    )


def splice(embed: nn.Module, before: list[int], visual: Tensor, after: list[int]) -> Tensor:
    """Embeddings (L, hidden) of a prompt in which `visual`, float (V, hidden), stands for the placeholder."""
    device = visual.device
    return torch.cat([embed(torch.tensor(before, device=device)), visual, embed(torch.tensor(after, device=device))])
