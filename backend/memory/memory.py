"""What annotators called the regions of a project, at once at hand for the next click."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice

import numpy as np
from cachetools import LRUCache

from backend import closed_list
from backend.annotations import by_region, chosen, is_mask, words_in
from backend.category import category_name
from backend.closed_list import can_say
from backend.dataset.texts import is_boilerplate
from backend.errors import LedgerError, RequestError
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger, Memory, Suggestion
from backend.ledger.memories import UNSEEN
from backend.memory.index import MOST, Index, Neighbour
from backend.memory.opinion import Opinion, Source, weigh
from backend.outcome import is_outdated
from backend.suggestion import from_text
from backend.webhook_event import Annotation
from model.region import Region, Words

PROJECTS = 8
"""Whose memories are held at a time; those of others are read again when they are asked for."""

PATIENCE = 1.0
"""Seconds that a click waits for the memories of its project while they are being read."""

_TASKS_AT_ONCE = 200
_LOCKS = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Advice:
    """A region as it is to be suggested, and for each field that memory spoke about, whose word it is.

    explain: whether the category is memory's, and nobody has explained it yet: the model should. It cannot where
             somebody wrote what is no name; there is no explanation then.
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
    """The memories of all projects. Any thread may call it.

    What changed in a project since the last time is read by the call that comes next. The first reading of all took
    1.1 s for 10,000 regions with brush masks on 512 x 512 pixels (benchmarks/memory.py) and grows with their number.
    So `prepare` should be called when a task is opened; who asks meanwhile waits PATIENCE seconds, and then does
    without.
    """

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._held: LRUCache[tuple[int, str], _Held] = LRUCache(PROJECTS)
        self._preparing: set[int] = set()
        self._lock = threading.Lock()
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))

    def prepare(self, project_id: int, config: LabelingConfig, model_version: str) -> None:
        """Begin to read what changed in a project, in the background; returns at once."""
        with self._lock:
            if project_id in self._preparing or len(self._preparing) >= PROJECTS:
                return
            self._preparing.add(project_id)
        arguments = project_id, config, model_version
        threading.Thread(target=self._prepare, args=arguments, name="memories", daemon=True).start()

    def advise(self, project_id: int, config: LabelingConfig, region: Region, labels: Sequence[str] | None) -> Advice:
        """What to suggest of a region that the model has described, given what annotators called its like.

        labels: of which the category is one, or None. Raises LedgerError.
        """
        with self._index_for(project_id, config, region) as index:
            if index is None or region.embedding is None:
                return Advice(region)
            neighbours = index.neighbours(region.embedding)
            own = _own(region.words, labels, neighbours, index)
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
        unexplained = changed and settled is None
        if unexplained and not can_say(words.category):
            return Advice(replace(region, words=replace(words, explanation="")), sources)  # that of another is no use
        return Advice(replace(region, words=words), sources, explain=unexplained)

    def catch_up(self, project_id: int, config: LabelingConfig, model_version: str) -> None:
        """Have in the ledger what annotators named since the last time, and in the index that clicks look into.

        Raises LedgerError.
        """
        with self._locks[project_id % _LOCKS]:
            self._catch_up(project_id, config, model_version)

    def see(self, project_id: int, task_id: int, model_version: str, embeddings: Mapping[str, np.ndarray]) -> None:
        """Take in what a model sees in regions that were suggested by another one: region id to float (E,)."""
        with self._locks[project_id % _LOCKS]:
            self._ledger.memories.see(project_id, task_id, model_version, embeddings)
            with self._lock:
                held = self._held.get((project_id, model_version))
            if held is not None:
                held.index.replace(task_id, self._ledger.memories.of_task(project_id, task_id, model_version))

    def opinions(
        self, project_id: int, config: LabelingConfig, suggestions: Sequence[Suggestion], labels: Sequence[str] | None
    ) -> list[Opinion]:
        """What annotators and the model think now of regions of one model version that were suggested before.

        labels: of which the category is one, or None. Waits where memories must be read first. Raises LedgerError.
        """
        if not suggestions:
            return []
        embeddings = [None if s.embedding is None else from_text(s.embedding) for s in suggestions]
        width = next((len(each) for each in embeddings if each is not None), None)
        known = None if labels is None else _by_name(tuple(labels))
        said: list[Opinion] = []
        with self._locks[project_id % _LOCKS]:
            index = self._index(project_id, config, suggestions[0].model_version, width)
            for suggestion, embedding in zip(suggestions, embeddings, strict=True):
                neighbours = [] if index is None or embedding is None else index.neighbours(embedding)
                own = dict(suggestion.own) or {suggestion.category: suggestion.word_scores.get("category", 0.0)}
                if index is not None:
                    own = {name: probability * index.trust(name) for name, probability in own.items()}
                if known is not None:
                    names = map(category_name, (each.category for each in neighbours))
                    own = {known[name]: 0.0 for name in names if name in known} | own
                said.append(weigh(neighbours, own, closed=labels is not None))
        return said

    def settled(
        self, project_id: int, config: LabelingConfig, region: Region, category: str
    ) -> tuple[str, float] | None:
        """The explanation that annotators gave most often to a category, and its share; None where they gave none.

        region: one of the project, for the model that it is of. Raises LedgerError.
        """
        with self._index_for(project_id, config, region) as index:
            return None if index is None else index.settled(category)

    @contextmanager
    def _index_for(self, project_id: int, config: LabelingConfig, region: Region) -> Iterator[Index | None]:
        """The memories that a region is to be compared with, while the block runs; None where that must wait."""
        lock = self._locks[project_id % _LOCKS]
        if region.embedding is None or not lock.acquire(timeout=PATIENCE):
            yield None
            return
        try:
            yield self._index(project_id, config, region.model_version, len(region.embedding))
        finally:
            lock.release()

    def _prepare(self, project_id: int, config: LabelingConfig, model_version: str) -> None:
        try:
            with self._locks[project_id % _LOCKS]:
                self._index(project_id, config, model_version, None)
        except LedgerError as error:
            log.warning("the memories of project %d were not read: %s", project_id, error)
        finally:
            with self._lock:
                self._preparing.discard(project_id)

    def _index(self, project_id: int, config: LabelingConfig, model_version: str, width: int | None) -> Index | None:
        """The memories of a project, level with the ledger, under its lock.

        width: of the embeddings; where it is None and there are no memories to tell it, there is no index.
        """
        held = self._catch_up(project_id, config, model_version)
        if held is None:
            number, read_with = self._ledger.memories.state(project_id)
            held = self._read(project_id, model_version, width)
            if held is None:
                return None
            held.number, held.config = number, read_with
            with self._lock:
                self._held[project_id, model_version] = held
        return held.index

    def _catch_up(self, project_id: int, config: LabelingConfig, model_version: str) -> _Held | None:
        """Bring the ledger's memories level with its annotations, and what is held of them; None where nothing is."""
        read_with = config.fingerprint
        before = self._ledger.memories.state(project_id)
        number = self._ledger.change_number(project_id)
        with self._lock:
            held = self._held.get((project_id, model_version))
        if held is not None and (held.number, held.config) != before:
            held = None
        if before != (number, read_with):
            # Another config reads other words out of the same annotations.
            tasks = self._ledger.changed_since(project_id, before[0] if before[1] == read_with else 0)
            while some := list(islice(tasks, _TASKS_AT_ONCE)):
                found = {task_id: list(_of_task(project_id, task_id, self._ledger, config)) for task_id in some}
                self._ledger.memories.replace(project_id, found)
                if held is not None:
                    for task_id, memories in found.items():
                        held.index.replace(task_id, [m for m in memories if m.model_version == model_version])
            self._ledger.memories.replace(project_id, {}, (number, read_with))
        if held is not None:
            held.number, held.config = number, read_with
        return held

    def _read(self, project_id: int, model_version: str, width: int | None) -> _Held | None:
        newest = list(self._ledger.memories.newest(project_id, model_version, MOST))
        width = len(newest[0].embedding) if width is None and newest else width
        if width is None:
            return None
        index = Index(width)
        by_task: dict[int, list[Memory]] = {}
        for memory in reversed(newest):
            by_task.setdefault(memory.task_id, []).append(memory)
        for task_id, memories in by_task.items():
            index.replace(task_id, memories)
        return _Held(index, 0, "")


