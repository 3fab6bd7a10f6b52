"""Answers, token by token: all questions about all regions are rows of one batch, each with its own end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from tokenizers.decoders import DecodeStream
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model.errors import ModelError
from model.language.graph import Step, Stepper
from model.language.transformer import Prefix, Transformer

END = "<|im_end|>"
_ROOM, _SLOTS = 32, 32
"""Rows begin with room for so many new tokens, since every step looks at all slots, full or not; and in multiples of so
many slots, so that few CUDA graphs serve all prompts."""
_LOOK_EVERY = 8
"""Steps between two looks at whether all rows have ended, on a device where looking means waiting for it."""


@dataclass(frozen=True)
class DecodingOptions:
    """How answers are decoded.

    max_new_tokens, min_new_tokens: bounds of an answer's length in tokens; the end token counts.
    temperature: 0 is greedy, and then deterministic; else logits are divided by it and a token is drawn.
    top_p:       tokens are drawn from the likeliest ones that together have this probability, 0..1.
    seed:        of the draws; None draws anew each time.
    """

    max_new_tokens: int = 512
    min_new_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.max_new_tokens:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}, it must be at least 1")
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise ValueError(f"min_new_tokens is {self.min_new_tokens}, it must be in 0..{self.max_new_tokens}")
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ValueError(f"temperature is {self.temperature}, it must be 0 or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}, it must be more than 0 and at most 1")


GREEDY = DecodingOptions()


@dataclass(frozen=True)
class Utterance:
    """One answer.

    log_probability: mean over its tokens, the end token not counted; -inf for an empty text.
    finished:        whether the model ended it, and not the limit of its length.
    """

    text: str
    log_probability: float
    finished: bool

    @property
    def score(self) -> float:
        """The geometric mean of its tokens' probabilities, 0..1."""
        return math.exp(self.log_probability)


@dataclass(frozen=True)
class Piece:
    """Some more text of one row's answer, whole characters only."""

    row: int
    text: str


