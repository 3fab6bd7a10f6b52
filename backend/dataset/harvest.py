"""Out of the ledger: the regions of the tasks that changed, checked, and ready to be kept."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC
from itertools import islice
from typing import Any

import numpy as np

from backend.annotations import CorrectedRegion, LeftOut, corrected_regions
from backend.consensus import Consensus
from backend.dataset.harvest_video import OpenVideo, objects_of
from backend.dataset.images import ImagePool, StoredImage
from backend.dataset.state import Excluded, RegionRow, State, TaskRows
from backend.dataset.texts import is_boilerplate, language
from backend.errors import PictureError, VideoFileError
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger
from backend.masks import bounding_box, to_coco_rle
from backend.outcome import Outcome, compare, is_outdated
from backend.suggestion import Suggestion
from backend.webhook_event import Annotation
from model.region import FIELDS

GENERATION = 3
"""Of what is made of an annotation: a change of this code that changes it counts as a change of all of them."""

RETRY_AFTER = 24 * 60 * 60
"""Seconds until an image that could not be had is asked for again: a thousand lost ones must not delay each export."""

FetchImage = Callable[[str, int], bytes]
"""Image address and task id to the bytes of the image file; raises PictureError where it cannot be had."""

_TASKS_AT_ONCE = 20


@dataclass(frozen=True)
class Harvest:
    """One project's way from the ledger into `state`.

    check_studio: called where an image cannot be had: it raises when Label Studio itself is gone, since a lost server
                  must not pass for a lost file.
    max_pixels:   largest mask that is read.
    key:          of the hashes that stand for annotators and addresses.
    consensus:    whose regions count where several annotators worked on one task.
    retry:        ask for the images that could not be had, however lately they were asked for.
    video_rate:   frames each second that are taken of a video.
    """

    project: int
    config: LabelingConfig
    ledger: Ledger
    state: State
    pool: ImagePool
    fetch_image: FetchImage
    check_studio: Callable[[], object]
    max_pixels: int
    key: bytes
    consensus: Consensus
    progress: Callable[[int], None] = field(default=lambda done: None)
    retry: bool = False
    open_video: OpenVideo | None = None
    video_rate: float = 6.0

    def run(self) -> int:
        """Take in what changed since the last time; how many tasks that were. It can be killed, and goes on there."""
        decisive = [
            GENERATION,
            asdict(self.consensus),
            self.max_pixels,
            *([self.video_rate] if self.config.video else []),
        ]
        settings = json.dumps(decisive, sort_keys=True)
        reading = self.state.reading(self.project, hashlib.sha256(settings.encode()).hexdigest())
        done = 0
        for task in self.state.tasks_to_try_again(self.project, math.inf if self.retry else time.time()):
            done += 1
            rows = self._task(task)
            with self.state.writing():
                self.state.replace(rows)
        while reading.target is not None or reading.number < self.ledger.change_number(self.project):
            # An unfinished reading is finished first: what has changed since in tasks that it has passed comes after.
            target = reading.target or self.ledger.change_number(self.project)
            tasks = (
                task for task in self.ledger.changed_since(self.project, reading.number) if task > reading.last_task
            )
            while page := list(islice(tasks, _TASKS_AT_ONCE)):
                all_rows = [self._task(task) for task in page]
                with self.state.writing():
                    for rows in all_rows:
                        self.state.replace(rows)
                    self.state.set_reading(replace(reading, target=target, last_task=page[-1]))
                done += len(page)
                self.progress(done)
            reading = replace(reading, number=target, target=None, last_task=-1)
            with self.state.writing():
                self.state.set_reading(reading)
        return done

    def _task(self, task: int) -> TaskRows:
        """What a task gives to the data set."""
        annotations = self.ledger.annotations_of_task(self.project, task)
        run = _Task(self, task)
        for annotation in self.consensus.choose(annotations):
            run.add(annotation)
        return TaskRows(
            self.project,
            task,
            tuple(run.regions),
            tuple(run.excluded),
            {address: image for address, image in run.pictures.items() if image is not None},
            sum(a.was_cancelled for a in annotations),
            int(time.time()) + RETRY_AFTER if run.again else 0,
        )


class _Task:
    """One task on its way: its regions, and what stays out."""

    def __init__(self, harvest: Harvest, task: int):
        self._harvest = harvest
        self._task = task
        self.regions: list[RegionRow] = []
        self.excluded: list[Excluded] = []
        self.pictures: dict[str, StoredImage | None] = {}
        self.again = False

    def add(self, annotation: Annotation) -> None:
        """Take in the regions of one annotation."""
        harvest = self._harvest
        if harvest.config.video:
            self._add_video(annotation)
            return
        suggestions: dict[str, Suggestion | None] = {}

        def suggestion_of(region_id: str) -> Suggestion | None:
            return suggestions.setdefault(region_id, harvest.ledger.suggestion(region_id))

        found = corrected_regions(annotation, harvest.config, suggestion_of, harvest.max_pixels)
        for position, region in enumerate(found):
            if isinstance(region, LeftOut):
                self.excluded.append(Excluded("mask", region))
                continue
            image = self._image(region.image_address)
            if image is None:
                continue
            if (image.height, image.width) != region.mask.shape:
                height, width = region.mask.shape
                self._leave_out(
                    region, "size",
                    f"it was drawn on {width} x {height} pixels, but the image has {image.width} x {image.height}",
                )  # fmt: skip
                continue
            outcome = compare(region, suggestions[region.region_id], harvest.config, with_distance=False)
            body = self._body(region, dict(self._words(region, suggestions[region.region_id])), annotation, outcome)
            source = self._hash(f"address {region.image_address}")
            self.regions.append(RegionRow(annotation.id, position, image.sha256, source, body))

    def _add_video(self, annotation: Annotation) -> None:
        """Take in the objects of an annotation of a video, frame by frame."""
        harvest = self._harvest
        address = str(annotation.task_data.get(harvest.config.data_key) or "")
        source = self._hash(f"address {address}")
        try:
            for item in objects_of(annotation, address, source, harvest):
                if isinstance(item, Excluded):
                    self.excluded.append(item)
                    continue
                self.pictures[f"{source} {item.image.frame}"] = item.image
                said = self.common(annotation, item.region_id, item.mask, item.words) | dict(item.fields)
                self.regions.append(RegionRow(annotation.id, len(self.regions), item.image.sha256, source, said))
        except VideoFileError as error:
            harvest.check_studio()
            self.again = True
            self.excluded.append(Excluded("video", LeftOut(annotation.task_id, error.message)))

    def _image(self, address: str) -> StoredImage | None:
        """The stored image behind an address; what cannot be had any more is what it was when it last could."""
        if address not in self.pictures:
            try:
                self.pictures[address] = self._harvest.pool.add(self._harvest.fetch_image(address, self._task))
            except PictureError as error:
                self._harvest.check_studio()
                self.again = True
                known = self._harvest.state.picture(self._harvest.project, self._task, address)
                self.pictures[address] = known
                said = "; its regions keep the picture that was stored before" if known else ""
                self.excluded.append(Excluded("picture", LeftOut(self._task, error.message + said)))
        return self.pictures[address]

    def _words(self, region: CorrectedRegion, suggestion: Suggestion | None) -> Iterator[tuple[str, str]]:
        """Each field with its text; "" in place of one that says nothing."""
        for name in FIELDS:
            text = region.words[name]
            preset = self._harvest.config.words.get(name)
            if text and is_boilerplate(text, preset.presets if preset else ()):
                self._leave_out(region, "boilerplate", f"its {name} says nothing: {text[:50]!r}")
                text = ""
            elif text and is_outdated(name, region.words, suggestion):
                self._leave_out(
                    region, "outdated",
                    f"its category was corrected, but the {name} is still the one of the suggested category",
                )  # fmt: skip
                text = ""
            yield name, text

    def _body(
        self, region: CorrectedRegion, words: Mapping[str, str], annotation: Annotation, outcome: Outcome
    ) -> dict[str, Any]:
        """A DatasetRegion's fields, but for its category, which the mapping file decides later."""
        return self.common(annotation, region.region_id, region.mask, words) | {
            "points": [[float(point.x), float(point.y), int(point.positive)] for point in region.points],
            "box": None if region.box is None else [float(v) for v in region.box],
            "model_version": region.model_version,
            "outcome": outcome.kind,
            "mask_iou": None if outcome.mask_iou is None else round(outcome.mask_iou, 6),
        }

    def common(
        self, annotation: Annotation, region_id: str, mask: np.ndarray, words: Mapping[str, str]
    ) -> dict[str, Any]:
        """The fields of a DatasetRegion that do not depend on where its mask came from."""
        x0, y0, x1, y1 = map(int, bounding_box(mask))
        return {
            "id": f"{annotation.project_id}-{annotation.task_id}-{annotation.id}-{region_id}",
            "rle": to_coco_rle(mask),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": int(mask.sum()),
            "category_as_written": words["category"],
            "explanation": words["explanation"],
            "caption": words["caption"],
            "languages": {name: language(text) for name, text in words.items() if text},
            "project_id": annotation.project_id,
            "task_id": annotation.task_id,
            "annotation_id": annotation.id,
            "region_id": region_id,
            "annotator": None if annotation.annotator is None else self._hash(f"annotator {annotation.annotator}"),
            "updated_at": annotation.updated_at.astimezone(UTC).isoformat(),
        }

    def _leave_out(self, region: CorrectedRegion, kind: str, reason: str) -> None:
        what = LeftOut(region.task_id, reason, region.annotation_id, region.region_id)
        self.excluded.append(Excluded(kind, what))

    def _hash(self, text: str) -> str:
        return hmac.digest(self._harvest.key, text.encode("utf-8", "backslashreplace"), "sha256").hex()[:16]
