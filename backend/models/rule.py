"""Whether a new model has earned its place, by its answers on corrections that it never saw.

No field may have got worse beyond noise, neither on corrections nor on what the model knew before, and at least one
must have got better on corrections. Noise is told by the paired bootstrap (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, ch. 13): regions are drawn again with replacement, each with the old and the new model's score, and the
mean difference of 95% of the draws is the interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

from backend.models.report import Report, Validation

DRAWS, CONFIDENCE = 9999, 0.95

CORRECTED, OLD = "regions", "drawn things that it knew before"

_NUMBERS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Change:
    """How one field changed.

    regions: that have a score from both models. before, after: mean scores, 0..1.
    low, high: of the interval of the difference. of: what the regions are.
    """

    field: str
    metric: str
    regions: int
    before: float
    after: float
    low: float
    high: float
    of: str = CORRECTED

    @property
    def is_better(self) -> bool:
        return self.low > 0

    @property
    def is_worse(self) -> bool:
        return self.high < 0

    def __str__(self) -> str:
        verb = "rose" if self.after > self.before else "fell" if self.after < self.before else "stayed"
        return (
            f"{self.field} {verb} from {_share(self.before)} to {_share(self.after)} on {self.regions} {self.of}, "
            f"95% interval {_signed(self.low)} to {_signed(self.high)}"
        )


@dataclass(frozen=True)
class Verdict:
    """Whether a model may take over, and why, in a sentence."""

    passed: bool
    reason: str
    changes: tuple[Change, ...] = ()


def judge(report: Report, least: int) -> Verdict:
    """Hold the new model against the one that it came from.

    least: regions that must have been held out; a field counts as better only on so many.
    """
    changes = tuple(changes_of(report))
    held_out = max((change.regions for change in changes), default=0)
    if held_out < least:
        return Verdict(
            False,
            f"only {held_out} regions were held out, and fewer than {least} do not tell better from chance: correct "
            "more, or promote it by hand",
            changes,
        )
    forgotten = tuple(_changes(report.old_words, OLD))
    if worse := [change for change in (*changes, *forgotten) if change.is_worse]:
        return Verdict(False, "; ".join(map(str, worse)), changes)
    better = [change for change in changes if change.is_better and change.regions >= least]
    others = [change for change in changes if change not in better]
    if not better:
        return Verdict(False, f"nothing got better beyond noise: {'; '.join(map(str, others))}", changes)
    said = "; ".join(map(str, better))
    if others:
        said += f"; {', '.join(change.field for change in others)}: no worse beyond noise"
    return Verdict(True, said, changes)


def changes_of(report: Report) -> list[Change]:
    """The change of each field that has scores, on corrections."""
    return list(_changes(report.validation, CORRECTED))


def _changes(shown: Validation, of: str) -> Iterator[Change]:
    for field, scores in shown.fields.items():
        if pairs := scores.pairs():
            before, after = np.array(pairs).T
            low, high = interval(after - before)
            yield Change(field, scores.metric, len(pairs), float(before.mean()), float(after.mean()), low, high, of)


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Where the mean of differences, float (N,), lies with CONFIDENCE: bootstrap percentiles, the same each time."""
    if np.ptp(differences) == 0:  # scipy asks for two different values at least
        return float(differences[0]), float(differences[0])
    found = bootstrap(
        (differences,), np.mean, n_resamples=DRAWS, confidence_level=CONFIDENCE, method="percentile",
        batch=max(1, _NUMBERS_AT_ONCE // len(differences)), rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _share(value: float) -> str:
    return f"{value:.2f}".removeprefix("0") if value < 0.995 else "1.00"


def _signed(value: float) -> str:
    return ("-" if value < 0 else "+") + f"{abs(value):.2f}".removeprefix("0")