def _of_task(project_id: int, task_id: int, ledger: Ledger, config: LabelingConfig) -> Iterator[Memory]:
    """What annotators called the regions of a task; one that nobody suggested is still to be seen by a model."""
    suggestions = {suggestion.region_id: suggestion for suggestion in ledger.suggestions_of_task(project_id, task_id)}
    seen_since = ledger.memories.embeddings_of_task(project_id, task_id)
    for annotation in ledger.annotations_of_task(project_id, task_id):
        if annotation.was_cancelled:
            continue
        for region_id, words, category, has_mask in _named(annotation, config):
            suggestion = suggestions.get(region_id)
            if suggestion is not None and suggestion.embedding is not None:
                memory = _memory(suggestion, suggestion.embedding, words, category)
                yield memory
                for seen, model_version, embedding in seen_since:
                    if seen == region_id and model_version != memory.model_version:
                        yield replace(memory, model_version=model_version, suggested="", embedding=embedding)
            elif has_mask and not config.video:
                said = category, _telling(words["explanation"])
                yield Memory(task_id, region_id, UNSEEN, *said, "", np.zeros(0, np.float16))


def _named(annotation: Annotation, config: LabelingConfig) -> Iterator[tuple[str, dict[str, str], str, bool]]:
    """Id and words of each region that has a category, what a model calls that, and whether it has a mask.

    A damaged one is passed over.
    """
    field = config.words.get("category")
    labels = {} if field is None else {option: label for label, option in closed_list.labels(field).items()}
    for region_id, results in by_region(annotation.result).items():
        try:
            words = words_in(results, config)
            has_mask = any(is_mask(result, config) for result in results)
            options = [] if field is None else chosen(field, results)
        except RequestError:
            continue
        if category := _telling(words["category"]):
            yield region_id, words, labels.get(options[0], category) if len(options) == 1 else category, has_mask


