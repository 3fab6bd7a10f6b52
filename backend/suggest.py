"""The way of one click: request in, picture, segmentation, words, answer out, and a line in the ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cachetools import TTLCache

from backend import labeling_config, metrics, pictures
from backend.annotations import words_in
from backend.answer import answer, new_region_id, with_given
from backend.closed_list import choices
from backend.connections import Connections
from backend.described import described, likeliest
from backend.encoded_images import EncodedImages, Picture
from backend.engine import Engine, ModelNotReady, Perceived
from backend.errors import PictureError, RequestError
from backend.follow import Follower
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger
from backend.memory import ProjectMemories
from backend.outcome import as_offered
from backend.predict_request import PredictRequest, Task
from backend.settings import Settings
from backend.smart_prompt import SmartPrompt, read_prompt
from backend.suggestion import Suggestion
from backend.video.suggest import VideoSuggester
from model import Region

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
        self.videos = VideoSuggester(settings, engine, ledger, studios, self.advised)
        self._follower = Follower(engine, ledger, self.memories if settings.memory else None, settings.max_image_pixels)
        self._limits = pictures.FetchLimits(settings.max_image_bytes, settings.image_timeout)
        self._stale: TTLCache[str, None] = TTLCache(10_000, _STALE_MEMORY.total_seconds())
        self._stale_lock = threading.Lock()
        self._configs: dict[int, str] = {}

    def suggest(self, request: PredictRequest) -> list[Prediction]:
        """One prediction for a click or box, or for regions whose category was changed.

        None when a task was merely opened: then its image is encoded meanwhile, and memories are read.

        Raises BackendError of every kind; nothing is in the ledger then.
        """
        config = labeling_config.parse(request.label_config)
        self._learn_config(request)
        self._engine.check_ready()
        if request.context is None:
            if len(request.tasks) == 1:
                if config.video:
                    self.videos.prepare(request, request.tasks[0], config)
                else:
                    self.prepare(request.project_id, request.tasks[0], config)
            return []
        if len(request.tasks) != 1:
            raise RequestError(f"a prompt belongs to one task, got {len(request.tasks)}")
        if request.is_about_video and config.video is None:
            return []
        if config.video:
            found = self.videos.suggest(request, request.tasks[0], config)
            return [] if found is None else [Prediction(found.results, found.score, self._engine.version, {})]
        prompt = self._read_prompt(request, request.tasks[0], config)
        if prompt is None:
            return list(self._refit(request, request.tasks[0], config))
        return [self._answer(request, request.tasks[0], config, prompt)]

    def _learn_config(self, request: PredictRequest) -> None:
        """Let those who read annotations without being asked, as re-embedding does, read them with the same config."""
        if (project_id := request.project_id) is None or self._configs.get(project_id) == request.label_config:
            return
        self._ledger.remember_label_config(project_id, request.label_config)
        self._configs[project_id] = request.label_config

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
        picture = self.picture(request.project_id, task, config)
        height, width = picture.encoded.height, picture.encoded.width
        if (prompt.height, prompt.width) != (height, width):
            raise PictureError(
                f"the prompt was drawn on {prompt.width} x {prompt.height} pixels, but the image of task {task.id} has "
                f"{width} x {height}: reload the task",
                code="image_changed",
            )
        region, sources, own = self._describe(request, config, prompt, picture, began)
        region_id = new_region_id()
        results = answer(region, config, region_id, prompt.label, self._settings.polygon_tolerance)
        results = with_given(results, prompt.words)
        suggestion = Suggestion(
            region_id=region_id,
            project_id=request.project_id or 0,
            task_id=task.id,
            points=prompt.prompt.points,
            box=prompt.prompt.box,
            image_address=address_of(task.data, config),
            image_sha256=picture.sha256,
            seconds=time.monotonic() - began,
            created_at=datetime.now(UTC),
            sources=sources,
            own=own,
            **described(region),
        )
        self._ledger.record_suggestion(as_offered(suggestion, results, config))
        metrics.SUGGESTIONS.inc()
        return Prediction(results, region.score, region.model_version, sources)

    def _refit(self, request: PredictRequest, task: Task, config: LabelingConfig) -> Iterator[Prediction]:
        """New words for the regions whose category an annotator changed, if there are any."""
        until = time.monotonic() + self._settings.predict_timeout
        refit = self._follower.refit(request, config, lambda: self.picture(request.project_id, task, config), until)
        if refit is not None:
            yield Prediction(refit.results, refit.score, self._engine.version, refit.sources)

    def _describe(
        self, request: PredictRequest, config: LabelingConfig, prompt: SmartPrompt, picture: Picture, began: float
    ) -> tuple[Region, Mapping[str, str], Mapping[str, float]]:
        """The region that is meant, in words of the model and of who corrected its like; which are whose; and what
        the model alone took it for (see `likeliest`)."""
        until = began + self._settings.predict_timeout
        labels = choices(config, prompt.label)
        perceived = self._engine.perceive(picture.encoded, prompt.prompt, until - time.monotonic(), labels)
        region, sources = self.advised(request.project_id, config, perceived, labels, until)
        own = likeliest(perceived.region.words)
        given = {name: text for name, text in words_in(prompt.words, config).items() if text}
        if not given:
            return region, sources, own
        words, others = self._follower.say(request.project_id, config, perceived, region.words, given, until)
        return replace(region, words=words), {**sources, **others}, own

    def advised(
        self,
        project_id: int | None,
        config: LabelingConfig,
        perceived: Perceived,
        labels: Sequence[str] | None,
        until: float,
    ) -> tuple[Region, Mapping[str, str]]:
        """What is perceived, with what memory says of it; and which word is whose."""
        if not self._settings.memory or project_id is None:
            return perceived.region, {}
        advice = self.memories.advise(project_id, config, perceived.region, labels)
        if not advice.explain:
            return advice.region, advice.sources
        words = advice.region.words
        told = self._engine.explain(perceived.segmentation, words.category, until - time.monotonic())
        scores = dict(words.log_probabilities) | {"explanation": told.log_probabilities["explanation"]}
        explained = replace(words, explanation=told.explanation, log_probabilities=scores)
        return replace(advice.region, words=explained), advice.sources

    def prepare(self, project_id: int | None, task: Task, config: LabelingConfig) -> None:
        """Encode the image of a task that will be asked about, in the background. Raises PictureError."""
        address = address_of(task.data, config)
        self._images.prepare(_key(project_id, address), lambda: self._fetch(project_id, task, address))
        if self._settings.memory and project_id is not None:
            self.memories.prepare(project_id, config, self._engine.version)

    def picture(
        self, project_id: int | None, task: Task, config: LabelingConfig, timeout: float | None = None
    ) -> Picture:
        """The encoded image of a task, waited for `timeout` seconds, by default those that a click may take.

        Raises PictureError, LabelStudioError and ModelNotReady.
        """
        address = address_of(task.data, config)
        timeout = self._settings.predict_timeout if timeout is None else timeout
        try:
            return self._images.get(_key(project_id, address), lambda: self._fetch(project_id, task, address), timeout)
        except FutureTimeout:
            raise ModelNotReady(
                f"the image was not encoded within {timeout:g} s: try again", code="model_busy"
            ) from None

    def _fetch(self, project_id: int | None, task: Task, address: str) -> bytes:
        return pictures.fetch(address, task.id, self._studios.of(project_id), self._limits)


def _key(project_id: int | None, address: str) -> str:
    """Relative addresses mean different images on different Label Studios, and so do permissions in projects."""
    return f"{project_id} {address}"


def address_of(data: Mapping[str, Any], config: LabelingConfig) -> str:
    """Where the image of a task is, by the task's data. Raises PictureError."""
    address = data.get(config.data_key)
    if not isinstance(address, str) or not address:
        raise PictureError(f"the task has no image: its data has no text under {config.data_key!r}", code="no_image")
    return address
