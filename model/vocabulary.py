"""Closed vocabulary: the labels of a list, ranked by how likely the language model is to say each of a region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from transformers import PreTrainedTokenizerBase

from model.errors import LabelError, ModelError, QuestionError
from model.fields import check_spoken

MAX_LABELS = 20_000
MAX_LABEL_CHARACTERS = 200

UNSCORED_SHARE = 0.01
"""Labels are scored until what the others can have together is less than this share of what the scored ones have."""

BATCH_TOKENS = 1024
"""Tokens, padding included, that the scorer gets at once: with Qwen2's vocabulary their logits take 600 MB."""

_FIRST_BATCH = 256
"""Tokens of the first batch, which often is enough; each further one is twice as large, up to BATCH_TOKENS."""

_END = "<|im_end|>"
_TINY = 1e-300


class Scorer(Protocol):
    """A language model that has read a region and the question, and is about to answer.

    first_log_probs: float (V,), natural log-probability of each token as the first one of the answer.
    """

    @property
    def first_log_probs(self) -> ArrayLike: ...

    def score(self, continuations: list[list[int]]) -> ArrayLike:
        """Float (N,): the log-probability of each continuation, summed over its tokens."""
        ...


@dataclass(frozen=True)
class Ranking:
    """The labels of a list, best first.

    probabilities:   of each label, given that it is one of the list; calibrated as far as the temperature is. Sum to 1.
    log_likelihoods: natural log of the probability that the model says exactly this label, in any of its spellings.
    scored:          how many labels were scored. The others got an equal share of what their first token had left,
                     which is a guess, but together they have less than UNSCORED_SHARE, and none of them can be best.
    """

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    log_likelihoods: tuple[float, ...]
    scored: int

    @property
    def best(self) -> str:
        """The most likely label."""
        return self.labels[0]

    @property
    def score(self) -> float:
        """Probability of the best label, 0..1."""
        return self.probabilities[0]

    @property
    def certainty(self) -> float:
        """How sure the choice is, 0..1: one minus the entropy of the probabilities over that of a blind guess."""
        if len(self.labels) == 1:
            return 1.0
        p = np.array(self.probabilities)
        entropy = -float((p * np.log(np.maximum(p, _TINY))).sum())
        return min(1.0, max(0.0, 1 - entropy / np.log(len(p))))

    @property
    def coverage(self) -> float:
        """Probability that the model, left free, would have said a label of the list, 0..1: low where none fits."""
        return min(1.0, float(np.exp(self.log_likelihoods).sum()))


