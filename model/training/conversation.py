"""Training samples as the official trainer makes them: a conversation about a region or clip, and which of it to learn.

The rules are those of the published weights' own training (official PAM repository, commit 2fc36d3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from model.errors import QuestionError, RecordError
from model.fields import PLACEHOLDER, SYSTEM, check_spoken

PLACEHOLDER_ID = -200
"""Stands among token ids for the region's tokens."""
IGNORED = -100
"""The label of a token that is not learned."""
START, END, NEWLINE = "<|im_start|>", "<|im_end|>", "\n"


@dataclass(frozen=True)
class Sample:
    """A conversation in tokens.

    ids:    token ids, PLACEHOLDER_ID exactly once among them.
    labels: for each of them the id that the token before it should predict, or IGNORED.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.labels):
            raise RecordError(
                f"a sample has {len(self.ids)} tokens and {len(self.labels)} labels: they must be as many"
            )
        if (count := self.ids.count(PLACEHOLDER_ID)) != 1:
            raise RecordError(f"a sample holds {PLACEHOLDER} {count} times: it must hold it exactly once")


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples with their regions' tokens in place, padded at the right.

    embeds: float (B, L, hidden), zero where there is padding.
    labels: int64 (B, L), IGNORED where nothing is learned.
    mask:   bool (B, L), false where there is padding.
    """

    embeds: Tensor
    labels: Tensor
    mask: Tensor


def tokenise(tokenizer: PreTrainedTokenizerBase, exchanges: Sequence[tuple[str, str]]) -> Sample:
    """A conversation of questions and answers, the first question with one `<image>`.

    What the assistant says is learned, from the header of its turn to the end; so are newlines and the marks of a
    turn's start and end wherever they stand, odd as that is: the published weights were trained with it.
    Raises RecordError for a conversation without words, for a placeholder that is missing or too many, and for control
    tokens among the words.
    """
    if not exchanges:
        raise RecordError("a conversation needs a question and an answer: it is empty")
    turns = [("system", SYSTEM)]
    for question, answer in exchanges:
        turns += [("user", placeholder_first(question)), ("assistant", answer)]
    always = {_token(tokenizer, text) for text in (START, END, NEWLINE)}
    ids: list[int] = []
    labels: list[int] = []
    for role, text in turns:
        _check(role, text)
        spoken = _encode(tokenizer, f"{START}{role}{NEWLINE}{text}{END}{NEWLINE}")
        ids += spoken
        labels += [i if role == "assistant" or i in always else IGNORED for i in spoken]
    return Sample(tuple(ids), tuple(labels))


def answers_alone(tokenizer: PreTrainedTokenizerBase, sample: Sample) -> Sample:
    """The same conversation, of which only answers and their ends are learned: what nano was trained with.

    The marks around the turns, which the official trainer has learned too, would be new to such a model.
    """
    header, end = _encode(tokenizer, f"{START}assistant{NEWLINE}"), _token(tokenizer, END)
    labels = [IGNORED] * len(sample.ids)
    for i in range(len(sample.ids)):
        if list(sample.ids[i : i + len(header)]) == header:
            begins = i + len(header)
            ends = sample.ids.index(end, begins) + 1
            labels[begins:ends] = sample.ids[begins:ends]
    return Sample(sample.ids, tuple(labels))


def placeholder_first(text: str) -> str:
    """A turn with its `<image>`, if it has one, on a line of its own in front, where the questions have it."""
    if text.count(PLACEHOLDER) != 1 or text.startswith(PLACEHOLDER):
        return text
    return f"{PLACEHOLDER}{NEWLINE}{text.replace(PLACEHOLDER, '').strip()}"


def collate(
    embed: nn.Module, samples: Sequence[Sample], visual: Sequence[Tensor], max_length: int | None = None
) -> Batch:
    """Put regions' tokens in place of the placeholders and make a batch.

    embed: of token ids to vectors. visual: float (V_i, hidden) for each sample. max_length: longer rows are cut off.
    """
    rows, labels = [], []
    for sample, region in zip(samples, visual, strict=True):
        place = sample.ids.index(PLACEHOLDER_ID)
        ids = torch.tensor(sample.ids[:place] + sample.ids[place + 1 :], device=region.device)
        before, after = embed(ids).tensor_split([place])
        rows.append(torch.cat([before, region, after])[:max_length])
        learned = sample.labels[:place] + (IGNORED,) * len(region) + sample.labels[place + 1 :]
        labels.append(torch.tensor(learned, device=region.device)[:max_length])
    lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
    padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return Batch(
        embeds=padded,
        labels=nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        mask=torch.arange(padded.shape[1], device=lengths.device) < lengths[:, None],
    )


def predictions(language: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits (N, vocabulary) where something is to be learned, and what, int64 (N,).

    Only there: a vocabulary is wide, and most of a sample is region tokens. Padding lies at the right, where causal
    attention never looks, so that no mask is needed.
    """
    hidden = language.get_decoder()(inputs_embeds=batch.embeds, use_cache=False).last_hidden_state[:, :-1]
    targets = batch.labels[:, 1:]
    learned = targets != IGNORED
    return language.get_output_embeddings()(hidden[learned]), targets[learned]


def loss(language: Any, batch: Batch) -> Tensor:
    """Mean cross entropy over everything in the batch that is to be learned, in float32."""
    logits, targets = predictions(language, batch)
    return F.cross_entropy(logits.float(), targets)


def _check(role: str, text: str) -> None:
    words = text.replace(PLACEHOLDER, "", 1) if role == "user" else text
    if not words.strip():
        raise RecordError(f"a turn of the {role} has no words")
    try:
        check_spoken(words, f"a turn of the {role}")
    except QuestionError as error:
        raise RecordError(str(error)) from error


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a text; each side of the placeholder is tokenised on its own."""
    pieces = [tokenizer.encode(piece, add_special_tokens=False) for piece in text.split(PLACEHOLDER)]
    joined = pieces[0]
    for piece in pieces[1:]:
        joined = [*joined, PLACEHOLDER_ID, *piece]
    return joined


def _token(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    (token,) = tokenizer.encode(text, add_special_tokens=False)
    return int(token)
