"""The way of a box on a video: request in, a track and its words out; what takes longer goes on in the background."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend import pictures
from backend.annotations import region_id
from backend.answer import worded
from backend.connections import Connections
from backend.engine import Engine
from backend.errors import BackendError, RequestError, VideoFileError
from backend.json_node import Node
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger
from backend.ledger.tracks import Key, Track
from backend.predict_request import PredictRequest, Saved, Task
from backend.settings import Settings
from backend.video import anchors, parts, plan
from backend.video.board import Board
from backend.video.events import Telling
from backend.video.grid import grid_of, rate_of
from backend.video.keyframes import Keyframe, read_sequence, simplified, write_sequence
from backend.video.timeline import has_place, timeline
from backend.video.track_works import TrackWorks
from backend.video.tracking import Tracking, Work
from backend.video.video_files import VideoFiles, address_of, frames_of
from backend.video.words import Advise, Video, VideoWords
from backend.webhook_event import WebhookEvent
from model.events import NarrationOptions
from model.frames import FrameLimits
from model.region import FIELDS

log = logging.getLogger(__name__)

MAX_REGIONS = 200

_LEAST_SECONDS = 1.0
"""That what happens to an object must last for being an event."""


@dataclass(frozen=True)
class Answer:
    """The regions of one answer: Label Studio's results, and how good the worst mask in them is, 0..1."""

    results: list[dict[str, Any]]
    score: float


@dataclass(frozen=True)
class _Region:
    """One region of a request: the result with its boxes, and the others."""

    id: str
    box: Node
    others: tuple[Node, ...]

    @property
    def keyframes(self) -> list[Keyframe]:
        return read_sequence(self.box["value"]["sequence"])

    @property
    def label(self) -> str | None:
        labels = self.box["value"]["labels"].value
        return labels[0] if isinstance(labels, list) and labels and isinstance(labels[0], str) else None


