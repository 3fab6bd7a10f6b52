"""What annotators called the regions of a project, at once at hand for the next click."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice

import numpy as np
from cachetools import LRUCache

from backend.annotations import words_by_region
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger, Memory, Suggestion
from backend.memory.index import MOST, Index, key
from backend.memory.opinion import Source, weigh
from backend.suggestion import from_text
from model.region import Region, Words

PROJECTS = 8
"""Whose memories are held at a time; those of others are read again when they are asked for."""

_TASKS_AT_ONCE = 200


@dataclass(frozen=True)
class Advice:
    """A region as it is to be suggested, and for each field that memory spoke about, whose word it is.

    explain: whether the category is memory's, and nobody has explained it yet: the model should.
    """

    region: Region
    sources: dict[str, Source] = field(default_factory=dict)
    explain: bool = False


@dataclass(eq=False)
class _Held:
    """number, config: up to which event, and with which config, the index is complete."""

    index: Index
    number: int
    config: str


class ProjectMemories:
    """The memories of all projects. Any thread may call it."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._held: LRUCache[tuple[int, str], _Held] = LRUCache(PROJECTS)
        self._lock = threading.Lock()

    def advise(self, project_id: int, config: LabelingConfig, region: Region, labels: Sequence[str] | None) -> Advice:
        """What to suggest of a region that the model has described, given what annotators called its like.

        labels: of which the category is one, or None. Raises LedgerError.
        """
        if region.embedding is None:
            return Advice(region)
        with self._lock:
            index = self._index(project_id, config, region.model_version, len(region.embedding))
            neighbours = index.neighbours(region.embedding)
            own = {name: probability * index.trust(name) for name, probability in _own(region.words).items()}
            opinion = weigh(neighbours, own, closed=labels is not None)
            settled = index.settled(opinion.category)
        words, sources = region.words, {}
        if neighbours:
            scores = dict(words.log_probabilities) | {"category": _log(opinion.probability)}
            sources["category"] = opinion.source
            words = replace(words, category=opinion.category, log_probabilities=scores)
        if settled is not None:
            text, share = settled
            scores = dict(words.log_probabilities) | {"explanation": _log(share)}
            sources["explanation"] = "memory"
            words = replace(words, explanation=text, log_probabilities=scores)
        changed = words.category != region.words.category
        return Advice(replace(region, words=words), sources, explain=changed and settled is None)

    def see(self, project_id: int, task_id: int, model_version: str, embeddings: Mapping[str, np.ndarray]) -> None:
        """Take in what a model sees in regions that were suggested by another one: region id to float (E,)."""
        with self._lock:
            self._ledger.memories.see(project_id, task_id, model_version, embeddings)
            if (held := self._held.get((project_id, model_version))) is not None:
                held.index.replace(task_id, self._ledger.memories.of_task(project_id, task_id, model_version))

    def _index(self, project_id: int, config: LabelingConfig, model_version: str, width: int) -> Index:
        """The memories of a project, level with the ledger. width: of the embeddings."""
        read_with = hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode()).hexdigest()
        before = self._ledger.memories.state(project_id)
        number = self._ledger.change_number(project_id)
        held = self._held.get((project_id, model_version))
        known = held is not None and (held.number, held.config) == before
        if before != (number, read_with):
            # Another config reads other words out of the same annotations.
            tasks = self._ledger.changed_since(project_id, before[0] if before[1] == read_with else 0)
            while some := list(islice(tasks, _TASKS_AT_ONCE)):
                found = {task_id: list(_of_task(project_id, task_id, self._ledger, config)) for task_id in some}
                self._ledger.memories.replace(project_id, found)
                if held is not None and known:
                    for task_id, memories in found.items():
                        held.index.replace(task_id, [m for m in memories if m.model_version == model_version])
            self._ledger.memories.replace(project_id, {}, (number, read_with))
        if held is None or not known:
            held = self._read(project_id, model_version, width)
            self._held[project_id, model_version] = held
        held.number, held.config = number, read_with
        return held.index

    def _read(self, project_id: int, model_version: str, width: int) -> _Held:
        index = Index(width)
        by_task: dict[int, list[Memory]] = {}
        for memory in reversed(list(self._ledger.memories.newest(project_id, model_version, MOST))):
            by_task.setdefault(memory.task_id, []).append(memory)
        for task_id, memories in by_task.items():
            index.replace(task_id, memories)
        return _Held(index, 0, "")


def _of_task(project_id: int, task_id: int, ledger: Ledger, config: LabelingConfig) -> Iterator[Memory]:
    """What annotators called the regions of a task that were suggested; what was drawn by hand leaves no memory."""
    suggestions = {suggestion.region_id: suggestion for suggestion in ledger.suggestions_of_task(project_id, task_id)}
    seen_since = ledger.memories.embeddings_of_task(project_id, task_id)
    for annotation in ledger.annotations_of_task(project_id, task_id):
        if annotation.was_cancelled:
            continue
        for region_id, words in words_by_region(annotation, config):
            suggestion = suggestions.get(region_id)
            if suggestion is not None and suggestion.embedding is not None and words["category"]:
                memory = _memory(suggestion, suggestion.embedding, words)
                yield memory
                for seen, model_version, embedding in seen_since:
                    if seen == region_id and model_version != memory.model_version:
                        yield replace(memory, model_version=model_version, suggested="", embedding=embedding)


def _memory(suggestion: Suggestion, embedding: str, words: Mapping[str, str]) -> Memory:
    kept = key(words["category"]) == key(suggestion.category)
    # What was left as it was suggested explains the category that was suggested, and no other.
    explains = kept or words["explanation"] != " ".join(suggestion.explanation.split())
    return Memory(
        suggestion.task_id,
        suggestion.region_id,
        suggestion.model_version,
        words["category"],
        words["explanation"] if explains else "",
        suggestion.category if suggestion.sources.get("category", "model") == "model" else "",
        from_text(embedding),
    )


def _own(words: Words) -> dict[str, float]:
    """What the model says of the category: of a closed list all labels, else its answer and how sure it is."""
    if words.ranking is not None:
        return dict(zip(words.ranking.labels, words.ranking.probabilities, strict=True))
    return {words.category: words.scores["category"]}


def _log(probability: float) -> float:
    return math.log(max(probability, 1e-12))
