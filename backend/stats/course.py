"""How acceptance went as time went by: by field, under each model version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from backend.ledger import OutcomeRow
from model.region import FIELDS

MASK = "mask"
"""The field of a region that is no words."""

WHOLE = "accepted"
"""The share of suggestions that were accepted as they were."""

POINTS = 24
"""At which the course is shown, together for all versions; each has one at least."""

VERSIONS = 12
"""That are shown, the last ones."""


@dataclass(frozen=True)
class Point:
    """Suggestions of one model version that follow each other.

    begin:  minutes from 1970 to the first of them.
    before: suggestions of any version that were decided on earlier. decided: of these, accepted, corrected or rejected.
    shares: of each field, and of WHOLE, what was kept as suggested, 0..1; a field that was never offered is missing.
    """

    model_version: str
    begin: int
    before: int
    decided: int
    shares: dict[str, float]


@dataclass
class _Span:
    """What became of some suggestions: field to how often it was offered, and kept."""

    offered: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)

    def count(self, name: str, kept: int, offered: int = 1) -> None:
        self.offered[name] = self.offered.get(name, 0) + offered
        self.kept[name] = self.kept.get(name, 0) + kept

    def take(self, other: _Span) -> None:
        for name, offered in other.offered.items():
            self.count(name, other.kept[name], offered)

    @property
    def decided(self) -> int:
        return self.offered.get(WHOLE, 0)


class Course:
    """Outcomes by the minute in which they were suggested; grows with the minutes in which annotators worked."""

    def __init__(self) -> None:
        self._spans: dict[tuple[int, str], _Span] = {}

    def add(self, row: OutcomeRow) -> None:
        """Count an outcome; one that is no decision on a suggestion counts for nothing."""
        if row.suggested_at is None or row.model_version is None:
            return
        if row.outcome not in ("accepted", "corrected", "rejected"):
            return
        span = self._spans.setdefault((int(row.suggested_at.timestamp()) // 60, row.model_version), _Span())
        span.count(WHOLE, row.outcome == "accepted")
        if row.mask_iou is not None:
            span.count(MASK, row.mask_iou == 1 or row.outcome == "accepted")
        for name in FIELDS:
            if row.words.get(name) is not None:
                span.count(name, row.words[name] == 0 and name not in row.emptied)

    def points(self) -> list[Point]:
        """The course, in order of time; some POINTS in all, as many for each version as its suggestions are."""
        last: dict[str, int] = {}
        for minute, version in sorted(self._spans):
            last[version] = minute
        shown = sorted(last, key=lambda version: last[version])[-VERSIONS:]
        total = sum(span.decided for (_, version), span in self._spans.items() if version in shown)
        return sorted(
            self._points(set(shown), max(1, -(-total // POINTS))), key=lambda point: (point.begin, point.before)
        )

    def _points(self, shown: set[str], size: int) -> Iterator[Point]:
        """size: decided suggestions that make a point; less than half of it at a version's end joins the last one."""
        made: dict[str, list[_Part]] = {}
        before = 0
        for (minute, version), span in sorted(self._spans.items()):
            if version not in shown:
                continue
            parts = made.setdefault(version, [])
            if not parts or parts[-1].span.decided >= size:
                parts.append(_Part(minute, before, _Span()))
            parts[-1].span.take(span)
            before += span.decided
        for version, parts in made.items():
            if len(parts) > 1 and 2 * parts[-1].span.decided < size:
                rest = parts.pop()
                parts[-1].span.take(rest.span)
            for part in parts:
                kept, offered = part.span.kept, part.span.offered
                shares = {name: kept[name] / count for name, count in offered.items()}
                yield Point(version, part.begin, part.before, part.span.decided, shares)


@dataclass
class _Part:
    begin: int
    before: int
    span: _Span
