"""The outcomes in a ledger, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from backend.ledger import Holdings, Ledger, ModelUse, OutcomeRow
from backend.stats.course import MASK, Course
from model.region import FIELDS

IOU_BINS = 20
"""Of the histogram of corrected masks' IoU, from 0 to 1."""


@dataclass
class Mean:
    """A mean that is fed one value at a time."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self.total, self.count = self.total + value, self.count + 1

    @property
    def value(self) -> float | None:
        """None where there is nothing to average."""
        return self.total / self.count if self.count else None


@dataclass
class Tally:
    """Outcomes of one model version or one category.

    fates:    outcome to how many.
    mask_iou, boundary_distance: over the regions that were accepted or corrected.
    """

    fates: Counter[str] = field(default_factory=Counter)
    mask_iou: Mean = field(default_factory=Mean)
    boundary_distance: Mean = field(default_factory=Mean)

    def add(self, row: OutcomeRow) -> None:
        self.fates[row.outcome] += 1
        self.mask_iou.add(row.mask_iou)
        self.boundary_distance.add(row.boundary_distance)

    @property
    def acceptance(self) -> float | None:
        """Accepted as they were, of all suggestions that an annotator decided on: refined and open ones are not."""
        decided = sum(self.fates[fate] for fate in ("accepted", "corrected", "rejected"))
        return self.fates["accepted"] / decided if decided else None


@dataclass
class FieldTally:
    """What annotators made of one field where a suggestion was accepted or corrected.

    added:  nothing had been offered and something was written.
    change: for words the share of letters that was changed, 0 (kept) to 1; for the mask 1 - IoU.
    """

    kept: int = 0
    changed: int = 0
    emptied: int = 0
    added: int = 0
    change: Mean = field(default_factory=Mean)

    @property
    def acceptance(self) -> float | None:
        """Kept, of all that were offered; None where none was."""
        offered = self.kept + self.changed + self.emptied
        return self.kept / offered if offered else None


@dataclass
class Stats:
    """What the ledger holds of some projects.

    models: by model version; None for regions without a suggestion. fields: by model version and field.
    course: how acceptance went as time went by.
    """

    holdings: dict[int, Holdings] = field(default_factory=dict)
    without_config: list[int] = field(default_factory=list)
    uses: dict[str, ModelUse] = field(default_factory=dict)
    models: dict[str | None, Tally] = field(default_factory=dict)
    fields: dict[tuple[str, str], FieldTally] = field(default_factory=dict)
    categories: dict[str, Tally] = field(default_factory=dict)
    corrected_iou: Counter[int] = field(default_factory=Counter)
    course: Course = field(default_factory=Course)

    def versions(self) -> list[str]:
        """The model versions that were asked, by when they first were."""
        return [use.model_version for use in sorted(self.uses.values(), key=lambda use: (use.first, use.model_version))]

    def total(self, fate: str) -> int:
        """Regions and suggestions of one outcome, over all models."""
        return sum(tally.fates[fate] for tally in self.models.values())

    def add_project(self, project_id: int, ledger: Ledger) -> None:
        """Count what the ledger holds of a project; its outcomes must be settled."""
        self.holdings[project_id] = ledger.holdings(project_id)
        for use in ledger.outcomes.model_use(project_id):
            self.uses[use.model_version] = _together(self.uses.get(use.model_version), use)
            self.models.setdefault(use.model_version, Tally()).fates["open"] += use.open
        self._add(ledger.outcomes.all(project_id))

    def _add(self, rows: Iterable[OutcomeRow]) -> None:
        for row in rows:
            self.models.setdefault(row.model_version, Tally()).add(row)
            self.course.add(row)
            if row.outcome not in ("unreadable", "refined"):
                self.categories.setdefault(row.category, Tally()).add(row)
            if row.outcome in ("accepted", "corrected") and row.model_version is not None:
                self._add_fields(row, row.model_version)

    def _add_fields(self, row: OutcomeRow, model_version: str) -> None:
        if row.mask_iou is not None:
            # A polygon whose corners were rounded was kept all the same.
            kept = row.mask_iou == 1 or row.outcome == "accepted"
            _count(self._field(model_version, MASK), 0.0 if kept else 1 - row.mask_iou, is_emptied=False)
            if not kept:
                self.corrected_iou[min(int(row.mask_iou * IOU_BINS), IOU_BINS - 1)] += 1
        for name in FIELDS:
            if name in row.words:
                _count(self._field(model_version, name), row.words[name], name in row.emptied)

    def _field(self, model_version: str, name: str) -> FieldTally:
        return self.fields.setdefault((model_version, name), FieldTally())


def _count(tally: FieldTally, change: float | None, is_emptied: bool) -> None:
    if change is None:
        tally.added += 1
        return
    tally.change.add(change)
    if is_emptied:
        tally.emptied += 1
    elif change == 0:
        tally.kept += 1
    else:
        tally.changed += 1


def _together(one: ModelUse | None, other: ModelUse) -> ModelUse:
    if one is None:
        return other
    count = one.suggestions + other.suggestions
    seconds = (one.seconds * one.suggestions + other.seconds * other.suggestions) / count
    return ModelUse(one.model_version, count, seconds, one.open + other.open, min(one.first, other.first))
