"""The tables of `pam-studio stats`, the same on a terminal and on a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from backend.stats.course import MASK, WHOLE, Point
from backend.stats.tally import Stats, Tally
from model.region import FIELDS

CATEGORIES = 25
"""Categories that are shown, the most frequent first; the others are one row."""

NO_MODEL = "drawn by hand"
NO_CATEGORY = "(none)"


@dataclass(frozen=True)
class Table:
    """A title, the names of columns, rows of cells, and what must be known to read them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def tables(stats: Stats) -> list[Table]:
    """What the ledger holds, then acceptance and correction by model version, time, field and category.

    None has more columns than a terminal of 80 columns shows.
    """
    return [_holdings(stats), _models(stats), _course(stats), _masks(stats), _fields(stats), _categories(stats)]


def _holdings(stats: Stats) -> Table:
    rows = [
        [str(project), *map(str, (held.tasks, held.annotations - held.cancelled, held.cancelled, held.suggestions))]
        for project, held in stats.holdings.items()
    ]
    note = ""
    if stats.without_config:
        names = ", ".join(map(str, stats.without_config))
        note = (
            f"No labelling config is known of project {names}, so nothing below is of it: connect it to this backend."
        )
    return Table("Held", ("project", "tasks", "annotations", "cancelled", "suggestions"), rows, note)


def _models(stats: Stats) -> Table:
    fates = ("accepted", "corrected", "rejected", "refined", "open")
    return Table(
        "By model version",
        ("model", *fates, "acceptance"),
        [
            [version, *(str(tally.fates[fate]) for fate in fates), _share(tally.acceptance)]
            for version, tally in by_version(stats)
            if version is not None
        ],
        "acceptance: accepted as it was, of all that was accepted, corrected or rejected. refined: further clicks led "
        "to another suggestion. open: its task was not submitted since.",
    )


def _course(stats: Stats) -> Table:
    names = (WHOLE, MASK, *FIELDS)
    return Table(
        "As time went by",
        ("from", "regions", *names),
        [
            [
                f"{_moment(point)} {point.model_version}",
                str(point.decided),
                *(_whole(point.shares.get(n)) for n in names),
            ]
            for point in stats.course.points()
        ],
        "Shares that were kept as suggested, of suggestions that were accepted, corrected or rejected, in the order in "
        "which they were made (UTC). What annotators corrected is remembered at once, so that shares can rise under "
        "one model, too.",
    )


def _moment(point: Point) -> str:
    return f"{datetime.fromtimestamp(60 * point.begin, UTC):%Y-%m-%d %H:%M}"


def _masks(stats: Stats) -> Table:
    rows = []
    for version, tally in by_version(stats):
        use = stats.uses.get(version or "")
        regions = [str(tally.fates[fate]) for fate in ("drawn", "unreadable")]
        measures = _number(tally.mask_iou.value, 3), _number(tally.boundary_distance.value, 1)
        rows.append([version or NO_MODEL, *regions, *measures, _number(use.seconds if use else None, 2)])
    return Table(
        "Regions and masks",
        ("model", "drawn", "unreadable", "mask IoU", "boundary px", "seconds"),
        rows,
        "drawn: without a suggestion. mask IoU and boundary (modified Hausdorff distance): of the mask as suggested "
        "and as submitted. seconds: from click to answer.",
    )


def by_version(stats: Stats) -> list[tuple[str | None, Tally]]:
    """The model versions as they came, and last what was drawn by hand."""
    place = {version: number for number, version in enumerate(stats.versions())}
    return sorted(stats.models.items(), key=lambda item: (item[0] is None, place.get(item[0] or "", -1), item[0]))


def _fields(stats: Stats) -> Table:
    rows = []
    place = {version: number for number, version in enumerate(stats.versions())}
    for version, name in sorted(stats.fields, key=lambda key: (place[key[0]], (MASK, *FIELDS).index(key[1]))):
        tally = stats.fields[version, name]
        counts = map(str, (tally.kept, tally.changed, tally.emptied, tally.added))
        rows.append([version, name, *counts, _whole(tally.acceptance), _share(tally.change.value)])
    return Table(
        "By field",
        ("model", "field", "kept", "changed", "emptied", "added", "acceptance", "change"),
        rows,
        "Of the regions that were accepted or corrected. acceptance: kept, of all that were offered. change: on "
        "average, the share of a text's letters that was changed (Levenshtein distance), and 1 - IoU of a mask.",
    )


def _categories(stats: Stats) -> Table:
    return Table(
        "By category",
        ("category", "accepted", "corrected", "rejected", "drawn", "acceptance", "mask IoU"),
        [
            [name, *(str(tally.fates[fate]) for fate in ("accepted", "corrected", "rejected", "drawn")),
             _share(tally.acceptance), _number(tally.mask_iou.value, 3)]
            for name, tally in top_categories(stats)
        ],
        "As it was submitted; of a rejected suggestion, as it was suggested.",
    )  # fmt: skip


def top_categories(stats: Stats) -> Iterator[tuple[str, Tally]]:
    """The most frequent categories, and one tally of all others."""
    ordered = sorted(stats.categories.items(), key=lambda item: (-item[1].fates.total(), item[0]))
    yield from ((name or NO_CATEGORY, tally) for name, tally in ordered[:CATEGORIES])
    if others := ordered[CATEGORIES:]:
        together = Tally()
        for _, tally in others:
            together.fates += tally.fates
            together.mask_iou.total += tally.mask_iou.total
            together.mask_iou.count += tally.mask_iou.count
        yield f"{len(others)} others", together


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _whole(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
