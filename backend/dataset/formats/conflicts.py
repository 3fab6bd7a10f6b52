"""Regions of two projects that cover the same object and disagree about what it is, `conflicts.jsonl`.

Within a project this is what a consensus is for; projects know nothing of each other. Nothing is left out for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from pycocotools import mask as coco

from backend.dataset.formats import fragments
from backend.dataset.region import DatasetFacts, DatasetImage, DatasetRegion, ImageBytes, ImageRegions

NAME = "conflicts"
FILE = "conflicts.jsonl"

LEAST_IOU = 0.8
"""Masks that overlap by more are taken for one object."""


def write_shard(
    folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes, parent: Path | None = None
) -> list[str]:
    """Write the conflicts of a shard as a fragment, if there are any; the paths written."""
    return fragments.write(folder, NAME, shard, [line for item in items for line in _lines(*item)])


def finish(folder: Path, shards: Sequence[str], facts: DatasetFacts, parent: Path | None = None) -> list[str]:
    """Write `conflicts.jsonl`, unless there are none; the paths written."""
    return fragments.distribute(folder, ((FILE, line) for line in fragments.read(folder, NAME, shards)))


def count(folder: Path) -> int:
    """How many pairs a version lists."""
    try:
        with open(folder / FILE, "rb") as file:
            return sum(1 for _ in file)
    except FileNotFoundError:
        return 0


def _lines(image: DatasetImage, regions: Sequence[DatasetRegion]) -> Iterator[str]:
    named = [region for region in regions if region.category]
    if len({region.project_id for region in named}) < 2:
        return
    for one, other in combinations(named, 2):
        if one.project_id != other.project_id and one.category != other.category:
            iou = _iou(image, one, other)
            if iou > LEAST_IOU:
                categories, ids = [one.category, other.category], [one.id, other.id]
                pair = {"image": image.path, "regions": ids, "categories": categories, "iou": round(iou, 4)}
                yield fragments.dumps(pair)


def _iou(image: DatasetImage, one: DatasetRegion, other: DatasetRegion) -> float:
    first, second = ({"size": [image.height, image.width], "counts": r.rle.encode("ascii")} for r in (one, other))
    return float(coco.iou([first], [second], [0])[0, 0])
