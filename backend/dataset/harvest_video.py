"""Out of the ledger: the objects of an annotated video, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from backend.annotations import LeftOut
from backend.dataset.images import ImagePool, StoredImage
from backend.dataset.masklets import Masklet, as_file, frames_to_take, masklets
from backend.dataset.state import Excluded
from backend.dataset.texts import is_boilerplate
from backend.errors import VideoFileError
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger
from backend.video.grid import Grid, grid_of, rate_of
from backend.video.video_files import VideoFile
from backend.webhook_event import Annotation
from model.errors import ModelError
from model.frames import FrameLimits, Frames, open_frames

OpenVideo = Callable[[str, int], AbstractContextManager[VideoFile]]
"""Video address and task id to the file, for a while; raises VideoFileError where it cannot be had."""


class Source(Protocol):
    """Where things come from and how they are taken; see `backend.dataset.harvest.Harvest`."""

    @property
    def config(self) -> LabelingConfig: ...
    @property
    def ledger(self) -> Ledger: ...
    @property
    def pool(self) -> ImagePool: ...
    @property
    def max_pixels(self) -> int: ...
    @property
    def open_video(self) -> OpenVideo | None: ...
    @property
    def video_rate(self) -> float: ...


@dataclass(frozen=True, eq=False)
class FrameRegion:
    """An object on a frame. fields: of a DatasetRegion, those that a mask, words and the annotation do not say."""

    image: StoredImage
    region_id: str
    mask: np.ndarray
    words: Mapping[str, str]
    fields: Mapping[str, Any]


def objects_of(annotation: Annotation, address: str, video: str, source: Source) -> Iterator[FrameRegion | Excluded]:
    """The objects of an annotation on the frames that the data set takes, frame after frame.

    address: of the video, as the task's data has it. video: what stands for it in the data set.
    What cannot be read is Excluded. Raises VideoFileError where the file cannot be had.
    """
    if source.open_video is None or source.config.video is None:
        raise VideoFileError("videos are not read here")
    with source.open_video(address, annotation.task_id) as file:
        found = list(masklets(annotation, source.config, source.ledger.tracks, file.sha256))
        yield from (Excluded("track", one) for one in found if isinstance(one, LeftOut))
        objects = [one for one in found if isinstance(one, Masklet)]
        if not objects:
            return
        try:
            with open_frames(file.path, FrameLimits(max_pixels=source.max_pixels)) as frames:
                grid = grid_of(frames, rate_of(source.config.video.framerate, annotation.task_data))
                yield from _on_frames(annotation, frames, grid, objects, video, source)
        except ModelError as error:
            yield Excluded("video", LeftOut(annotation.task_id, f"its video cannot be read: {error}", annotation.id))


def _on_frames(
    annotation: Annotation, frames: Frames, grid: Grid, objects: list[Masklet], video: str, source: Source
) -> Iterator[FrameRegion | Excluded]:
    taken = frames_to_take(grid, objects, source.video_rate)
    words: dict[str, dict[str, str]] = {}
    for one in objects:
        words[one.region_id] = dict(one.words)
        for name in _empty(one, source.config):
            words[one.region_id][name] = ""
            reason = f"its {name} says nothing: {one.words[name][:50]!r}"
            yield Excluded("boilerplate", LeftOut(annotation.task_id, reason, annotation.id, one.region_id))
    for frame in frames.walk(min(taken), max(taken) + 1):
        number = taken.get(frame.index)
        if number is None:
            continue
        shown = [(one, at) for one in objects if (at := one.on(number, frame.index, frames.height, frames.width))]
        if not shown:
            continue
        image = replace(source.pool.add(as_file(frame, video)), video=video, frame=frame.index)
        for one, (mask, kind) in shown:
            first = one.track.anchors[0] if one.track else None
            fields = {
                "points": [],
                "box": [float(v) for v in first.box] if first and first.index == frame.index else None,
                "model_version": one.track.model_version if one.track else None,
                "outcome": kind,
                "mask_iou": None,
                "track": one.region_id,
            }
            said = words[one.region_id] | ({"caption": one.caption_on(number)} if one.segments else {})
            yield FrameRegion(image, one.region_id, mask, said, fields)


def _empty(one: Masklet, config: LabelingConfig) -> list[str]:
    """The fields whose texts say nothing."""
    presets = {name: field.presets for name, field in config.words.items()}
    return [name for name, text in one.words.items() if text and is_boilerplate(text, presets.get(name, ()))]
