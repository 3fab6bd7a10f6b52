"""What an export has done, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.dataset.formats import conflicts
from backend.dataset.state import Excluded

_SHOWN = 10


@dataclass(frozen=True)
class ExportReport:
    """The result of one export.

    version:  the folder of the version that holds what the ledger holds now.
    is_new:   whether this run made it; else nothing had changed.
    manifest: of that version.
    tasks:    how many were read, because they had changed.
    shards, shards_written: of the new version; the others were linked.
    skipped:  projects that are not in it, each with the reason.
    conflicts: pairs of regions of different projects that cover one object and name it differently.
    left_out: the first few of what stayed out; `left_out.jsonl` in the version has all.
    """

    version: Path
    is_new: bool
    manifest: Mapping[str, Any]
    tasks: int
    shards: int
    shards_written: int
    left_out: tuple[Excluded, ...]
    skipped: Mapping[int, str] = field(default_factory=dict)
    conflicts: int = 0

    def summary(self) -> str:
        """A few lines."""
        counts = self.manifest["counts"]
        head = f"{self.version}: " if self.is_new else f"nothing has changed since {self.version}: "
        lines = [
            head + f"{_count(counts['regions'], 'region')} in {_count(counts['images'], 'image')}",
            f"  {_count(counts['tasks'], 'task')}, {_count(counts['annotations'], 'annotation')}, "
            f"{_count(counts['validation_images'], 'image')} for validation",
            *(f"  {model}: suggested {_count(n, 'region')}" for model, n in self.manifest["model_versions"].items()),
        ]
        if self.is_new:
            lines.append(f"  written anew: {self.shards_written} of {_count(self.shards, 'shard')}")
        if counts["cancelled"]:
            lines.append(f"  {_count(counts['cancelled'], 'cancelled annotation')} stayed out")
        if total := sum(self.manifest["left_out"].values()):
            lines.append(f"{_count(total, 'thing')} had to be left out:")
            lines += [f"  {_place(one)}: {one.what.reason}" for one in self.left_out[:_SHOWN]]
        if total > _SHOWN:
            lines.append(f"  and {total - _SHOWN} more, listed in {self.version / 'left_out.jsonl'}")
        if self.manifest["left_out"].get("picture"):
            lines.append("  images that could not be had are asked for again after a day, or at once with --retry")
        if self.conflicts:
            pairs = _count(self.conflicts, "pair")
            lines.append(f"{pairs} of regions of different projects disagree: see {self.version / conflicts.FILE}")
        lines += [f"project {id} is not in it: {reason}" for id, reason in self.skipped.items()]
        return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _place(one: Excluded) -> str:
    parts = [("task", one.what.task_id), ("annotation", one.what.annotation_id), ("region", one.what.region_id)]
    return ", ".join(f"{name} {value}" for name, value in parts if value is not None)
