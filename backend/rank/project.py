"""The unlabelled tasks of a project in the order in which annotators should get them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from backend.closed_list import choices
from backend.errors import LabelStudioError
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger, Suggestion
from backend.memory import ProjectMemories
from backend.rank.order import Asked, Place, order
from backend.studio_tasks import StudioTasks
from backend.suggestion import from_text

KNOWN = 20_000
"""Labelled regions that new ones are compared with, the latest."""

_SHOWN = 3


@dataclass(frozen=True)
class Ranked:
    """One task at its place in the order. says: what the regions are that the model is least sure of, in its words."""

    place: Place
    says: str


class ProjectRanking:
    """What `pam-studio rank` does, in two steps: find the order, and write it.

    version: of the model whose predictions are ranked.
    """

    def __init__(
        self, tasks: StudioTasks, ledger: Ledger, memories: ProjectMemories, config: LabelingConfig, version: str
    ):
        self._tasks, self._ledger, self._memories = tasks, ledger, memories
        self._config, self._version = config, version

    def order(self, progress: Callable[[int], None] = lambda done: None) -> list[Ranked]:
        """All unlabelled tasks that have a prediction of this model version; few of their regions are in memory.

        progress: called with the number of tasks that were read. Raises LabelStudioError and LedgerError.
        """
        asked: list[Asked] = []
        says: dict[int, str] = {}
        for page in self._tasks.pages(having=self._version, unlabelled=True):
            for task in page:
                found, words = self._asked(task["id"])
                asked.append(found)
                says[task["id"]] = words
                progress(len(asked))
        return [Ranked(place, says[place.task_id]) for place in order(asked, self._known())]

    def write(self, ranking: Sequence[Ranked], progress: Callable[[int], None] = lambda done: None) -> int:
        """Give predictions their places as scores, from nearly 0, which Label Studio takes first, to 1; how many tasks.

        A task that is gone is left out. Written again, it comes to the same. Raises LabelStudioError.
        """
        written = 0
        for number, ranked in enumerate(ranking, start=1):
            score = round(number / len(ranking), 6)
            try:
                for prediction in self._tasks.predictions(ranked.place.task_id):
                    if prediction.get("model_version") == self._version and prediction.get("score") != score:
                        self._tasks.set_score(prediction["id"], score)
                written += 1
            except LabelStudioError as error:
                if error.status not in (400, 404):
                    raise
            progress(number)
        return written

    def _asked(self, task_id: int) -> tuple[Asked, str]:
        suggestions = [
            suggestion
            for suggestion in self._ledger.suggestions_of_task(self._tasks.project_id, task_id)
            if suggestion.unasked and suggestion.model_version == self._version and suggestion.embedding is not None
        ]
        labels = choices(self._config, None)
        opinions = self._memories.opinions(self._tasks.project_id, self._config, suggestions, labels)
        certain = [
            suggestion.score * opinion.probability for suggestion, opinion in zip(suggestions, opinions, strict=True)
        ]
        unsure = 1 - np.array(certain, np.float32)
        first = np.argsort(-unsure, kind="stable")[:_SHOWN]
        named = dict.fromkeys(opinions[k].category for k in first)
        return Asked(task_id, unsure, _embeddings(suggestions)), ", ".join(named)

    def _known(self) -> np.ndarray:
        """Embeddings of labelled regions, float32 (K, E)."""
        memories = self._ledger.memories.newest(self._tasks.project_id, self._version, KNOWN)
        return _rows([memory.embedding for memory in memories])


def _embeddings(suggestions: Sequence[Suggestion]) -> np.ndarray:
    return _rows([from_text(suggestion.embedding) for suggestion in suggestions if suggestion.embedding is not None])


def _rows(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """float32 (N, E), each row of length 1."""
    if not vectors:
        return np.zeros((0, 0), np.float32)
    rows = np.array(vectors, np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
