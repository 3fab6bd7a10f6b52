"""The remembered regions of videos, for a model that has not seen them: from their tracks and the video's file."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence

from backend.connections import Connections
from backend.errors import RequestError, VideoFileError
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger
from backend.ledger.tracks import FrameMask, Key, Track
from backend.masks import MaskError
from backend.memory.seeing import Seeing
from backend.video.appearance import appearance, prompt_of
from backend.video.video_files import VideoFiles, address_of, frames_of
from model import Prompt
from model.errors import ModelError
from model.frames import FrameLimits, Frames

log = logging.getLogger(__name__)

Shown = tuple[Track, FrameMask]
"""An object, and its mask on the frame that it is looked at on."""


class VideoRegions:
    """Shows the objects of a task's video as `VideoWords.describe` did, each on one frame."""

    def __init__(self, ledger: Ledger, seeing: Seeing, studios: Connections, files: VideoFiles, limits: FrameLimits):
        self._ledger, self._seeing, self._studios = ledger, seeing, studios
        self._files, self._limits = files, limits

    def see(self, project_id: int, task_id: int, config: LabelingConfig, wanted: Collection[str]) -> None:
        """See the regions `wanted`, by their ids; what cannot be seen is logged, and does not keep the others.

        Raises BackendError where the video cannot be had, or is no longer the one that the objects were followed in.
        """
        found = list(self._kept(project_id, task_id, wanted))
        if not found:
            return
        address = self._address(project_id, task_id, config)
        with self._files.using(project_id, address, task_id, self._studios.of(project_id)) as file:
            by_frame: dict[int, list[Shown]] = {}
            for track, mask in found:
                if track.sha256 == file.sha256:
                    by_frame.setdefault(mask.frame, []).append((track, mask))
            if by_frame:
                with frames_of(file, task_id, self._limits) as frames:
                    for index, shown in sorted(by_frame.items()):
                        self._on_frame(project_id, task_id, frames, index, shown)
        exchanged = len(found) - sum(map(len, by_frame.values()))
        if exchanged:
            raise VideoFileError(
                f"the video is another one by now than {exchanged} of its objects were followed in: box them again",
                code="video_changed",
            )

    def _kept(self, project_id: int, task_id: int, wanted: Collection[str]) -> Iterator[Shown]:
        """Those that masks are kept of."""
        lost = []
        for region_id in sorted(wanted):
            track = self._ledger.tracks.track(Key(project_id, task_id, region_id))
            mask = appearance(track, self._ledger.tracks.masks(track.key)) if track else None
            if track is None or mask is None:
                lost.append(region_id)
            else:
                yield track, mask
        if lost:
            log.warning(
                "memory: no mask is kept of %d objects in the video of task %d of project %d, such as region %s: they "
                "cannot be seen anew until they are followed again",
                *(len(lost), task_id, project_id, lost[0]),
            )

    def _address(self, project_id: int, task_id: int, config: LabelingConfig) -> str:
        annotations = self._ledger.annotations_of_task(project_id, task_id)
        newest = max(annotations, key=lambda each: each.updated_at, default=None)
        return address_of(newest.task_data if newest else {}, config)

    def _on_frame(self, project_id: int, task_id: int, frames: Frames, index: int, shown: Sequence[Shown]) -> None:
        try:
            if index >= len(frames):
                raise VideoFileError(f"the video has {len(frames)} frames, from 0")
            image = self._seeing.encode(frames.read(index).image)
            self._seeing.see(project_id, task_id, image, _prompts(shown))
        except (ModelError, RequestError, VideoFileError) as error:
            log.warning(
                "memory: frame %d of the video of task %d of project %d cannot be seen anew: %s",
                *(index, task_id, project_id, error),
            )


def _prompts(shown: Sequence[Shown]) -> Iterator[tuple[str, Prompt]]:
    for track, mask in shown:
        try:
            yield track.key.region_id, prompt_of(track, mask)
        except MaskError as error:
            log.warning(
                "memory: region %s of task %d of project %d cannot be seen anew: %s",
                track.key.region_id,
                track.key.task_id,
                track.key.project_id,
                error,
            )
