"""Regions that annotators have named, with what the model saw in them, kept so that a start finds them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backend.database import Database

_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class Memory:
    """One region as an annotator submitted it.

    model_version: of the model whose `embedding` it is: those of two models cannot be compared.
    category:      never empty. explanation: "" where the annotator left none.
    suggested:     the category that the model had for it, "" where that was not the model's own word.
    embedding:     float16 (E,), see `model.Region`.
    """

    task_id: int
    region_id: str
    model_version: str
    category: str
    explanation: str
    suggested: str
    embedding: np.ndarray


class Memories:
    """The memories in a ledger's file."""

    def __init__(self, file: Database):
        self._file = file

    def state(self, project_id: int) -> tuple[int, str]:
        """The event up to which a project's annotations are remembered, and the config that they were read with."""
        rows = self._file.read("SELECT number, config FROM remembered WHERE project_id = ?", project_id)
        return (rows[0]["number"], rows[0]["config"]) if rows else (0, "")

    def replace(
        self, project_id: int, tasks: Mapping[int, Sequence[Memory]], reached: tuple[int, str] | None = None
    ) -> None:
        """Put these memories in place of those that the tasks left, in one transaction; `reached` is the new state."""
        with self._file.writing() as db:
            for task_id, memories in tasks.items():
                db.execute("DELETE FROM memories WHERE project_id = ? AND task_id = ?", (project_id, task_id))
                db.executemany(
                    "INSERT INTO memories VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (_columns(project_id, m) for m in memories)
                )
            if reached is not None:
                db.execute("INSERT OR REPLACE INTO remembered VALUES (?, ?, ?)", (project_id, *reached))

    def newest(self, project_id: int, model_version: str, most: int) -> Iterator[Memory]:
        """A project's last `most` memories of one model, newest first; few are in memory at a time."""
        last, left = 2**63 - 1, most
        while left > 0 and (
            rows := self._file.read(
                "SELECT rowid, * FROM memories WHERE project_id = ? AND model_version = ? AND rowid < ? "
                "ORDER BY rowid DESC LIMIT ?",
                project_id,
                model_version,
                last,
                min(left, _ROWS_AT_ONCE),
            )
        ):
            for row in rows:
                yield Memory(
                    row["task_id"],
                    row["region_id"],
                    row["model_version"],
                    row["category"],
                    row["explanation"],
                    row["suggested"],
                    np.frombuffer(row["embedding"], np.float16),
                )
            last, left = rows[-1]["rowid"], left - len(rows)


def _columns(project_id: int, memory: Memory) -> tuple[object, ...]:
    return (
        project_id,
        memory.task_id,
        memory.region_id,
        memory.model_version,
        memory.category,
        memory.explanation,
        memory.suggested,
        memory.embedding.astype(np.float16).tobytes(),
    )
