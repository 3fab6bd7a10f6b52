"""Captions of clips in a version of a data set, with the masks of the object that they are about."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import RecordError, TrackError
from model.prompt import Box, Point
from model.reading import choose_frames
from model.training.finetune.records import Conversation, RegionRecord, Regions, conversation, listed

LISTINGS = {"train": "datasets_video.yaml", "validation": "datasets_video_validation.yaml"}
"""Of a version of a data set, by split."""

NO_MASKS = "a clip whose masks are not in the data set"
"""Why one is left out."""


@dataclass(frozen=True)
class _Clip:
    """A record: its frames, as paths in the version, of which those are kept that a model looks at."""

    id: str
    frames: tuple[str, ...]
    points: tuple[Point, ...]
    box: Box | None
    said: Conversation


def read_clips(data: Path, split: str) -> Regions:
    """The clips of a split, "train" or "validation"; none where the version has no videos.

    data: the folder of a version, as `pam-studio export` writes it; other data sets of clips have no masks beside them.
    Raises RecordError where what is listed cannot be read.
    """
    listing = data / LISTINGS[split]
    if not listing.is_file():
        return Regions([])
    asked: dict[str, list[_Clip]] = defaultdict(list)
    left_out: Counter[str] = Counter()
    for row in listed(listing):
        try:
            clip = _checked(row)
        except RecordError as error:
            left_out[str(error)] += 1
            continue
        asked[clip.frames[0]].append(clip)
    found = []
    for path in sorted((data / "video" / split).glob("*_manual.json")):
        masks = _Masklets(path)
        for first in [frame for frame in asked if frame in masks.places]:
            found += [region for clip in asked.pop(first) if (region := _with_masks(clip, masks, data, left_out))]
    if lost := sum(map(len, asked.values())):
        left_out[NO_MASKS] += lost
    return Regions(found, left_out)


class _Masklets:
    """The masklets of one video, see backend/dataset/formats/video.py. Raises RecordError for a damaged file."""

    def __init__(self, path: Path):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            self.places = {str(frame): place for place, frame in enumerate(document["frames"])}
            self._tracks = [str(track) for track in document["masklet_track"]]
            self._numbers = [int(number) for number in document["frame_index"]]
            self._masks = document["masklet"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{path} holds no masklets: {error!r}; export the data set anew") from error

    def of(self, clip: _Clip) -> list[Mapping[str, Any]]:
        """The masks of a clip's object on its frames, as COCO RLE. Raises LookupError where there are none."""
        number = self._numbers[self.places[clip.frames[0]]]
        column = next((i for i, track in enumerate(self._tracks) if clip.id.endswith(f"-{track}-{number}")), None)
        if column is None:
            raise LookupError(clip.id)
        return [self._masks[self.places[frame]][column] for frame in clip.frames]


def _with_masks(clip: _Clip, masks: _Masklets, root: Path, left_out: Counter[str]) -> RegionRecord | None:
    try:
        rles = masks.of(clip)
    except LookupError:
        left_out[NO_MASKS] += 1
        return None
    frames = tuple((root / frame, rle) for frame, rle in zip(clip.frames, rles, strict=True))
    return RegionRecord(frames[0][0], clip.id, clip.points, clip.box, rles[0], (clip.said,), frames)


def _checked(row: Any) -> _Clip:
    """Raises RecordError with a reason that names no single record."""
    if not isinstance(row, dict) or row.get("type") != "video":
        raise RecordError("a line that is no clip")
    try:
        names = [str(name) for name in row["frames"]]
        frames = tuple(f"{row['image_root']}/{names[place]}" for place in choose_frames(len(names)))
        ((x, y, w, h),) = row["bbox"]
        box = Box(float(x), float(y), float(x + w), float(y + h))
        points = tuple(
            Point(float(px), float(py), bool(label))
            for (px, py), label in zip(row["points"][0], row["labels"][0], strict=True)
        )
        if not all(map(math.isfinite, _numbers(points, box))):
            raise ValueError
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, TrackError) as error:
        raise RecordError("a clip without frames or without a prompt that means something") from error
    return _Clip(str(row.get("id") or ""), frames, points, box, conversation(row.get("conversations")))


def _numbers(points: Sequence[Point], box: Box) -> list[float]:
    return [*(value for point in points for value in (point.x, point.y)), box.x0, box.y0, box.x1, box.y1]
