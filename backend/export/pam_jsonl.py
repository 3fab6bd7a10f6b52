"""PAM's own training records: JSON Lines, one file per task and language, in the official trainer's schema."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np

from backend.annotations import CorrectedRegion
from backend.export.images import StoredImage
from backend.masks import bounding_box
from model.fields import QUESTIONS, TASK_OF_FIELD, join_explanation

MIN_POINTS = 4
"""The trainer draws 1 to 4 of a record's points, and fails where it has fewer than it drew."""

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


class PamWriter:
    """Writes `<task>_<language>.jsonl` files and, on `close`, the `datasets.yaml` that lists them.

    Owns the open files; a file is made when its first record comes. `records` counts them, by the name of the file.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._files: dict[str, TextIO] = {}
        self.records: dict[str, int] = {}

    def add(self, region: CorrectedRegion, image: StoredImage) -> None:
        """Write one record for each text that the annotator left for `region`."""
        for task, record in records(region, image):
            name = f"{task}.jsonl"
            if name not in self._files:
                self._files[name] = open(self._folder / name, "w", encoding="utf-8")
            self._files[name].write(json.dumps(record, ensure_ascii=False) + "\n")
            self.records[name] = self.records.get(name, 0) + 1

    def close(self) -> None:
        """Close all files and write `datasets.yaml`, whose paths, like those of the images, start at the folder."""
        for file in self._files.values():
            file.close()
        entries = [f"  - json_path: {name}\n    sampling_strategy: all\n" for name in sorted(self._files)]
        (self._folder / "datasets.yaml").write_text("".join(["datasets:\n", *entries]) if entries else "datasets: []\n")


def records(region: CorrectedRegion, image: StoredImage) -> Iterator[tuple[str, dict]]:
    """Official task name, such as "recognize_en", and training record for each text of `region` that is not empty."""
    points = prompt_points(region)
    x0, y0, x1, y1 = map(int, bounding_box(region.mask))
    for field, answer in _answers(region.words).items():
        task = f"{TASK_OF_FIELD[field]}_{'ch' if _HAN.search(answer) else 'en'}"
        yield task, {
            "id": f"{region.project_id}-{region.task_id}-{region.annotation_id}-{region.region_id}",
            "type": "image",
            "image": image.path,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "points": [[x, y] for x, y, _ in points],
            "labels": [label for _, _, label in points],
            "conversations": [
                {"from": "human", "value": QUESTIONS[task]},
                {"from": "gpt", "value": answer},
            ],
        }


def prompt_points(region: CorrectedRegion) -> list[tuple[int, int, int]]:
    """Pixels that mean the region, as x, y, label (1 on it, 0 off it): the annotator's clicks, then sampled ones.

    A click stays if the mended mask still agrees with it. Then pixels of the mask are added until MIN_POINTS points are
    positive, or the mask has no more: drawn from those at least half as far from its edge as the deepest, where people
    click, and from all of them only if these do not suffice. The region's id is the seed.
    """
    height, width = region.mask.shape
    points: dict[tuple[int, int], int] = {}
    for click in region.points:
        x, y = min(int(click.x), width - 1), min(int(click.y), height - 1)
        if region.mask[y, x] == click.positive:
            points.setdefault((x, y), int(click.positive))
    x0, y0, x1, y1 = map(int, bounding_box(region.mask))
    mask = region.mask[y0:y1, x0:x1]
    # The image's own border is an edge, too: hence the padding.
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    chance = random.Random(region.region_id)
    for candidates in (depth >= depth.max() / 2, mask):
        rows, columns = np.nonzero(candidates)
        for i in chance.sample(range(len(rows)), min(len(rows), MIN_POINTS)):
            if sum(points.values()) < MIN_POINTS:
                points.setdefault((x0 + int(columns[i]), y0 + int(rows[i])), 1)
    return [(x, y, label) for (x, y), label in points.items()]


def _answers(words: Mapping[str, str]) -> dict[str, str]:
    """Field to what the model should answer. An explanation is asked for along with the label: without it, none."""
    answers = {field: words[field] for field in ("category", "caption") if words[field]}
    if words["category"] and words["explanation"]:
        answers["explanation"] = join_explanation(words["category"], words["explanation"])
    return answers