class VideoSuggester:
    """Answers what annotators box in videos. Any thread may call it.

    advise: `Suggester.advised`. `files`: the videos of this process, which alone makes room among them.
    """

    def __init__(self, settings: Settings, engine: Engine, ledger: Ledger, studios: Connections, advise: Advise):
        self._settings, self._engine, self._studios = settings, engine, studios
        self._words = VideoWords(settings, engine, ledger, advise)
        self._ledger, self._tracks = ledger, ledger.tracks
        limits = pictures.FetchLimits(settings.max_video_bytes, settings.video_timeout, "video")
        self.files = VideoFiles(settings.data_dir / "videos", limits, settings.video_cache_bytes)
        self._limits = FrameLimits(max_pixels=settings.max_image_pixels)
        board = Board(TrackWorks(settings.data_dir))
        self.tracking = Tracking(engine, ledger.tracks, self._limits, settings.video_frames, self.files.release, board)

    def prepare(self, request: PredictRequest, task: Task, config: LabelingConfig) -> None:
        """Fetch the video of a task that was opened, in the background."""
        threading.Thread(
            target=self._fetch_early, args=(request, task, config), name="fetch-video", daemon=True
        ).start()

    def suggest(self, request: PredictRequest, task: Task, config: LabelingConfig) -> Answer | None:
        """What there is to say about the regions of a request; None where that is nothing new.

        Label Studio sends all regions that have the label of the one that was meant. Those that were drawn or mended
        since the last answer are followed anew; of the others, what was found meanwhile is answered.
        Raises BackendError of every kind.
        """
        began = time.monotonic()
        until = began + self._settings.video_seconds
        address = address_of(task.data, config)
        rate = rate_of(config.video.framerate if config.video else "", task.data)
        regions = list(_regions(request.context or (), config))
        self._hand_over(request, task, config)
        if not regions:  # such as when a caption on the timeline was mended
            return None
        studio = self._studios.of(request.project_id)
        with self.files.using(request.project_id, address, task.id, studio) as file:
            frames = frames_of(file, task.id, self._limits)
            about = Video(address, file, frames, grid_of(frames, rate), began)
            begun = [
                self._begin(Key(request.project_id or 0, task.id, r.id), r, about, config, task.saved) for r in regions
            ]
            answers = [
                self._answer(region, track, about, config, until, task.saved)
                for region, track in zip(regions, begun, strict=True)
            ]
        found = [answer for answer in answers if answer is not None]
        if not found:
            return None
        return Answer([result for answer in found for result in answer.results], min(a.score for a in found))

    def _hand_over(self, request: PredictRequest, task: Task, config: LabelingConfig) -> None:
        """Take note of the parts of the timeline that an annotator mended."""
        project_id = request.project_id or 0
        known = self._tracks.parts.of_task(project_id, task.id)
        self._tracks.parts.hand_over(project_id, task.id, parts.touched(request.context or (), known, config))

    def _begin(self, key: Key, region: _Region, about: Video, config: LabelingConfig, saved: Sequence[Saved]) -> Track:
        """The track of a region; the model works on what is new in it when this returns."""
        keyframes, known = region.keyframes, self._tracks.track(key)
        fits = known is not None and (known.sha256, known.rate) == (about.file.sha256, about.grid.rate)
        if known is not None and known.sha256 != about.file.sha256:
            self.tracking.cancel(key, "its video was exchanged")
            self._tracks.forget(key)
        if known is None or not fits:
            frames = about.frames
            known = Track(key, about.file.sha256, frames.height, frames.width, len(frames), about.grid.rate, (), "")
        sent = read_sequence(Node(known.sent, "sent")) if known.sent else []
        track = known
        if anchors.drawn(keyframes, sent) or {k.frame for k in sent} - {k.frame for k in keyframes}:
            track = anchors.anchored(known, keyframes, sent, about.grid)
            track = replace(track, model_version=self._engine.version, sent=write_sequence(keyframes, about.grid.rate))
        if track.anchors != known.anchors:
            self.tracking.cancel(key, "asked for anew")
            self._tracks.save(track, self._replaceable(key, saved, config))
        elif track != known:
            self._tracks.update(track)
        if self.tracking.urge(key) is None:
            self._work(track, about, config)
        return track

    def _work(self, track: Track, about: Video, config: LabelingConfig) -> None:
        """Follow the object through the frames that it was not followed through yet, and tell what was not told."""
        frames = sum(map(len, plan.stretches(track, self._tracks.masks(track.key), self._settings.video_frames)))
        telling = self._telling(track, about, config)
        number = self._tracks.number(track.key)
        if number is None or not (frames or telling and plan.is_untold(self._tracks, track.key)):
            return
        self.files.use(about.file.path)
        self.tracking.start(Work(track.key, number, about.file.path, frames, telling))

    def _telling(self, track: Track, about: Video, config: LabelingConfig) -> Telling | None:
        seconds = self._settings.video_event_seconds
        if not seconds or not has_place(config):
            return None
        options = NarrationOptions(seconds=seconds, least=min(_LEAST_SECONDS, seconds))
        hidden = tuple((about.grid.at(first), about.grid.at(last)) for first, last in track.hidden)
        return Telling(options, hidden)

    def _replaceable(self, key: Key, saved: Sequence[Saved], config: LabelingConfig) -> Collection[str]:
        return parts.replaceable(key.region_id, self._tracks.parts.of(key), saved, config)

    def _answer(
        self,
        region: _Region,
        track: Track,
        about: Video,
        config: LabelingConfig,
        until: float,
        saved: Sequence[Saved],
    ) -> Answer | None:
        work = self.tracking.urge(track.key)
        if work is not None:
            self.tracking.wait(work, until)
            if work.state == "failed":
                raise VideoFileError(f"the object could not be followed: {work.message}")
        boxes, score = plan.boxes(track, self._tracks.masks(track.key), about.grid)
        keyframes = simplified(boxes, track.height, track.width, self._settings.video_tolerance)
        sequence = write_sequence(keyframes, track.rate)
        results = []
        if keyframes and sequence != list(track.sent):
            said = None if track.words else self._words.describe(track, region.label, about, config)
            if said is not None:
                track = replace(track, words={name: said.region.words[name] for name in FIELDS})
            results = _results(region, sequence, track, config, score)
            if said is not None:
                self._words.record(said, results, track, about, config)
            self._tracks.update(replace(track, sent=sequence))
        if has_place(config):
            is_done = self.tracking.urge(track.key) is None
            free = self._replaceable(track.key, saved, config)
            events = parts.due(self._tracks, track.key, about.grid, free, is_done)
            results += timeline(events, region.id, region.label, config, about.grid)
        return Answer(results, score) if results else None

    def stop_for(self, event: WebhookEvent) -> None:
        """Follow no more what a webhook says is done with: regions that were submitted, or went with their task or
        annotation."""
        if not self.tracking.is_busy:
            return
        for annotation in event.changed:
            ids = {name for result in annotation.result if (name := region_id(result)) is not None}
            self.tracking.cancel_task(annotation.project_id, annotation.task_id, "it was submitted", ids)
        for project_id, task_id in self._ledger.tasks_of(event.deleted):
            self.tracking.cancel_task(project_id, task_id, "its annotation was deleted")
        for task_id in event.deleted_tasks:
            self.tracking.cancel_task(None, task_id, "its task was deleted")

    def close(self) -> None:
        """Break off what goes on in the background."""
        self.tracking.close()

    def _fetch_early(self, request: PredictRequest, task: Task, config: LabelingConfig) -> None:
        try:
            studio = self._studios.of(request.project_id)
            with self.files.using(request.project_id, address_of(task.data, config), task.id, studio):
                pass
        except BackendError as error:
            # Nobody waits for it: the box that follows meets the same error and reports it.
            log.warning("the video of task %s could not be fetched in advance: %s", task.id, error.message)


def _regions(context: Sequence[Node], config: LabelingConfig) -> Iterator[_Region]:
    """The regions that have boxes, in their order."""
    boxes = [r for r in context if (r["from_name"].value, r["type"].value) == (config.output.name, config.output.type)]
    if len(boxes) > MAX_REGIONS:
        raise RequestError(f"{len(boxes)} regions share a label, more than the {MAX_REGIONS} that are read")
    for box in boxes:
        id = box["id"].text()
        yield _Region(id, box, tuple(r for r in context if r["id"].value == id and r is not box))


def _results(
    region: _Region, sequence: list[dict[str, Any]], track: Track, config: LabelingConfig, score: float
) -> list[dict[str, Any]]:
    """The region as Label Studio is to show it from now on: it replaces what is there, so all that is there comes back.

    Words are offered where there are none yet: of those that came before, one that was taken away stays away.
    """
    value = dict(region.box["value"].object()) | {"sequence": sequence}
    results = [dict(region.box.object()) | {"value": value, "score": round(score, 4)}]
    for other in region.others:
        shown = {k: v for k, v in other["value"].object().items() if k not in ("sequence", "framesCount", "duration")}
        results.append(dict(other.object()) | {"value": shown})
    common = {"id": region.id, "to_name": config.image}
    fields = {} if region.others else config.words
    for field in FIELDS:
        word = fields.get(field)
        if word is None or word.kind == "label":
            continue
        if (text := worded(word, track.words.get(field, ""))) is not None:
            key = "text" if word.kind == "textarea" else word.kind
            results.append(common | {"from_name": word.name, "type": word.kind, "value": {key: [text]}})
    return results
