"""The registry for people at a terminal."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from backend.errors import ModelsError
from backend.models.promotion import base_version
from backend.models.registry import Active, Kept, Registry
from backend.models.rule import chance, changes_of


def overview(registry: Registry) -> Table:
    """All models, a row each, the one of the settings first. Raises ModelsError and CheckpointError."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("model", "trained on", "figures", "state"):
        table.add_column(column, overflow="fold", no_wrap=column == "figures")
    active = registry.active()
    is_here = registry.base == "nano" or Path(registry.base).is_dir()  # nothing is fetched only to be listed
    base = f"{base_version(registry.base)}\nof the settings: {registry.base}" if is_here else registry.base
    _add_row(table, base, "", "", "active" if active.version is None else "")
    for name in registry.names():
        try:
            kept = registry.version(name)
        except ModelsError as error:
            _add_row(table, name, "", "", f"damaged: {error.message}")
            continue
        made = f"{name}\nfrom {kept.report.base}" + (f"\n{kept.note.at:%Y-%m-%d %H:%M}" if kept.note else "")
        means = ((field, scores.means()) for field, scores in kept.report.validation.fields.items())
        figures = "\n".join(f"{field} {both[0]:.2f} → {both[1]:.2f}" for field, both in means if both)
        _add_row(table, made, trained_on(kept), figures, state(kept, active))
    return table


def trained_on(kept: Kept) -> str:
    """How much a version has learned from, and how much it was judged on."""
    return f"{kept.report.data.train} regions, {kept.report.validation.regions} held out"


def state(kept: Kept, active: Active) -> str:
    """Whether a version answers, and why it does not."""
    if active.version == kept.version:
        return "active"
    if kept.note is None:
        return "kept aside: nothing is decided yet"
    if not kept.note.passed:
        return f"kept aside: {kept.note.reason}"
    return "was active" if any(made.version == kept.version for made in active.history) else "passed, never promoted"


def fields(kept: Kept) -> Table:
    """What the training did to each field, on the held-out regions and on what the model knew before."""
    table = Table("field", "metric", "on", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("before", "after", "by chance"):
        table.add_column(column, justify="right")
    for change in changes_of(kept.report):
        numbers = f"{change.before:.3f}", f"{change.after:.3f}", chance(change.p)
        _add_row(table, change.field, change.metric, f"{change.regions} {change.of}", *numbers)
    return table


def classes(kept: Kept) -> Table:
    """Before and after by class, as the report has it."""
    known = {field for scores in kept.report.per_class.values() for field in scores} - {"regions"}
    names = sorted(known, key=lambda name: [*kept.report.validation.fields, name].index(name))
    table = Table("class", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("regions", *names):
        table.add_column(column, justify="right")
    for name, scores in sorted(kept.report.per_class.items()):
        _add_row(table, name, str(scores.get("regions", "")), *(_pair(scores.get(field)) for field in names))
    return table


def _pair(both: object) -> str:
    values = both if isinstance(both, list) else []
    return " → ".join(f"{value:.2f}" if isinstance(value, float | int) else "-" for value in values)


def _add_row(table: Table, *cells: str) -> None:
    table.add_row(*map(Text, cells))  # what annotators wrote is no markup
