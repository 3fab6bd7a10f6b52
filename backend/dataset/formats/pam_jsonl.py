"""PAM's own training records: JSON Lines, one file per task and language, in the official trainer's schema."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from backend.dataset.formats import fragments
from backend.dataset.formats.words import is_detailed
from backend.dataset.region import DatasetFacts, DatasetImage, DatasetRegion, ImageBytes, ImageRegions
from backend.masks import from_coco_rle
from model.fields import QUESTIONS, TASK_OF_FIELD, join_explanation

NAME = "pam_jsonl"

MIN_POINTS = 4
"""The trainer draws 1 to 4 of a record's points, and fails where it has fewer than it drew."""

MIN_BOX_IOU = 0.5

DETAILED = "detail_cap"

_POINTS = "points\t"
"""How the line of a fragment begins that is not for a file, but for the next version."""


def write_shard(
    folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes, parent: Path | None = None
) -> list[str]:
    """Write the records of a shard's regions as a fragment; the paths written."""
    known = _known_points(parent, shard)
    points: dict[str, list[tuple[int, int, int]]] = {}
    # One line for each file, with all its records: lines are read one by one.
    lines: dict[str, list[str]] = {}
    for image, regions in items:
        for region in filter(_answers, regions):
            key = _key_of_points(image, region)
            points[key] = known.get(key) or _points(image, region)
            for task, record in records(image, region, points[key]):
                name = f"pam/{image.split}/{task}.jsonl"
                lines.setdefault(name, [name]).append(fragments.dumps(record))
    rows = ["\t".join(parts) for parts in lines.values()]
    return fragments.write(folder, NAME, shard, [_POINTS + fragments.dumps(points), *rows] if rows else [])


def finish(folder: Path, shards: Sequence[str], facts: DatasetFacts, parent: Path | None = None) -> list[str]:
    """Write `pam/<split>/<task>.jsonl` and the YAML of each split that lists them; the paths written.

    All paths, in the YAML and in the records, start at the version's folder.
    """
    lines = (line.partition("\t") for line in fragments.read(folder, NAME, shards) if not line.startswith(_POINTS))
    written = fragments.distribute(folder, ((name, rows.replace("\t", "\n")) for name, _, rows in lines))
    for split, listing in (("train", "datasets.yaml"), ("validation", "datasets_validation.yaml")):
        files = [name for name in written if name.startswith(f"pam/{split}/")]
        written.append(fragments.write_listing(folder, listing, files))
    return written


def records(
    image: DatasetImage, region: DatasetRegion, points: Sequence[tuple[int, int, int]] | None = None
) -> Iterator[tuple[str, dict]]:
    """Official task name, such as "recognize_en", and training record for each text of `region` that is not empty.

    points: what `prompt_points` finds for the region, where that is known.
    """
    for task, answer in _answers(region).items():
        if points is None:
            points = _points(image, region)
        yield (
            task,
            {
                "id": region.id,
                "type": "image",
                "image": image.path,
                "bbox": prompt_box(image, region),
                "points": [[x, y] for x, y, _ in points],
                "labels": [label for _, _, label in points],
                "conversations": [{"from": "human", "value": QUESTIONS[task]}, {"from": "gpt", "value": answer}],
            },
        )


def prompt_box(image: DatasetImage, region: DatasetRegion) -> list[int]:
    """x, y, width, height, whole pixels: the box that the annotator drew, if the mended mask still agrees with it.

    It does where the IoU of the drawn box and the mask's own is at least MIN_BOX_IOU; else it is the mask's own.
    """
    if region.box is None:
        return list(region.bbox)
    left, top = (max(math.floor(value), 0) for value in region.box[:2])
    right, bottom = min(math.ceil(region.box[2]), image.width), min(math.ceil(region.box[3]), image.height)
    x, y, w, h = region.bbox
    across = max(min(right, x + w) - max(left, x), 0)
    down = max(min(bottom, y + h) - max(top, y), 0)
    union = (right - left) * (bottom - top) + w * h - across * down
    agrees = right > left and bottom > top and across * down >= MIN_BOX_IOU * union
    return [left, top, right - left, bottom - top] if agrees else list(region.bbox)


def prompt_points(region: DatasetRegion, mask: np.ndarray) -> list[tuple[int, int, int]]:
    """Pixels that mean the region, as x, y, label (1 on it, 0 off it): the annotator's clicks, then sampled ones.

    A click stays if the mended mask, bool (H, W), still agrees with it. Then pixels of the mask are added until
    MIN_POINTS points are positive, or the mask has no more: drawn from those at least half as far from its edge as the
    deepest, where people click, and from all of them only if these do not suffice. The region's id is the seed.
    """
    height, width = mask.shape
    points: dict[tuple[int, int], int] = {}
    for click_x, click_y, label in region.points:
        at = x, y = min(int(click_x), width - 1), min(int(click_y), height - 1)
        if mask[y, x] == bool(label):
            points.setdefault(at, int(label))
    x0, y0, w, h = region.bbox
    inside = mask[y0 : y0 + h, x0 : x0 + w]
    # The image's own border is an edge, too: hence the padding.
    depth = cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    chance = random.Random(region.region_id)
    for candidates in (depth >= depth.max() / 2, inside):
        rows, columns = np.nonzero(candidates)
        for i in chance.sample(range(len(rows)), min(len(rows), MIN_POINTS)):
            if sum(points.values()) < MIN_POINTS:
                points.setdefault((x0 + int(columns[i]), y0 + int(rows[i])), 1)
    return [(x, y, label) for (x, y), label in points.items()]


def _points(image: DatasetImage, region: DatasetRegion) -> list[tuple[int, int, int]]:
    return prompt_points(region, from_coco_rle(region.rle, image.height, image.width))


def _key_of_points(image: DatasetImage, region: DatasetRegion) -> str:
    """A hash of all that the points of a region follow from."""
    given = [region.region_id, region.rle, image.height, image.width, region.bbox, region.points]
    return hashlib.sha256(fragments.dumps(given).encode()).hexdigest()[:32]


def _known_points(parent: Path | None, shard: str) -> dict[str, list[tuple[int, int, int]]]:
    """The points of an older version's fragment, by their key."""
    line = next(fragments.read(parent, NAME, [shard]), "") if parent else ""
    found = json.loads(line.removeprefix(_POINTS) or "{}")
    return {key: [(x, y, label) for x, y, label in points] for key, points in found.items()}


def _answers(region: DatasetRegion) -> dict[str, str]:
    """Task to what the model should answer. An explanation is asked for along with the label: without it, none."""
    category, explanation = region.category_as_written, region.explanation
    found = {}
    if category:
        found[TASK_OF_FIELD["category"], region.languages["category"]] = category
    if category and explanation:
        found[TASK_OF_FIELD["explanation"], region.languages["explanation"]] = join_explanation(category, explanation)
    if region.caption:
        task = DETAILED if is_detailed(region.caption) else TASK_OF_FIELD["caption"]
        found[task, region.languages["caption"]] = region.caption
    return {f"{task}_{language}": answer for (task, language), answer in found.items()}
