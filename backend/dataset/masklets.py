"""Objects in videos as annotators submitted them: a mask on each frame that the data set takes."""

from __future__ import annotations

import io
import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image

from backend.annotations import LeftOut, by_region, words_in
from backend.errors import RequestError
from backend.json_node import Node
from backend.labeling_config import LabelingConfig
from backend.ledger.tracks import FrameMask, Key, Track, Tracks
from backend.masks import from_coco_rle
from backend.video.anchors import drawn
from backend.video.grid import Grid
from backend.video.keyframes import Keyframe, interpolated, read_sequence
from backend.video.parts import is_untouched
from backend.webhook_event import Annotation
from model.frames import Frame
from model.prompt import Box

MAX_FRAMES = 2000
"""Frames of one video in a data set; of a longer one they are further apart."""

LEAST_FRAMES = 16
"""That are taken of a video that has as many: PAM's trainer refuses shorter clips."""

_QUALITY = 95
_PIXELS, _SHARE = 3.0, 0.1
"""How far an edge of a box on the screen may be from the mask's own, which keyframes only come close to: in pixels, or
relative to the box."""

Kind = Literal["accepted", "corrected", "drawn"]


class Segment(NamedTuple):
    """A caption that holds for a part of a video: Label Studio's numbers of its first and last frame."""

    first: int
    last: int
    caption: str


@dataclass(frozen=True, eq=False)
class Masklet:
    """An object of an annotation.

    words:   field to text, every one of FIELDS.
    changed: Label Studio's numbers of the frames whose boxes a person drew or moved.
    track:   what was suggested, None where it was drawn by hand.
    known:   the masks that were suggested, by the frame in the file.
    visible: of these frames the ones that show the object, rising.
    segments: captions of parts of the video, from its timeline: those that were suggested for this object, and those
              that were drawn by hand where it is the only one, since nothing else says which one is meant.
    """

    region_id: str
    words: Mapping[str, str]
    keyframes: Sequence[Keyframe]
    changed: frozenset[int]
    track: Track | None
    known: Mapping[int, FrameMask]
    visible: Sequence[int]
    segments: tuple[Segment, ...] = ()

    def caption_on(self, number: int) -> str:
        """What the annotator says of the part of the video that Label Studio's frame `number` is in."""
        said = (s.caption for s in self.segments if s.first <= number <= s.last)
        return next(said, self.words["caption"])

    def on(self, number: int, index: int, height: int, width: int) -> tuple[np.ndarray, Kind] | None:
        """The object's mask, bool (H, W), on a frame, and what the annotator did to it there; None where it is gone.

        number: of the frame in Label Studio, from 1. index: in the file, from 0.

        Where the box is the one that was suggested, the mask is the one behind it. Where a person moved the box, the
        mask of the nearest frame is fitted into it; a box without any mask near is the mask.
        """
        shape = interpolated(self.keyframes, number)
        if shape is None:
            return None
        try:
            box = Keyframe(number, shape).box(height, width)
        except RequestError:  # moved off the picture, as one does with an object that leaves it
            return None
        mask = self.known.get(index)
        if mask is not None and mask.box is not None and _is_about(mask.box, box):
            is_drawn = number in self.changed or self.track and number in {a.number for a in self.track.anchors[1:]}
            return from_coco_rle(mask.rle, height, width), "corrected" if is_drawn else "accepted"
        if not self.visible:
            return _filled(box, height, width), "drawn"
        place = bisect_left(self.visible, index)
        near = min(self.visible[max(0, place - 1) : place + 1], key=lambda frame: abs(frame - index))
        model = self.known[near]
        assert model.box is not None
        return _fitted(from_coco_rle(model.rle, height, width), model.box, box), "corrected"


def masklets(
    annotation: Annotation, config: LabelingConfig, tracks: Tracks, sha256: str
) -> Iterator[Masklet | LeftOut]:
    """The objects of an annotation of a video, whose file has that hash; LeftOut in place of a damaged one."""
    regions = by_region(annotation.result)
    objects = [id for id, results in regions.items() if any(r["type"].value == config.output.type for r in results)]
    segments = _segments(annotation, regions, config, tracks, objects)
    for region_id, results in regions.items():
        boxes = [result for result in results if result["type"].value == config.output.type]
        if not boxes:
            continue
        try:
            keyframes = read_sequence(boxes[0]["value"]["sequence"])
            words = words_in(results, config)
            key = Key(annotation.project_id, annotation.task_id, region_id)
            track = tracks.track(key)
            if track is not None and track.sha256 != sha256:
                track = None  # the file behind the address was exchanged: its masks say nothing of this one
            sent = read_sequence(Node(track.sent, "sent")) if track and track.sent else []
        except RequestError as error:
            yield LeftOut(annotation.task_id, error.message, annotation.id, region_id)
            continue
        known = {mask.frame: mask for mask in tracks.masks(key)} if track else {}
        visible = [frame for frame, mask in known.items() if mask.box is not None]
        changed = frozenset(keyframe.frame for keyframe in drawn(keyframes, sent))
        yield Masklet(region_id, words, keyframes, changed, track, known, visible, tuple(segments[region_id]))


