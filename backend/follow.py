"""Words follow the human: what an annotator says of a region stands, and its other words are redone to fit it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cachetools import TTLCache

from backend.annotations import by_region, is_mask, mask_in, words_in
from backend.category import category_name, names_category, rename
from backend.closed_list import can_say
from backend.encoded_images import Picture
from backend.engine import Engine, Perceived
from backend.errors import PictureError
from backend.json_node import Node
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger
from backend.memory import ProjectMemories
from backend.outcome import offered_words
from backend.predict_request import PredictRequest
from backend.suggestion import Suggestion
from model.region import Words

MOST_REGIONS = 8
"""Regions that are followed in one request; the others come with the next one."""

_FOLLOWING = ("explanation", "caption")
_DRAWN_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class _Offer:
    """What was said of a region last: its words, the category that they are of, and field to whose word it is."""

    words: Mapping[str, str]
    of: str
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Refit:
    """Regions whose words were redone, as Label Studio results that take their place.

    score: the least of how well their masks fit, 0..1. sources: field to whose word it is.
    """

    results: list[dict[str, Any]]
    score: float
    sources: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class _Changed:
    """A region whose category an annotator changed; redo: fields that nobody has touched since they were offered."""

    region_id: str
    results: Sequence[Node]
    words: Mapping[str, str]
    offer: _Offer
    redo: tuple[str, ...]
    suggestion: Suggestion | None


@dataclass(frozen=True)
class _Retold:
    words: Mapping[str, str]
    scores: Mapping[str, float] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


class Follower:
    """Redoes words. Any thread may call it.

    max_pixels: largest mask that is read.
    """

    def __init__(self, engine: Engine, ledger: Ledger, memories: ProjectMemories | None, max_pixels: int):
        self._engine, self._ledger, self._memories, self._max_pixels = engine, ledger, memories, max_pixels
        self._drawn: TTLCache[tuple[int | None, int, str], _Offer] = TTLCache(10_000, _DRAWN_SECONDS)
        self._lock = threading.Lock()

    def say(
        self,
        project_id: int | None,
        config: LabelingConfig,
        perceived: Perceived,
        said: Words,
        given: Mapping[str, str],
        until: float,
    ) -> tuple[Words, dict[str, str]]:
        """`said` of a region, with what the annotator gave in its place and the rest fitted to it, and new sources.

        given: field to text, as far as there is one. until: by time.monotonic(). Raises what the engine does.
        """
        words, sources = said, {}
        category = given.get("category", said.category)
        if category_name(category) != category_name(said.category):
            retold = self._retell(project_id, config, perceived, said.caption, said.category, category, until)
            words = replace(
                said,
                explanation=retold.words.get("explanation", ""),  # one of another category is worse than none
                caption=retold.words.get("caption", said.caption),
                log_probabilities=_logs(said, retold.scores),
                ranking=None,
            )
            sources = dict(retold.sources)
        sure = dict.fromkeys(given, 1.0)
        words = replace(
            words,
            category=category,
            explanation=given.get("explanation", words.explanation),
            caption=given.get("caption", words.caption),
            log_probabilities=_logs(words, sure),
        )
        return words, sources | dict.fromkeys(given, "annotator")

    def refit(
        self, request: PredictRequest, config: LabelingConfig, picture: Callable[[], Picture], until: float
    ) -> Refit | None:
        """The regions in the request's context whose category is not the one that their words were offered for.

        A field that differs from what was offered for it last, and the mask, are the annotator's, and come back as they
        came. None where nothing is to be redone. picture: gives the task's image. Raises BackendError of every kind.
        """
        (task,) = request.tasks
        results: list[dict[str, Any]] = []
        sources: dict[str, str] = {}
        score = 1.0
        # Of what no model can speak about there may be nothing to say: it must not keep others waiting.
        changes = sorted(self._changed(request, config), key=lambda changed: not can_say(changed.words["category"]))
        for changed in changes[:MOST_REGIONS]:
            mask = mask_in(changed.results, config, self._max_pixels)
            image = picture().encoded
            if mask.shape != (image.height, image.width):
                raise PictureError(
                    f"region {changed.region_id} was drawn on {mask.shape[1]} x {mask.shape[0]} pixels, but the image "
                    f"of task {task.id} has {image.width} x {image.height}: reload the task",
                    code="image_changed",
                )
            perceived = self._engine.perceive_mask(image, mask, until - time.monotonic())
            own = perceived.region.words
            caption = changed.offer.words.get("caption", "")
            before = (caption, changed.offer.of) if caption else (own.caption, own.category)
            retold = self._retell(request.project_id, config, perceived, *before, changed.words["category"], until)
            new = {name: retold.words[name] for name in changed.redo if retold.words.get(name)}
            if not new:
                continue
            results += _with_words(changed.results, config, new)
            sources |= {name: source for name, source in retold.sources.items() if name in new}
            score = min(score, perceived.region.score)
            self._keep((request.project_id, task.id), changed, new, retold)
        return Refit(results, score, sources) if results else None

    def _changed(self, request: PredictRequest, config: LabelingConfig) -> Iterator[_Changed]:
        (task,) = request.tasks
        for region_id, results in by_region([node.value for node in request.context or ()]).items():
            words = words_in(results, config)
            if not words["category"] or not any(is_mask(result, config) for result in results):
                continue
            suggestion = self._ledger.suggestion(region_id)
            if suggestion and (suggestion.project_id, suggestion.task_id) != (request.project_id or 0, task.id):
                suggestion = None
            offer = self._offer((request.project_id, task.id, region_id), suggestion, config)
            redo = tuple(
                f
                for f in _FOLLOWING
                if f in config.words and words[f] == offer.words.get(f, "") and offer.sources.get(f) != "annotator"
            )
            if redo and category_name(words["category"]) != category_name(offer.of):
                yield _Changed(region_id, results, words, offer, redo, suggestion)

    def _offer(
        self, place: tuple[int | None, int, str], suggestion: Suggestion | None, config: LabelingConfig
    ) -> _Offer:
        if suggestion is not None:
            offered = offered_words(suggestion, config)
            of = suggestion.fitted_to or offered.get("category") or suggestion.category
            return _Offer(offered, of, suggestion.sources)
        with self._lock:
            return self._drawn.get(place, _Offer({}, ""))

    def _keep(self, place: tuple[int | None, int], changed: _Changed, new: Mapping[str, str], retold: _Retold) -> None:
        """Remember what was offered, so that it is told from what the annotator writes."""
        category, suggestion = changed.words["category"], changed.suggestion
        if suggestion is None:
            with self._lock:
                self._drawn[*place, changed.region_id] = _Offer({**changed.offer.words, **new}, category)
            return
        fitted = replace(
            suggestion,
            fitted_to=category,
            offered={**changed.offer.words, **new},
            word_scores={**suggestion.word_scores, **{f: s for f, s in retold.scores.items() if f in new}},
            sources={**suggestion.sources, **{f: s for f, s in retold.sources.items() if f in new}},
        )
        self._ledger.record_suggestion(fitted)

    def _retell(
        self,
        project_id: int | None,
        config: LabelingConfig,
        perceived: Perceived,
        caption: str,
        spoken_of: str,
        category: str,
        until: float,
    ) -> _Retold:
        """An explanation and a caption for a region that is a `category`, as far as there are any.

        The explanation is the one that annotators settled on, else the model's. The caption stays what was seen: only
        where it names another category, it names this one instead. It is not asked for anew, since a model that never
        learned a name continues a sentence that begins with it with anything at all.
        """
        settled = None
        if self._memories is not None and project_id is not None:
            settled = self._memories.settled(project_id, config, perceived.region, category)
        if not can_say(category):
            return _Retold({} if settled is None else {"explanation": settled[0]})
        words = {"caption": _renamed(caption, (spoken_of, perceived.region.words.category), category)}
        if settled is not None:
            explanation, score = settled
        else:
            told = self._engine.explain(perceived.segmentation, category, until - time.monotonic())
            explanation, score = " ".join(told.explanation.split()), told.scores["explanation"]
        source = "model" if settled is None else "memory"
        return _Retold(words | {"explanation": explanation}, {"explanation": score}, {"explanation": source})


def _renamed(caption: str, names: Sequence[str], category: str) -> str:
    """`caption` with `category` in the place of the first of `names` that it holds, unless it names it already."""
    if not names_category(caption, category):
        held = next((name for name in names if names_category(caption, name)), "")
        caption = rename(caption, held, category)
    return " ".join(caption.split())


def _with_words(results: Sequence[Node], config: LabelingConfig, new: Mapping[str, str]) -> list[dict[str, Any]]:
    """The results of a region, as they came, with these texts in the place of what stood in their fields."""
    fields = {config.words[name].name: text for name, text in new.items()}
    kept = [dict(result.object()) for result in results if result["from_name"].value not in fields]
    frame = next(result.object() for result in results if is_mask(result, config))
    common = {key: frame[key] for key in ("id", "to_name", "original_width", "original_height") if key in frame}
    said = (
        common | {"image_rotation": 0, "from_name": name, "type": "textarea", "value": {"text": [text]}}
        for name, text in fields.items()
    )
    return [*kept, *said]


def _logs(words: Words, scores: Mapping[str, float]) -> dict[str, float]:
    return {**words.log_probabilities, **{name: math.log(max(score, 1e-12)) for name, score in scores.items()}}