def _telling(text: str) -> str:
    """A text, or "" for one that says nothing, as in a data set."""
    return "" if is_boilerplate(text) else text


def _memory(suggestion: Suggestion, embedding: str, words: Mapping[str, str], category: str) -> Memory:
    explanation = words["explanation"]
    # What memory offered and nobody touched is an echo of those who wrote it: with it a slip would outvote its mends.
    is_echo = suggestion.sources.get("explanation") == "memory" and explanation == (suggestion.offered or {}).get(
        "explanation"
    )
    return Memory(
        suggestion.task_id,
        suggestion.region_id,
        suggestion.model_version,
        category,
        "" if is_echo or is_outdated("explanation", words, suggestion) else _telling(explanation),
        suggestion.category if suggestion.sources.get("category", "model") == "model" else "",
        from_text(embedding),
    )


def _own(words: Words, labels: Sequence[str] | None, neighbours: Sequence[Neighbour], index: Index) -> dict[str, float]:
    """What the model says of the category, as far as it is trusted: its answer and how sure it is.

    Of a closed list, which may hold many thousand labels, only those that can come out best: what neighbours are
    called, what the model has been judged by, and the likeliest of the others.
    """
    ranking = words.ranking
    if ranking is None or labels is None:
        return {words.category: words.scores["category"] * index.trust(words.category)}
    known = _by_name(tuple(labels))
    judged = {known[name] for name in index.judged() if name in known}
    named = {known[name] for name in (category_name(each.category) for each in neighbours) if name in known}
    likeliest = next((label for label in ranking.labels if label not in judged), ranking.best)
    wanted = judged | named | {likeliest}
    said = zip(ranking.labels, ranking.probabilities, strict=True)
    return {label: probability * index.trust(label) for label, probability in said if label in wanted}


@lru_cache(maxsize=PROJECTS)
def _by_name(labels: tuple[str, ...]) -> Mapping[str, str]:
    return {category_name(label): label for label in labels}


def _log(probability: float) -> float:
    return math.log(max(probability, 1e-12))
