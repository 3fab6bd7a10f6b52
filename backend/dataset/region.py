"""The neutral types of a data set: what every format is written from.

A data set is cut into shards. A shard holds the images of one split whose hashes begin with the same bits, so that the
same set of images is always cut the same way, and a correction touches one shard. A version of the data set is a
folder; a format writes the files of one shard at a time, and at the end those that span all shards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

Split = Literal["train", "validation"]
Outcome = Literal["accepted", "corrected", "drawn"]
Language = Literal["en", "ch"]
"""As PAM's task names have it."""


@dataclass(frozen=True)
class DatasetImage:
    """An image of a data set, upright.

    sha256:        of the stored file, hex.
    path:          of the stored file below the version's folder, `images/<16 hex digits>.<suffix>`.
    height, width: pixels.
    source:        a hash of where it came from; the frames of one video share it.
    video, frame:  where it is the frame of a video: a hash of the video's address, and the number of the frame from 0.
    """

    sha256: str
    path: str
    height: int
    width: int
    split: Split
    source: str
    video: str | None = None
    frame: int | None = None


@dataclass(frozen=True)
class DatasetRegion:
    """One region as it is trained on.

    id:                  `<project>-<task>-<annotation>-<region>`, the same for as long as the region lives.
    rle:                 `counts` of the mask's compressed COCO RLE; its `size` is the image's [height, width].
    bbox:                x, y, width, height of the mask, whole pixels.
    area:                pixels of the mask.
    points:              x, y, label (1 on it, 0 off it) that the annotator clicked, in pixels; none where it was drawn.
    box:                 x0, y0, x1, y1 that the annotator drew as a prompt, in pixels, or None.
    category:            the one name of what people write differently; "" where there is none.
    category_as_written, explanation, caption: texts with single spaces, "" where there is none.
    languages:           name of a text (category, explanation, caption) to its language, for those that are not empty.
    annotator:           a keyed hash of the annotator's id, or None where Label Studio did not say.
    model_version:       the model that suggested it, or None.
    outcome:             what the annotator made of the suggestion; drawn where there was none.
    mask_iou:            of the suggested mask and this one, 0..1; None where there was no suggestion.
    updated_at:          when the annotation was last changed, ISO 8601 in UTC.
    track:               where it is one frame of an object in a video: the object's id within the video.
    """

    id: str
    rle: str
    bbox: tuple[int, int, int, int]
    area: int
    points: tuple[tuple[float, float, int], ...]
    box: tuple[float, float, float, float] | None
    category: str
    category_as_written: str
    explanation: str
    caption: str
    languages: Mapping[str, Language]
    project_id: int
    task_id: int
    annotation_id: int
    region_id: str
    annotator: str | None
    model_version: str | None
    outcome: Outcome
    mask_iou: float | None
    updated_at: str
    track: str | None = None


ImageRegions = tuple[DatasetImage, tuple[DatasetRegion, ...]]
"""An image with its regions, in the order of project, task, annotation and the annotation's own list."""

ImageBytes = Callable[[DatasetImage], bytes]
"""The stored file of an image, read when it is asked for."""


@dataclass(frozen=True)
class DatasetFacts:
    """What a version's own files may say of it. Nothing here depends on when or how often it was built.

    projects: id to title, as Label Studio has it.
    settings: name to value of what decided the content, such as the consensus and the share of validation images.
    left_out: kind of reason, such as "picture" or "boilerplate", to how many things were left out for it.
    cancelled: annotations whose annotators skipped the task.
    """

    projects: Mapping[int, str]
    settings: Mapping[str, str]
    left_out: Mapping[str, int] = field(default_factory=dict)
    cancelled: int = 0


class Format(Protocol):
    """A module of `backend.dataset.formats`.

    What is written depends on the arguments alone, to the byte: no times, no order of a set. Images lie at their
    `path` below `folder` before a shard is written; nothing but the returned files may be made, and files of other
    shards are never touched, as they may be hard links into an older version.
    """

    NAME: str

    def write_shard(
        self,
        folder: Path,
        shard: str,
        items: Sequence[ImageRegions],
        image_bytes: ImageBytes,
        parent: Path | None = None,
    ) -> list[str]:
        """Write the files of one shard; their paths below `folder`.

        All images of a shard are of one split, and its name, such as "train-0110", begins with the split.
        parent: the folder of an older version that the same code wrote; what is known from there need not be found
        again. What is written is the same with it and without.
        """
        ...

    def finish(self, folder: Path, shards: Sequence[str], facts: DatasetFacts, parent: Path | None = None) -> list[str]:
        """Write the files that span all `shards` (sorted), from what `write_shard` wrote for each; their paths.

        parent: an older version's folder, whose files may be hard-linked, each to its own path, where they are the
        same; None for the first.
        Memory stays flat: shard after shard is read, never all of them.
        """
        ...
