"""What an export holds, and what it had to leave out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from backend.annotations import LeftOut

_SHOWN = 10


@dataclass(frozen=True)
class ExportReport:
    """The result of one export.

    tasks, annotations: those with at least one region in the export.
    cancelled:          annotations that stayed out because their annotator skipped the task.
    records:            file of training records to their number.
    model_versions:     model to the number of regions that it suggested; the others were drawn by hand.
    """

    project_id: int
    title: str
    out: Path
    tasks: int
    annotations: int
    regions: int
    images: int
    cancelled: int
    records: Mapping[str, int]
    model_versions: Mapping[str, int]
    left_out: tuple[LeftOut, ...]

    def manifest(self) -> dict:
        """The report as JSON that lies in the export, with the time of its making."""
        fields = asdict(self)
        del fields["out"]
        return {"created": datetime.now(UTC).isoformat(timespec="seconds"), **fields}

    def summary(self) -> str:
        """A few lines for a terminal."""
        lines = [
            f'{_count(self.regions, "region")} of project {self.project_id} "{self.title}" exported to {self.out}',
            f"  {_count(self.tasks, 'task')}, {_count(self.annotations, 'annotation')}, {_count(self.images, 'image')}",
            *(f"  {name}: {_count(number, 'record')}" for name, number in sorted(self.records.items())),
            f"  coco.json: {_count(self.regions, 'region')}",
        ]
        if self.cancelled:
            lines.append(f"  {_count(self.cancelled, 'cancelled annotation')} stayed out")
        if self.left_out:
            lines.append(f"{_count(len(self.left_out), 'thing')} could not be exported:")
            lines += [f"  {_place(one)}: {one.reason}" for one in self.left_out[:_SHOWN]]
        if len(self.left_out) > _SHOWN:
            lines.append(f"  and {len(self.left_out) - _SHOWN} more, listed in manifest.json")
        return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _place(one: LeftOut) -> str:
    parts = [("task", one.task_id), ("annotation", one.annotation_id), ("region", one.region_id)]
    return ", ".join(f"{name} {value}" for name, value in parts if value is not None)
