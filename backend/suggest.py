"""The way of one click: request in, picture, segmentation, words, answer out, and a line in the ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from cachetools import TTLCache

from backend import labeling_config, masks, metrics, pictures
from backend.answer import answer, new_region_id
from backend.closed_list import choices
from backend.connections import Connections
from backend.encoded_images import EncodedImages, Picture
from backend.engine import Engine, ModelNotReady
from backend.errors import PictureError, RequestError
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger
from backend.memory import ProjectMemories
from backend.outcome import as_offered
from backend.predict_request import PredictRequest, Task
from backend.settings import Settings
from backend.smart_prompt import SmartPrompt, read_prompt
from backend.suggestion import Suggestion, to_text
from backend.video.suggest import VideoSuggester
from model import Region

_parse_config = lru_cache(maxsize=64)(labeling_config.parse)
_STALE_MEMORY = timedelta(days=1)


@dataclass(frozen=True)
class Prediction:
    """What is suggested for one task: Label Studio results, how good the mask is (0..1), and who says so.

    sources: field to whose word it is, "model" or "memory", where that is a question.
    """

    results: list[dict[str, Any]]
    score: float
    model_version: str
    sources: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """As `/predict` answers it."""
        said = {"result": self.results, "score": self.score, "model_version": self.model_version}
        return said | {"sources": dict(self.sources)}


class Suggester:
    """Answers what annotators point at. Any thread may call it."""

    def __init__(self, settings: Settings, engine: Engine, images: EncodedImages, ledger: Ledger, studios: Connections):
        self._settings, self._engine, self._images = settings, engine, images
        self._ledger, self._studios, self.memories = ledger, studios, ProjectMemories(ledger)
        self.videos = VideoSuggester(settings, engine, ledger, studios)
        self._limits = pictures.FetchLimits(settings.max_image_bytes, settings.image_timeout)
        self._stale: TTLCache[str, None] = TTLCache(10_000, _STALE_MEMORY.total_seconds())
        self._stale_lock = threading.Lock()

    def suggest(self, request: PredictRequest) -> list[Prediction]:
        """One prediction for a click or box; none when a task was merely opened: then its image is encoded meanwhile.

        Raises BackendError of every kind; nothing is in the ledger then.
        """
        config = _parse_config(request.label_config)
        self._engine.check_ready()
        if request.context is None:
            if len(request.tasks) == 1:
                (self.videos.prepare if config.video else self._prepare)(request, request.tasks[0], config)
            return []
        if len(request.tasks) != 1:
            raise RequestError(f"a prompt belongs to one task, got {len(request.tasks)}")
        if request.is_about_video and config.video is None:
            return []
        if config.video:
            found = self.videos.suggest(request, request.tasks[0], config)
            return [] if found is None else [Prediction(found.results, found.score, self._engine.version, {})]
        prompt = self._read_prompt(request, request.tasks[0], config)
        return [] if prompt is None else [self._answer(request, request.tasks[0], config, prompt)]

    def _read_prompt(self, request: PredictRequest, task: Task, config: LabelingConfig) -> SmartPrompt | None:
        with self._stale_lock:
            known_stale = set(self._stale)
        prompt = read_prompt(
            request.context or (),
            config,
            now=datetime.now(UTC),
            max_pixels=self._settings.max_image_pixels,
            saved=task.saved,
            known_stale=known_stale,
        )
        with self._stale_lock:
            self._stale.update(dict.fromkeys(prompt.stale_ids if prompt else ()))
        return prompt

    def _answer(self, request: PredictRequest, task: Task, config: LabelingConfig, prompt: SmartPrompt) -> Prediction:
        began = time.monotonic()
        picture = self._picture(request, task, config)
        height, width = picture.encoded.height, picture.encoded.width
        if (prompt.height, prompt.width) != (height, width):
            raise PictureError(
                f"the prompt was drawn on {prompt.width} x {prompt.height} pixels, but the image of task {task.id} has "
                f"{width} x {height}: reload the task",
                code="image_changed",
            )
        region, sources = self._describe(request, config, prompt, picture, began)
        region_id = new_region_id()
        results = answer(region, config, region_id, prompt.label, self._settings.polygon_tolerance)
        seconds = time.monotonic() - began
        suggestion = _suggestion(
            region, region_id, request, task, prompt, picture, _address(task.data, config), seconds, sources
        )
        self._ledger.record_suggestion(as_offered(suggestion, results, config))
        metrics.SUGGESTIONS.inc()
        return Prediction(results, region.score, region.model_version, sources)

    def _describe(
        self, request: PredictRequest, config: LabelingConfig, prompt: SmartPrompt, picture: Picture, began: float
    ) -> tuple[Region, Mapping[str, str]]:
        """The region that is meant, in words of the model and of who corrected its like; and which are whose."""
        until = began + self._settings.predict_timeout
        labels = choices(config, prompt.label)
        perceived = self._engine.perceive(picture.encoded, prompt.prompt, until - time.monotonic(), labels)
        if not self._settings.memory or request.project_id is None:
            return perceived.region, {}
        advice = self.memories.advise(request.project_id, config, perceived.region, labels)
        if not advice.explain:
            return advice.region, advice.sources
        words = advice.region.words
        told = self._engine.explain(perceived.segmentation, words.category, until - time.monotonic())
        scores = dict(words.log_probabilities) | {"explanation": told.log_probabilities["explanation"]}
        explained = replace(words, explanation=told.explanation, log_probabilities=scores)
        return replace(advice.region, words=explained), advice.sources

    def _prepare(self, request: PredictRequest, task: Task, config: LabelingConfig) -> None:
        address = _address(task.data, config)
        self._images.prepare(_key(request, address), lambda: self._fetch(request, task, address))

    def _picture(self, request: PredictRequest, task: Task, config: LabelingConfig) -> Picture:
        address = _address(task.data, config)
        timeout = self._settings.predict_timeout
        try:
            return self._images.get(_key(request, address), lambda: self._fetch(request, task, address), timeout)
        except FutureTimeout:
            raise ModelNotReady(
                f"the image was not encoded within {timeout:g} s: try again", code="model_busy"
            ) from None

    def _fetch(self, request: PredictRequest, task: Task, address: str) -> bytes:
        return pictures.fetch(address, task.id, self._studios.of(request.project_id), self._limits)


def _key(request: PredictRequest, address: str) -> str:
    """Relative addresses mean different images on different Label Studios, and so do permissions in projects."""
    return f"{request.project_id} {address}"


def _address(data: Mapping[str, Any], config: LabelingConfig) -> str:
    address = data.get(config.data_key)
    if not isinstance(address, str) or not address:
        raise PictureError(f"the task has no image: its data has no text under {config.data_key!r}", code="no_image")
    return address


def _suggestion(
    region: Region,
    region_id: str,
    request: PredictRequest,
    task: Task,
    prompt: SmartPrompt,
    picture: Picture,
    address: str,
    seconds: float,
    sources: Mapping[str, str],
) -> Suggestion:
    height, width = region.mask.shape
    return Suggestion(
        region_id=region_id,
        project_id=request.project_id or 0,
        task_id=task.id,
        points=prompt.prompt.points,
        box=prompt.prompt.box,
        mask_rle=masks.to_coco_rle(region.mask),
        height=height,
        width=width,
        category=region.words.category,
        explanation=region.words.explanation,
        caption=region.words.caption,
        score=region.score,
        word_scores=dict(region.words.scores),
        model_version=region.model_version,
        image_address=address,
        image_sha256=picture.sha256,
        seconds=seconds,
        created_at=datetime.now(UTC),
        embedding=None if region.embedding is None else to_text(region.embedding),
        sources=sources,
    )