def rank(
    labels: Sequence[str], tokenizer: PreTrainedTokenizerBase, scorer: Scorer, temperature: float = 1.0
) -> Ranking:
    """Rank a list of labels by the model's own likelihood of saying each, and nothing else, of the region.

    temperature: divides log-likelihoods before they become probabilities (Guo et al., On Calibration of Modern Neural
    Networks, 2017); the order does not depend on it.

    Thousands of labels cost little more than the likely ones among them: the probability of its first token, known
    beforehand, bounds a label's likelihood from above, so labels are scored in the order of their bounds until the rest
    cannot matter. Raises LabelError for a list that is empty or too long, and for a label that is empty, too long,
    given twice or no plain text; ModelError when the model's numbers are none.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise LabelError(f"the temperature is {temperature}: it must be a positive number")
    if isinstance(labels, str):
        raise LabelError(f"the labels are the text {labels[:40]!r}: give a list of texts")
    vocabulary = _vocabulary(tuple(labels), tokenizer)
    likelihoods, scored = _Search(vocabulary, scorer, temperature).run()
    order = np.argsort(-likelihoods, kind="stable")
    tempered = (likelihoods[order] - likelihoods[order[0]]) / temperature
    probabilities = np.exp(tempered) / np.exp(tempered).sum()
    return Ranking(
        labels=tuple(vocabulary.labels[i] for i in order),
        probabilities=tuple(probabilities.tolist()),
        log_likelihoods=tuple(likelihoods[order].tolist()),
        scored=scored,
    )


def check_labels(labels: Sequence[str]) -> None:
    """Raise LabelError for a list that no category can be chosen from (see `rank`)."""
    if not labels:
        raise LabelError("the list of labels is empty: give at least one")
    if len(labels) > MAX_LABELS:
        raise LabelError(f"the list has {len(labels)} labels: give at most {MAX_LABELS}")
    seen: set[str] = set()
    for label in labels:
        if not label.strip():
            raise LabelError("a label is empty: take it out of the list")
        if len(label) > MAX_LABEL_CHARACTERS:
            raise LabelError(f"the label {label[:40]!r}… is longer than {MAX_LABEL_CHARACTERS} characters")
        if label.strip() in seen:
            raise LabelError(f"the label {label!r} is in the list twice")
        seen.add(label.strip())
        try:
            check_spoken(label, f"the label {label!r}")
        except QuestionError as error:
            raise LabelError(str(error)) from error


def spellings(label: str) -> tuple[str, ...]:
    """What a model may write for a label: as it is, in lower case, with spaces for underscores and hyphens."""
    plain = label.strip()
    spaced = " ".join(plain.replace("_", " ").replace("-", " ").split())
    return tuple(dict.fromkeys(form for form in (plain, plain.lower(), spaced, spaced.lower()) if form))


@dataclass(frozen=True, eq=False)
class _Vocabulary:
    """A list of N labels, tokenised: S sequences, one for each spelling, that begin with one of G first tokens.

    sequences:     tokens of a spelling, and the end of the turn.
    owner, group:  int (S,): label and first token of each sequence.
    first:         int (G,): the first tokens.
    length:        int (N,): tokens of a label's longest sequence.
    links:         int (2, L): each pair of a label and a first token of it, once.
    """

    labels: tuple[str, ...]
    sequences: tuple[tuple[int, ...], ...]
    owner: np.ndarray
    group: np.ndarray
    first: np.ndarray
    length: np.ndarray
    links: np.ndarray


@lru_cache(maxsize=8)
def _vocabulary(labels: tuple[str, ...], tokenizer: PreTrainedTokenizerBase) -> _Vocabulary:
    check_labels(labels)
    end = tokenizer.convert_tokens_to_ids(_END)
    forms = [(i, form) for i, label in enumerate(labels) for form in spellings(label)]
    ids = tokenizer([form for _, form in forms], add_special_tokens=False)["input_ids"]
    rows = list(dict.fromkeys((i, (*tokens, end)) for (i, _), tokens in zip(forms, ids, strict=True)))
    owner = np.array([i for i, _ in rows])
    first, group = np.unique([tokens[0] for _, tokens in rows], return_inverse=True)
    length = np.zeros(len(labels), np.int64)
    np.maximum.at(length, owner, [len(tokens) for _, tokens in rows])
    links = np.unique(np.stack([owner, group]), axis=1)
    return _Vocabulary(labels, tuple(tokens for _, tokens in rows), owner, group, first, length, links)


class _Search:
    """Scores labels in the order of their bounds, and stops when the rest cannot matter.

    Spellings that begin alike share the probability of that token; what the scored ones took of it, the others cannot
    have. Owns the state of one search: the likelihoods, the labels still open, and what each first token has left.
    """

    def __init__(self, vocabulary: _Vocabulary, scorer: Scorer, temperature: float):
        self._words, self._scorer, self._temperature = vocabulary, scorer, temperature
        self._mass = np.exp(_numbers(scorer.first_log_probs))[vocabulary.first]
        self._left = self._mass + _TINY
        self._likelihoods = np.full(len(vocabulary.labels), -np.inf)
        self._open = np.ones(len(vocabulary.labels), bool)
        self._budget = _FIRST_BATCH

    def run(self) -> tuple[np.ndarray, int]:
        """Log-likelihood of each label, float64 (N,), and how many of them were scored."""
        while self._open.any():
            bounds = self._per_label(self._left)
            if self._is_decided(bounds):
                break
            self._score(self._next(bounds))
        guesses = np.log(self._per_label(self._left / np.maximum(self._open_in_group(), 1)))
        return np.where(self._open, guesses, self._likelihoods), int((~self._open).sum())

    def _per_label(self, of_group: np.ndarray) -> np.ndarray:
        """Float (N,): the sum over each label's first tokens of a value, float (G,)."""
        label, group = self._words.links
        return np.bincount(label, weights=of_group[group], minlength=len(self._open))

    def _open_in_group(self) -> np.ndarray:
        """Float (G,): how many open labels begin with each first token."""
        label, group = self._words.links
        return np.bincount(group, weights=self._open[label], minlength=len(self._mass))

    def _is_decided(self, bounds: np.ndarray) -> bool:
        """Whether no open label can be best, and all of them together cannot have a share that counts.

        bounds: float (N,), above the likelihood of each open label.
        """
        best = self._likelihoods.max()
        if np.log(bounds[self._open].max()) >= best:
            return False
        power = 1 / self._temperature
        count = self._open_in_group()
        count, left = count[count > 0], self._left[count > 0] / np.exp(best)
        if power <= 1:
            # Of all ways to split a mass among n labels, equal shares have the largest sum of p ** power.
            rest = (count * (left / count) ** power).sum()
        else:
            rest = (bounds[self._open].max() / np.exp(best)) ** (power - 1) * left.sum()
        scored = np.exp((self._likelihoods[~self._open] - best) * power).sum()
        return bool(rest <= UNSCORED_SHARE * scored)

    def _next(self, bounds: np.ndarray) -> np.ndarray:
        """Bool (S,): the sequences of the open labels with the largest bounds, as many as one batch holds."""
        words = self._words
        order = np.lexsort((words.length, -bounds))
        order = order[self._open[order]]
        rows = np.bincount(words.owner, minlength=len(self._open))[order].cumsum()
        fits = rows * np.maximum.accumulate(words.length[order]) <= self._budget
        self._budget = min(2 * self._budget, BATCH_TOKENS)
        chosen = np.zeros(len(self._open), bool)
        chosen[order[: max(1, int(fits.sum()))]] = True
        return chosen[words.owner]

    def _score(self, chosen: np.ndarray) -> None:
        words = self._words
        scores = _numbers(self._scorer.score([list(words.sequences[i]) for i in np.flatnonzero(chosen)]))
        if scores.shape != (chosen.sum(),):
            raise ModelError(f"the language model gave scores {scores.shape} for {chosen.sum()} continuations")
        np.logaddexp.at(self._likelihoods, words.owner[chosen], np.maximum(scores, np.log(_TINY)))
        np.subtract.at(self._left, words.group[chosen], np.exp(scores))
        self._open[words.owner[chosen]] = False
        # A difference of nearly equal numbers, where few labels took nearly all: allow for rounding.
        self._left = np.maximum(self._left, 1e-6 * self._mass + _TINY)


def _numbers(values: ArrayLike) -> np.ndarray:
    """Float64 on the CPU, of an array or a tensor. Raises ModelError for NaN."""
    detached = values.detach().float().cpu() if hasattr(values, "detach") else values
    array = np.asarray(detached, dtype=np.float64)
    if np.isnan(array).any():
        raise ModelError("the language model gave NaN instead of probabilities: its weights or its input are damaged")
    return array
