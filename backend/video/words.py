"""What is said of an object in a video: by the model, by what annotators called its like; and what is kept of that."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backend import metrics
from backend.annotations import words_in
from backend.closed_list import choices
from backend.described import described, likeliest
from backend.engine import Engine, Perceived
from backend.json_node import Node
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger
from backend.ledger.tracks import Track
from backend.masks import from_coco_rle
from backend.settings import Settings
from backend.suggestion import Suggestion
from backend.video.appearance import appearance, prompt_of
from backend.video.grid import Grid
from backend.video.video_files import VideoFile
from model.clip import describe_track
from model.frames import Frames
from model.reading import choose_frames
from model.region import Region

Advise = Callable[
    [int | None, LabelingConfig, Perceived, Sequence[str] | None, float], tuple[Region, Mapping[str, str]]
]
"""A region that the model has described, with what annotators called its like; and which word is whose."""


@dataclass(frozen=True, eq=False)
class Video:
    """What a request is about. address: as the task's data has it. began: when it was asked, monotonic."""

    address: str
    file: VideoFile
    frames: Frames
    grid: Grid
    began: float


@dataclass(frozen=True, eq=False)
class Described:
    """An object in words: with those of memory, which are whose, and what the model alone takes it for."""

    region: Region
    sources: Mapping[str, str]
    own: Mapping[str, float]


class VideoWords:
    """Says what objects are. Any thread may call it. advise: `Suggester.advised`."""

    def __init__(self, settings: Settings, engine: Engine, ledger: Ledger, advise: Advise):
        self._settings, self._engine, self._ledger, self._advise = settings, engine, ledger, advise

    def describe(self, track: Track, label: str | None, about: Video, config: LabelingConfig) -> Described:
        """The words of an object, from frames spread over all that it was seen on so far; its like are looked for by
        its `appearance`. Raises TrackError where it was seen on none."""
        until = time.monotonic() + self._settings.predict_timeout
        labels = choices(config, label)
        seen = [mask for mask in self._ledger.tracks.masks(track.key) if mask.box is not None]
        chosen = [seen[place] for place in choose_frames(len(seen))]
        masks = {mask.frame: from_coco_rle(mask.rle, track.height, track.width) for mask in chosen}
        shown = appearance(track, seen)
        assert shown is not None  # choose_frames refuses an object that was seen on no frame
        prompt = prompt_of(track, shown)
        with self._engine.turn("describe", self._settings.predict_timeout) as pam:
            words = describe_track(pam, about.frames, masks, labels, self._engine.options)
            (found,) = pam.adopt(pam.encode(about.frames.read(shown.frame).image), [prompt])
            seen_as = Region(found.mask, shown.score, 1.0, words, pam.version, pam.embed([found])[0])
        advised, sources = self._advise(track.key.project_id or None, config, Perceived(found, seen_as), labels, until)
        metrics.SUGGESTIONS.inc()
        return Described(advised, sources, likeliest(words))

    def record(
        self,
        said: Described,
        results: Sequence[dict[str, Any]],
        track: Track,
        about: Video,
        config: LabelingConfig,
    ) -> None:
        """Keep what is suggested of an object, for what becomes of it to be counted and remembered."""
        nodes = [Node(result, f"result[{index}]") for index, result in enumerate(results)]
        own = {result["from_name"].value for result in nodes if result["origin"].value == "manual"}
        given = {name for name, field in config.words.items() if field.name in own and field.kind != "label"}
        suggestion = Suggestion(
            region_id=track.key.region_id,
            project_id=track.key.project_id,
            task_id=track.key.task_id,
            points=(),
            box=track.anchors[0].box,
            image_address=about.address,
            image_sha256=about.file.sha256,
            seconds=time.monotonic() - about.began,
            created_at=datetime.now(UTC),
            sources={**said.sources, **dict.fromkeys(given, "annotator")},
            own=said.own,
            offered=words_in(nodes, config),
            **described(said.region),
        )
        self._ledger.record_suggestion(suggestion)
