"""COCO instances: masks as compressed RLE, and the words of each region beside it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from backend.dataset.formats import fragments, summary
from backend.dataset.formats.summary import UNNAMED
from backend.dataset.region import DatasetFacts, DatasetImage, DatasetRegion, ImageBytes, ImageRegions

NAME = "coco"

_ID_HEX_DIGITS = 13  # 52 bits: a JSON number, and a float, that every reader holds exactly


def write_shard(folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes) -> list[str]:
    """Write a shard's images and annotations as fragments; the paths written."""
    lines: dict[str, list[str]] = defaultdict(list)
    for image, regions in items:
        lines[f"{NAME}/{image.split}/images"].append(fragments.dumps(image_entry(image)))
        for region in regions:
            # The number of a category is known when all shards are: its name waits in front of the annotation.
            row = fragments.dumps(annotation(image, region))
            lines[f"{NAME}/{image.split}/annotations"].append(f"{fragments.dumps(region.category or UNNAMED)}\t{row}")
    return [path for part in sorted(lines) for path in fragments.write(folder, part, shard, lines[part])]


def finish(folder: Path, shards: Sequence[str], facts: DatasetFacts) -> list[str]:
    """Write `coco/instances_<split>.json` of each split that has images; the paths written.

    `file_name` starts at the version's folder. Both splits have the same categories, numbered from 1.
    """
    names = summary.class_names(summary.read(folder, shards))
    numbers = {name: number for number, name in enumerate(names, start=1)}
    written = []
    for split in fragments.SPLITS:
        if any(fragments.paths(folder, f"{NAME}/{split}/images", shards)):
            written.append(f"{NAME}/instances_{split}.json")
            fragments.write_lines(folder / written[-1], _document(folder, shards, split, numbers))
    return written


def image_entry(image: DatasetImage) -> dict:
    """The COCO entry of an image; its id, like that of an annotation, stays the same from version to version."""
    return {
        "id": int(image.sha256[:_ID_HEX_DIGITS], 16),
        "file_name": image.path,
        "height": image.height,
        "width": image.width,
    }


def annotation(image: DatasetImage, region: DatasetRegion) -> dict:
    """The COCO annotation of `region`, less its category's number."""
    return {
        "id": int(hashlib.sha256(region.id.encode()).hexdigest()[:_ID_HEX_DIGITS], 16),
        "image_id": int(image.sha256[:_ID_HEX_DIGITS], 16),
        "segmentation": {"size": [image.height, image.width], "counts": region.rle},
        "area": region.area,
        "bbox": list(region.bbox),
        "iscrowd": 0,
        "attributes": {
            "category": region.category_as_written,
            "explanation": region.explanation,
            "caption": region.caption,
            "outcome": region.outcome,
            "model_version": region.model_version,
            "project_id": region.project_id,
            "task_id": region.task_id,
            "annotation_id": region.annotation_id,
            "region_id": region.region_id,
            "annotator": region.annotator,
        },
    }


def _document(folder: Path, shards: Sequence[str], split: str, numbers: dict[str, int]) -> Iterator[str]:
    yield '{"info":{"description":"PAM Studio, ' + split + '"},'
    yield '"images":['
    yield from _with_commas(fragments.read(folder, f"{NAME}/{split}/images", shards))
    yield '],"annotations":['
    written = {fragments.dumps(name): number for name, number in numbers.items()}
    annotations = (line.partition("\t") for line in fragments.read(folder, f"{NAME}/{split}/annotations", shards))
    yield from _with_commas(f'{{"category_id":{written[name]},{row[1:]}' for name, _, row in annotations)
    yield '],"categories":['
    yield from _with_commas(
        fragments.dumps({"id": number, "name": name, "supercategory": ""}) for name, number in numbers.items()
    )
    yield "]}"


def _with_commas(lines: Iterator[str]) -> Iterator[str]:
    previous = next(lines, None)
    if previous is None:
        return
    for line in lines:
        yield previous + ","
        previous = line
    yield previous
