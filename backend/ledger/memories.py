"""Regions that annotators have named, with what the model saw in them, kept so that a start finds them again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backend.database import Database

_ROWS_AT_ONCE = 1000

UNSEEN = ""
"""The `model_version` of memories that no model has seen yet."""

_MODELS = 3
"""Of how many models embeddings that were made afterwards are kept: rolling back to one of them forgets nothing."""


@dataclass(frozen=True, eq=False)
class Memory:
    """One region as an annotator submitted it.

    model_version: of the model whose `embedding` it is: those of two models cannot be compared. "" where none has seen
                   the region yet, as one that was drawn by hand; the embedding is empty then.
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
        """Put these memories in place of those that the tasks left, in one transaction; `reached` is the new state.

        What models saw afterwards of regions that are gone goes with them, and so does what they saw of regions that
        nobody suggested: their masks may be others by now.
        """
        with self._file.writing() as db:
            for task_id, memories in tasks.items():
                of_task = (project_id, task_id)
                db.execute("DELETE FROM memories WHERE project_id = ? AND task_id = ?", of_task)
                db.executemany(
                    "INSERT INTO memories VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (_columns(project_id, m) for m in memories)
                )
                db.execute(
                    "DELETE FROM embeddings WHERE project_id = ?1 AND task_id = ?2 AND region_id NOT IN (SELECT "
                    f"region_id FROM memories WHERE project_id = ?1 AND task_id = ?2 AND model_version <> '{UNSEEN}')",
                    of_task,
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
            yield from map(_memory, rows)
            last, left = rows[-1]["rowid"], left - len(rows)

    def of_task(self, project_id: int, task_id: int, model_version: str) -> list[Memory]:
        """What a task has left, as one model sees it."""
        rows = self._file.read(
            "SELECT * FROM memories WHERE project_id = ? AND task_id = ? AND model_version = ? ORDER BY rowid",
            project_id,
            task_id,
            model_version,
        )
        return [_memory(row) for row in rows]

    def unseen_of_project(self, project_id: int, model_version: str) -> list[tuple[int, int]]:
        """What `unseen` gives, of one project and of regions that nobody suggested alone."""
        rows = self._file.read(
            "SELECT project_id, task_id FROM memories AS known WHERE project_id = ? AND model_version = ? AND "
            f"NOT {_SEEN} GROUP BY task_id ORDER BY MAX(rowid) DESC",
            project_id,
            UNSEEN,
            model_version,
        )
        return [(row["project_id"], row["task_id"]) for row in rows]

    def unseen(self, model_version: str) -> Iterator[tuple[int, int]]:
        """Project and task ids of the memories that a model has not seen the regions of, the newest first."""
        (row,) = self._file.read("SELECT COALESCE(MAX(rowid), 0) AS last FROM memories")
        # Not all at once: nobody else reads or writes meanwhile.
        for last in range(row["last"], 0, -_ROWS_AT_ONCE):
            rows = self._file.read(
                "SELECT project_id, task_id FROM memories AS known WHERE rowid > ? AND rowid <= ? AND "
                f"NOT {_SEEN} GROUP BY project_id, task_id ORDER BY MAX(rowid) DESC",
                last - _ROWS_AT_ONCE,
                last,
                model_version,
            )
            yield from ((row["project_id"], row["task_id"]) for row in rows)

    def unseen_of_task(self, project_id: int, task_id: int, model_version: str) -> set[str]:
        """Ids of a task's remembered regions that a model has not seen."""
        rows = self._file.read(
            f"SELECT region_id FROM memories AS known WHERE project_id = ? AND task_id = ? AND NOT {_SEEN}",
            project_id,
            task_id,
            model_version,
        )
        return {row["region_id"] for row in rows}

    def embeddings_of_task(self, project_id: int, task_id: int) -> list[tuple[str, str, np.ndarray]]:
        """Region id, model version and embedding, float16 (E,), of what models saw of a task's regions afterwards."""
        rows = self._file.read(
            "SELECT region_id, model_version, embedding FROM embeddings WHERE project_id = ? AND task_id = ? "
            "ORDER BY rowid",
            project_id,
            task_id,
        )
        return [(row["region_id"], row["model_version"], np.frombuffer(row["embedding"], np.float16)) for row in rows]

    def see(self, project_id: int, task_id: int, model_version: str, embeddings: Mapping[str, np.ndarray]) -> None:
        """Keep what a model saw of remembered regions, by their ids, in one transaction.

        What was forgotten meanwhile stays forgotten. Of a model that did not suggest it nobody knows how often its own
        word on the category is kept.
        """
        with self._file.writing() as db:
            for region_id, embedding in embeddings.items():
                region, seen = (project_id, task_id, region_id), (model_version, embedding.astype(np.float16).tobytes())
                db.execute(
                    "INSERT OR REPLACE INTO embeddings SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM memories "
                    "WHERE project_id = ?1 AND task_id = ?2 AND region_id = ?3)",
                    (*region, *seen),
                )
                db.execute(
                    "INSERT INTO memories SELECT project_id, task_id, region_id, ?4, category, explanation, '', ?5 "
                    "FROM memories AS known WHERE project_id = ?1 AND task_id = ?2 AND region_id = ?3 AND "
                    f"NOT {_SEEN.replace('?', '?4')} AND model_version = (SELECT MIN(model_version) FROM memories "
                    "WHERE project_id = ?1 AND task_id = ?2 AND region_id = ?3)",
                    (*region, *seen),
                )

    def forget_models(self) -> None:
        """Drop what all but the last _MODELS models saw afterwards."""
        gone = "SELECT model_version FROM embeddings GROUP BY model_version ORDER BY MAX(rowid) DESC LIMIT -1 OFFSET ?"
        with self._file.writing() as db:
            db.execute(
                "DELETE FROM memories WHERE EXISTS (SELECT 1 FROM embeddings AS e WHERE "
                "e.project_id = memories.project_id AND e.task_id = memories.task_id AND "
                "e.region_id = memories.region_id AND e.model_version = memories.model_version) "
                f"AND model_version IN ({gone})",
                (_MODELS,),
            )
            db.execute(f"DELETE FROM embeddings WHERE model_version IN ({gone})", (_MODELS,))


_SEEN = (
    "EXISTS (SELECT 1 FROM memories AS seen WHERE seen.project_id = known.project_id AND "
    "seen.task_id = known.task_id AND seen.region_id = known.region_id AND seen.model_version = ?)"
)
"""Of a row `known`, that the region has an embedding of the model whose version is put in."""


def _memory(row: sqlite3.Row) -> Memory:
    return Memory(
        row["task_id"],
        row["region_id"],
        row["model_version"],
        row["category"],
        row["explanation"],
        row["suggested"],
        np.frombuffer(row["embedding"], np.float16),
    )


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