def _segments(
    annotation: Annotation,
    regions: Mapping[str, Sequence[Node]],
    config: LabelingConfig,
    tracks: Tracks,
    objects: Sequence[str],
) -> dict[str, list[Segment]]:
    """Object to the ranges of TimelineLabels that have a caption and are about it; damaged ones are passed over."""
    owners = tracks.events.owners(annotation.project_id, annotation.task_id)
    withdrawn = tracks.parts.withdrawn(annotation.project_id, annotation.task_id)
    found: dict[str, list[Segment]] = {name: [] for name in objects}
    for region_id, results in regions.items():
        if region_id in withdrawn and is_untouched(withdrawn[region_id], results, config):
            continue  # told of what was followed by mistake, and submitted before it was replaced
        named = (owners.get(region_id), *(result["parentID"].value for result in results))
        about = [name for name in named if isinstance(name, str) and name in found]
        if not (about or len(objects) == 1):
            continue
        for result in results:
            if result["type"].value != "timelinelabels":
                continue
            with suppress(RequestError):
                caption = words_in(results, config)["caption"]
                for each in result["value"]["ranges"].items(MAX_FRAMES) if caption else ():
                    segment = Segment(each["start"].whole(0), each["end"].whole(0), caption)
                    found[(*about, *objects)[0]].append(segment)
    return found


def frames_to_take(grid: Grid, found: Sequence[Masklet], rate: float) -> dict[int, int]:
    """Frames of the file (ascending) to the number by which Label Studio shows each.

    rate: frames each second. Those on which somebody drew a box are among them.
    """
    step = max(1, round(grid.rate / rate), math.ceil(grid.count / MAX_FRAMES))
    step = max(1, min(step, grid.count // LEAST_FRAMES))
    numbers = set(range(1, grid.count + 1, step))
    numbers |= {number for masklet in found for number in masklet.changed if 1 <= number <= grid.count}
    taken: dict[int, int] = {}
    for number in sorted(numbers):
        taken.setdefault(grid.at(number), number)
    return taken


def as_file(frame: Frame, video: str) -> bytes:
    """A frame as a JPEG that says in its comment which frame of which video it is.

    So no two frames are one file, however alike they look.
    """
    file = io.BytesIO()
    comment = f"frame {frame.index} of video {video}".encode()
    Image.fromarray(frame.image).save(file, "JPEG", quality=_QUALITY, subsampling=0, comment=comment)
    return file.getvalue()


def _is_about(box: Box, other: Box) -> bool:
    """Whether two boxes are one, but for what keyframes leave out."""
    across, down = (max(_PIXELS, _SHARE * (box[i + 2] - box[i])) for i in (0, 1))
    return all(abs(a - b) <= room for a, b, room in zip(box, other, (across, down, across, down), strict=True))


def _filled(box: Box, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    x0, y0, x1, y1 = _whole(box)
    mask[y0:y1, x0:x1] = True
    return mask


def _fitted(mask: np.ndarray, box: Box, target: Box) -> np.ndarray:
    """What is in `box` of a mask, moved and stretched so that it fills `target`."""
    x0, y0, x1, y1 = _whole(box)
    left, top, right, bottom = _whole(target)
    part = cv2.resize(
        mask[y0:y1, x0:x1].view(np.uint8), (right - left, bottom - top), interpolation=cv2.INTER_NEAREST
    ).astype(bool)
    moved = np.zeros_like(mask)
    moved[top:bottom, left:right] = part[: mask.shape[0] - top, : mask.shape[1] - left]
    return moved


def _whole(box: Box) -> tuple[int, int, int, int]:
    """In whole pixels, at least one each way."""
    x0, y0 = int(math.floor(box[0] + 0.5)), int(math.floor(box[1] + 0.5))
    return x0, y0, max(x0 + 1, round(box[2])), max(y0 + 1, round(box[3]))
