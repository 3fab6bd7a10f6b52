"""What became of suggestions, kept so that it is worked out once for each change of a task."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from backend.database import Database

Fate = Literal["accepted", "corrected", "drawn", "unreadable", "rejected", "refined"]

_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class OutcomeRow:
    """One region of an annotation, or one suggestion that is in none.

    outcome:       "drawn" by hand; "unreadable" where its mask is damaged or missing; "rejected" where the task was
                   submitted without it; "refined" where further clicks led to another suggestion in its place.
    annotation_id, model_version: None where there is none.
    category:      as it was submitted, or else as it was suggested.
    mask_iou, boundary_distance: see backend.outcome.Outcome.
    words:         field to the share of its letters that was changed, 0..1; None where nothing had been offered.
    emptied:       fields whose words were taken out.
    suggested_at:  when it was suggested, where it was; read along, and no part of the outcome.
    """

    region_id: str
    outcome: Fate
    annotation_id: int | None = None
    model_version: str | None = None
    category: str = ""
    mask_iou: float | None = None
    boundary_distance: float | None = None
    words: Mapping[str, float | None] = field(default_factory=dict)
    emptied: tuple[str, ...] = ()
    suggested_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ModelUse:
    """How often a model version was asked; seconds: what an answer took on average; open: suggestions whose task has
    not been submitted since; first: when it was asked first."""

    model_version: str
    suggestions: int
    seconds: float
    open: int
    first: datetime


class Outcomes:
    """The outcomes in a ledger's file."""

    def __init__(self, file: Database):
        self._file = file

    def settled(self, project_id: int) -> tuple[int, str]:
        """The event up to which outcomes are worked out, and the config that they are worked out with."""
        rows = self._file.read("SELECT number, config FROM settled WHERE project_id = ?", project_id)
        return (rows[0]["number"], rows[0]["config"]) if rows else (0, "")

    def set_settled(self, project_id: int, number: int, config: str) -> None:
        with self._file.writing() as db:
            db.execute("INSERT OR REPLACE INTO settled VALUES (?, ?, ?)", (project_id, number, config))

    def replace(self, project_id: int, tasks: Mapping[int, Sequence[OutcomeRow]]) -> None:
        """Put these outcomes in place of those that the tasks had, in one transaction."""
        with self._file.writing() as db:
            for task_id, outcomes in tasks.items():
                db.execute("DELETE FROM outcomes WHERE project_id = ? AND task_id = ?", (project_id, task_id))
                rows = [(project_id, task_id, *_columns(outcome)) for outcome in outcomes]
                db.executemany("INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def all(self, project_id: int) -> Iterator[OutcomeRow]:
        """Every outcome of a project, in no order; few are in memory at a time."""
        last = -1
        while rows := self._file.read(
            "SELECT rowid, *, (SELECT json_extract(body, '$.created_at') FROM suggestions "
            "WHERE suggestions.region_id = outcomes.region_id) AS suggested_at "
            "FROM outcomes WHERE project_id = ? AND rowid > ? ORDER BY rowid LIMIT ?",
            project_id,
            last,
            _ROWS_AT_ONCE,
        ):
            yield from (_outcome(row) for row in rows)
            last = rows[-1]["rowid"]

    def model_use(self, project_id: int) -> list[ModelUse]:
        """The model versions that were asked in a project."""
        rows = self._file.read(
            "SELECT json_extract(body, '$.model_version') AS version, COUNT(*) AS count, "
            "AVG(json_extract(body, '$.seconds')) AS seconds, MIN(json_extract(body, '$.created_at')) AS first, "
            "SUM(NOT EXISTS (SELECT 1 FROM outcomes WHERE "
            "outcomes.project_id = suggestions.project_id AND outcomes.task_id = suggestions.task_id "
            "AND outcomes.region_id = suggestions.region_id)) AS open "
            "FROM suggestions WHERE project_id = ? GROUP BY version ORDER BY version",
            project_id,
        )
        return [
            ModelUse(row["version"], row["count"], row["seconds"], row["open"], datetime.fromisoformat(row["first"]))
            for row in rows
        ]


def _columns(outcome: OutcomeRow) -> tuple[object, ...]:
    return (
        outcome.region_id,
        outcome.annotation_id,
        outcome.outcome,
        outcome.model_version,
        outcome.category,
        outcome.mask_iou,
        outcome.boundary_distance,
        json.dumps([dict(outcome.words), outcome.emptied]),
    )


def _outcome(row: sqlite3.Row) -> OutcomeRow:
    words, emptied = json.loads(row["words"])
    return OutcomeRow(
        row["region_id"],
        row["outcome"],
        row["annotation_id"],
        row["model_version"],
        row["category"],
        row["mask_iou"],
        row["boundary_distance"],
        words,
        tuple(emptied),
        row["suggested_at"] and datetime.fromisoformat(row["suggested_at"]),
    )
