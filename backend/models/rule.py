"""Whether a new model has earned its place, by its answers on corrections that it never saw.

No field may have got worse beyond noise, neither on corrections nor on what the model knew before, and at least one
must have got better on corrections. Noise is told by the paired permutation test (Fisher, The Design of Experiments,
1935, sec. 21): were both models as good, each region could as well have been answered the other way round. For answers
that are right or wrong this is McNemar's exact test.

What is asked of several fields at once is asked more strictly of a gain: one lucky field must not carry a model, so the
p of those that rose are adjusted (Benjamini and Hochberg 1995) for the number of fields that could have shown one
(Tarone 1990). A loss counts as soon as it is beyond noise by itself: what is kept aside by chance costs one more
training, what harms a project costs more. Regions count as independent of each other; where they are few to a picture
they nearly are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import false_discovery_control, permutation_test

from backend.models.report import Report, Validation

SIGNIFICANCE = 0.05

CORRECTED, OLD = "regions", "drawn things that it knew before"

_DRAWS = 9999
_NUMBERS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Change:
    """How one field changed.

    regions: that have a score from both models. before, after: mean scores, 0..1. differ: regions whose two differ.
    p: of so large a difference, either way, between models that are as good; adjusted where it rose on corrections.
    of: what the regions are.
    """

    field: str
    metric: str
    regions: int
    before: float
    after: float
    differ: int
    p: float
    of: str = CORRECTED

    @property
    def may_carry(self) -> bool:
        """Whether it could have shown, had all that differs been for the better, that the new model is better."""
        return self.of == CORRECTED and 2 * 0.5**self.differ < SIGNIFICANCE

    @property
    def is_better(self) -> bool:
        return self.after > self.before and self.p < SIGNIFICANCE

    @property
    def is_worse(self) -> bool:
        return self.after < self.before and self.p < SIGNIFICANCE

    def __str__(self) -> str:
        verb = "rose" if self.after > self.before else "fell" if self.after < self.before else "stayed"
        change = f"{self.field} {verb} from {_share(self.before)} to {_share(self.after)} on {self.regions} {self.of}"
        return f"{change}, {chance(self.p)}"


@dataclass(frozen=True)
class Verdict:
    """Whether a model may take over, and why, in a sentence."""

    passed: bool
    reason: str


def judge(report: Report, least: int) -> Verdict:
    """Hold the new model against the one that it came from.

    least: regions that must have been held out; a field counts as better only on so many.
    """
    changes = changes_of(report)
    corrected = [change for change in changes if change.of == CORRECTED]
    held_out = max((change.regions for change in corrected), default=0)
    if held_out < least:
        return Verdict(
            False,
            f"only {held_out} regions were held out, and fewer than {least} do not tell better from chance: correct "
            "more, or promote it by hand",
        )
    if worse := [change for change in changes if change.is_worse]:
        return Verdict(False, "; ".join(map(str, worse)))
    better = [change for change in corrected if change.is_better and change.regions >= least]
    others = [change for change in corrected if change not in better]
    if not better:
        return Verdict(False, f"nothing got better beyond noise: {'; '.join(map(str, others))}")
    said = "; ".join(map(str, better))
    if others:
        said += f"; {', '.join(change.field for change in others)}: no worse beyond noise"
    return Verdict(True, said)


def changes_of(report: Report) -> list[Change]:
    """The change of each field that has scores: on corrections, then on what the model knew before."""
    changes = [*_changes(report.validation, CORRECTED), *_changes(report.old_words, OLD)]
    able = [i for i, change in enumerate(changes) if change.may_carry]
    adjusted = false_discovery_control([changes[i].p for i in able]) if able else []
    for i, p in zip(able, adjusted, strict=True):
        if changes[i].after > changes[i].before:
            changes[i] = replace(changes[i], p=float(p))
    return changes


def _changes(shown: Validation, of: str) -> Iterator[Change]:
    for field, scores in shown.fields.items():
        if pairs := scores.pairs():
            before, after = np.array(pairs).T
            change = after - before
            means = float(before.mean()), float(after.mean())
            yield Change(field, scores.metric, len(pairs), *means, np.count_nonzero(change), probability(change), of)


def probability(differences: Sequence[float] | np.ndarray) -> float:
    """How often a mean as far from 0 comes about where the sign of each difference, float (N,), is chance.

    Exact where at most 13 differ from 0, else of 9999 draws, which are the same each time. 0..1, never 0.
    """
    values = np.asarray(differences, float)
    values = values[values != 0]  # whose sign changes nothing
    if len(values) < 2:  # one comes out as far from 0 with either sign
        return 1.0
    found = permutation_test(
        (values,), np.mean, permutation_type="samples", vectorized=True, n_resamples=_DRAWS,
        batch=max(1, _NUMBERS_AT_ONCE // len(values)), rng=np.random.default_rng(0),
    )  # fmt: skip
    return min(1.0, float(found.pvalue))


def chance(p: float) -> str:
    """A probability as people write it."""
    return "p < .001" if p < 0.001 else f"p = {f'{p:.3f}'.removeprefix('0')}"


def _share(value: float) -> str:
    return f"{value:.2f}".removeprefix("0") if value < 0.995 else "1.00"