class Writer:
    """Answers questions about regions; what it writes with belongs to a model, see `Transformer`."""

    def __init__(self, transformer: Transformer, tokenizer: PreTrainedTokenizerBase):
        self.transformer = transformer
        self.end = int(tokenizer.convert_tokens_to_ids(END))  # type: ignore[arg-type]
        self._tokenizer = tokenizer
        self._stepper = Stepper(transformer)

    def write(
        self, prefix: Prefix, questions: Sequence[Sequence[Sequence[int]]], options: DecodingOptions
    ) -> list[list[Utterance]]:
        """Answer F questions about each of B regions.

        prefix:    what stands before the questions, of B regions.
        questions: B x F lists of token ids.
        """
        steps = list(self.decode(prefix, questions, options))
        ids, log_probabilities = (torch.stack(each, dim=2).cpu() for each in zip(*steps, strict=True))
        _check_numbers(log_probabilities)
        return [
            [self._utterance(row, scores) for row, scores in zip(rows, row_scores, strict=True)]
            for rows, row_scores in zip(ids, log_probabilities, strict=True)
        ]

    def stream(self, prefix: Prefix, questions: Sequence[Sequence[int]], options: DecodingOptions) -> Iterator[Piece]:
        """Answer F questions about one region, piece by piece as they are decoded."""
        rows = {row: _Row(self._tokenizer) for row in range(len(questions))}
        for tokens, log_probabilities in self.decode(prefix, [questions], options):
            _check_numbers(log_probabilities)
            for row, token in enumerate(tokens[0].tolist()):
                if row not in rows:
                    continue
                text = rows.pop(row).rest() if token == self.end else rows[row].add(token)
                if text:
                    yield Piece(row, text)
        for row, unfinished in rows.items():
            if text := unfinished.rest():
                yield Piece(row, text)

    def decode(
        self, prefix: Prefix, questions: Sequence[Sequence[Sequence[int]]], options: DecodingOptions
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The steps of decoding: tokens, int64 (B, F), and their log-probabilities, float32 (B, F).

        Stops when each row has had its end token, some steps later on a GPU; what a row says after its end means
        nothing.
        """
        device = prefix.keys.device
        lengths = torch.tensor([[len(ids) for ids in row] for row in questions], device=device)
        longest = max(len(ids) for row in questions for ids in row)
        padded = [[[*ids, *[self.end] * (longest - len(ids))] for ids in row] for row in questions]
        most = longest + options.max_new_tokens
        slots = -(-min(most, longest + _ROOM) // _SLOTS) * _SLOTS
        rows, hidden = self.transformer.start(prefix, torch.tensor(padded, device=device), lengths, slots)
        logits = self.transformer.logits(hidden)
        choose = _chooser(options, self.end, device)
        look_every = 1 if device.type == "cpu" else _LOOK_EVERY
        going, unseen = set(range(lengths.numel())), []
        with ExitStack() as lent:
            step: Step | None = None
            for number in range(1, options.max_new_tokens + 1):
                chosen, log_probabilities = choose(logits.float(), number)
                yield chosen, log_probabilities
                unseen.append(chosen.flatten())
                if number % look_every == 0:
                    for tokens in torch.stack(unseen).tolist():
                        going -= {row for row, token in enumerate(tokens) if token == self.end}
                    unseen.clear()
                if not going or number == options.max_new_tokens:
                    return
                # Only now, so that no first word waits for a graph to be made.
                if step is None or longest + number > step.rows.room:
                    if step is not None:
                        rows = self.transformer.widen(step.rows, min(2 * step.rows.room, most))
                        lent.close()
                    step = lent.enter_context(self._stepper.lend(rows))
                logits = step(chosen)

    def _utterance(self, ids: Tensor, log_probabilities: Tensor) -> Utterance:
        ends = (ids == self.end).nonzero()
        length = int(ends[0]) if len(ends) else len(ids)
        text = str(self._tokenizer.decode(ids[:length], skip_special_tokens=True)).strip()
        # The end token does not count: it is nearly certain, and would make a one-word answer look so too.
        return Utterance(text, float(log_probabilities[:length].mean()) if text else -math.inf, bool(len(ends)))


def _chooser(
    options: DecodingOptions, end: int, device: torch.device
) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
    """What picks the next token of each row: logits float32 (B, F, V) and the number of the step to ids and scores."""
    generator = None
    if options.temperature > 0:
        generator = torch.Generator(device)
        generator.seed() if options.seed is None else generator.manual_seed(options.seed)
    end_of_all = torch.tensor(end, device=device)

    def choose(logits: Tensor, number: int) -> tuple[Tensor, Tensor]:
        log_probabilities = logits.log_softmax(-1)
        if number <= options.min_new_tokens:
            logits = logits.index_fill(-1, end_of_all, -torch.inf)
        if generator is None:
            chosen = logits.argmax(-1)
        else:
            sharp = (logits - logits.amax(-1, keepdim=True)) / options.temperature
            probabilities = _nucleus(sharp.softmax(-1), options.top_p)
            # The first of exponential clocks to ring: a draw that, unlike torch.multinomial, does not wait for the GPU.
            clocks = torch.empty_like(probabilities).exponential_(generator=generator)
            chosen = (probabilities / clocks).argmax(-1)
        return chosen, log_probabilities.gather(-1, chosen[..., None])[..., 0]

    return choose


def _check_numbers(log_probabilities: Tensor) -> None:
    """Raise ModelError where the model has computed something that is no number."""
    if bool(log_probabilities.isnan().any()):
        raise ModelError(
            "the language model computed NaN: its weights are damaged, or float16 is too narrow for it, and bfloat16 "
            "or float32 is not"
        )


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Keep of each distribution the likeliest tokens that together reach `top_p` (arXiv 1904.09751), the rest is 0."""
    if top_p == 1:
        return probabilities
    ordered, order = probabilities.sort(-1, descending=True)
    # A token stays if those before it do not suffice, so that at least one does.
    ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= top_p, 0)
    return torch.zeros_like(probabilities).scatter(-1, order, ordered)


class _Row:
    """The text of one row so far: tokens may be parts of a character, and what is handed on may not."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._ids: list[int] = []
        self._sent = ""

    def add(self, token: int) -> str:
        """What can be said now that could not be said before."""
        self._ids.append(token)
        text = self._stream.step(self._tokenizer.backend_tokenizer, token) or ""
        self._sent += text
        return text

    def rest(self) -> str:
        """What was held back when the answer broke off, a part of a character as U+FFFD."""
        return str(self._tokenizer.decode(self._ids, skip_special_tokens=True))[len(self._sent) :]
