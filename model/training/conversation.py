"""Training samples as the official trainer makes them: a conversation about a region or clip, and which of it to learn.

The rules are those of the published weights' own training (official PAM repository, commit 2fc36d3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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


SHARED, PADDING = -1, -2
"""In place of the number of a conversation: what all of a row begin with, and what belongs to none."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Regions with what is said of them, in rows padded at the right.

    What a region's conversations begin with, the region included, stands once; each of them goes on from there, blind
    to the others. Regions that are short beside the longest share a row, blind to each other. A row of one region with
    one conversation is what the official trainer has.

    embeds:    float (B, L, hidden), zero where there is padding.
    regions:   int64 (B, L), the region that a token belongs to, from 0 in each row.
    parts:     int64 (B, L), the conversation that it belongs to, from 0 for each region, or SHARED or PADDING.
    positions: int64 (B, L), the place of a token in its conversation.
    sources:   int64 (N,), row * L + place of each token that predicts one that is to be learned; targets: int64 (N,),
               the ids of those. Conversation by conversation, in their order.
    counts:    how many of them each conversation has.
    """

    embeds: Tensor
    regions: Tensor
    parts: Tensor
    positions: Tensor
    sources: Tensor
    targets: Tensor
    counts: tuple[int, ...]


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


def collate(embed: nn.Module, said: Sequence[Sequence[Sample]], visual: Sequence[Tensor]) -> Batch:
    """Put regions' tokens in place of the placeholders and make a batch.

    embed: of token ids to vectors. said: the conversations about each region, of the same tokens before the
    placeholder. visual: float (V_i, hidden), of each region.
    """
    device = visual[0].device
    rows, parts, positions = [], [], []
    for samples, region in zip(said, visual, strict=True):
        begin = samples[0].ids.index(PLACEHOLDER_ID)
        ends = [sample.ids[begin + 1 :] for sample in samples]
        ids = torch.tensor([*samples[0].ids[:begin], *(i for end in ends for i in end)], device=device)
        before, after = embed(ids).tensor_split([begin])
        rows.append(torch.cat([before, region, after]))
        shared = begin + len(region)
        parts.append([SHARED] * shared + [part for part, end in enumerate(ends) for _ in end])
        positions.append([*range(shared), *(shared + place for end in ends for place in range(len(end)))])
    shelves = _shelved([len(row) for row in rows])
    length = max(map(len, rows))
    firsts, places = [0] * len(rows), [0] * len(rows)
    for number, shelf in enumerate(shelves):
        first = number * length
        for place, i in enumerate(shelf):
            firsts[i], places[i] = first, place
            first += len(rows[i])
    learned = [
        _learned(samples, len(region), first) for samples, region, first in zip(said, visual, firsts, strict=True)
    ]
    each = [pairs for row in learned for pairs in row]
    sources, targets = zip(*(pair for pairs in each for pair in pairs), strict=True) if any(each) else ((), ())

    def shelved(values: Sequence[Sequence[int]], padding: int) -> Tensor:
        put = [[value for i in shelf for value in values[i]] for shelf in shelves]
        return torch.tensor([row + [padding] * (length - len(row)) for row in put], device=device)

    return Batch(
        embeds=nn.utils.rnn.pad_sequence([torch.cat([rows[i] for i in shelf]) for shelf in shelves], batch_first=True),
        regions=shelved([[place] * len(row) for place, row in zip(places, rows, strict=True)], 0),
        parts=shelved(parts, PADDING),
        positions=shelved(positions, 0),
        sources=torch.tensor(sources, dtype=torch.int64, device=device),
        targets=torch.tensor(targets, dtype=torch.int64, device=device),
        counts=tuple(map(len, each)),
    )


def _shelved(lengths: Sequence[int]) -> list[list[int]]:
    """Which regions share a row: each goes to the first that has room, and none is longer than the longest region.

    One clip among pictures would else double what is computed.
    """
    shelves: list[list[int]] = []
    room: list[int] = []
    for i, length in enumerate(lengths):
        at = next((at for at, left in enumerate(room) if length <= left), len(shelves))
        if at == len(shelves):
            shelves.append([])
            room.append(max(lengths))
        shelves[at].append(i)
        room[at] -= length
    return shelves


def _learned(samples: Sequence[Sample], width: int, first: int) -> list[list[tuple[int, int]]]:
    """For each conversation of a row where the tokens stand that predict, and what.

    width: tokens of the region. first: number of the region's first token in the batch.
    """
    found, ends = [], 0
    begin = samples[0].ids.index(PLACEHOLDER_ID)
    for sample in samples:
        if sample.ids[: begin + 1] != samples[0].ids[: begin + 1]:
            raise RecordError("conversations about one region must begin alike, up to the region")
        pairs = []
        for place, label in enumerate(sample.labels):
            if label == IGNORED or place in (0, begin):
                continue
            after = place - begin - 1
            if after > 0:
                pairs.append((first + begin + width + ends + after - 1, label))
            else:  # what follows the region is predicted by the last of its tokens, in every conversation
                pairs.append((first + (place - 1 if after < 0 else begin + width - 1), label))
        found.append(pairs)
        ends += len(sample.ids) - begin - 1
    return found


def predictions(language: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits (N, vocabulary) where something is to be learned, and what, int64 (N,).

    Only there: a vocabulary is wide, and most of a sample is region tokens.
    """
    how = {}
    if bool((batch.parts > 0).any() or (batch.regions > 0).any()):
        how = {"attention_mask": blinkers(batch), "position_ids": batch.positions}
    # Else padding lies at the right, where causal attention never looks, so that no mask is needed.
    hidden = language.get_decoder()(inputs_embeds=batch.embeds, use_cache=False, **how).last_hidden_state
    return language.get_output_embeddings()(hidden.flatten(0, 1)[batch.sources]), batch.targets


def blinkers(batch: Batch) -> Tensor:
    """What attention may not look at, as float (B, 1, L, L) of 0 and a very low number.

    A token looks at those before it of its region that are shared, or of its own conversation.
    """
    parts, regions, dtype = batch.parts, batch.regions, batch.embeds.dtype
    seen = (parts[:, None, :] == SHARED) | (parts[:, None, :] == parts[:, :, None])
    seen &= regions[:, None, :] == regions[:, :, None]
    seen &= torch.ones(seen.shape[1:], dtype=torch.bool, device=parts.device).tril()
    return torch.zeros(seen.shape, dtype=dtype, device=parts.device).masked_fill(~seen, torch.finfo(dtype).min)[:, None]


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
    first, *others = (_ids(tokenizer, piece) for piece in text.split(PLACEHOLDER))
    return [*first, *(i for piece in others for i in (PLACEHOLDER_ID, *piece))]


def _token(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    (token,) = _ids(tokenizer, text)
    return token


@lru_cache(maxsize=4096)  # the same few questions and marks stand in every conversation
def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    return tuple(map(int, tokenizer.encode(text, add_special_tokens=False)))
