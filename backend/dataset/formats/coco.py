"""COCO instances: masks as compressed RLE, and the words of each region beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from backend.dataset.formats import fragments, summary
from backend.dataset.formats.summary import UNNAMED
from backend.dataset.region import DatasetFacts, DatasetImage, DatasetRegion, ImageBytes, ImageRegions

NAME = "coco"

_ID_HEX_DIGITS = 13  # 52 bits: a JSON number, and a float, that every reader holds exactly


def write_shard(
    folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes, parent: Path | None = None
) -> list[str]:
    """Write a shard's images and annotations as a fragment; the paths written."""
    images = [fragments.dumps(image_entry(image)) for image, _ in items]
    rows: list[str] = []
    for image, regions in items:
        # The number of a category is known when all shards are: its name waits in front of the annotation.
        for region in regions:
            rows += (fragments.dumps(region.category or UNNAMED), fragments.dumps(annotation(image, region))[1:])
    # One line for all images and one for all annotations, as lines are read one by one.
    return fragments.write(folder, NAME, shard, ["\t".join(images), "\t".join(rows)])


def finish(folder: Path, shards: Sequence[str], facts: DatasetFacts, parent: Path | None = None) -> list[str]:
    """Write `coco/instances_<split>.json` of each split that has images; the paths written.

    `file_name` starts at the version's folder. Both splits have the same categories, numbered from 1.
    """
    total = summary.read(folder)
    return [
        fragments.write_lines(folder, file_name(split), _document(folder, shards, split, summary.class_names(total)))
        for split in fragments.SPLITS
        if total.images[split]
    ]


def file_name(split: str) -> str:
    """The file of a split, below the version's folder."""
    return f"{NAME}/instances_{split}.json"


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
        # The frames of a video may share a region's id.
        "id": int(hashlib.sha256(f"{image.sha256} {region.id}".encode()).hexdigest()[:_ID_HEX_DIGITS], 16),
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


def _document(folder: Path, shards: Sequence[str], split: str, names: Sequence[str]) -> Iterator[str]:
    numbers = {fragments.dumps(name): number for number, name in enumerate(names, start=1)}
    mine = [shard for shard in shards if shard.startswith(f"{split}-")]

    def images() -> Iterator[str]:
        for first in fragments.first_lines(folder, NAME, mine):
            yield first.replace("\t", ",\n")

    def annotations() -> Iterator[str]:
        for _, second in fragments.pairs(folder, NAME, mine):
            parts = second.split("\t")
            rows = zip(parts[::2], parts[1::2], strict=True)
            yield ",\n".join([f'{{"category_id":{numbers[name]},{row}' for name, row in rows])

    yield '{"info":{"description":"PAM Studio, ' + split + '"},'
    yield '"images":['
    yield from _with_commas(images())
    yield '],"annotations":['
    yield from _with_commas(annotations())
    yield '],"categories":['
    yield from _with_commas(f'{{"id":{number},"name":{name},"supercategory":""}}' for name, number in numbers.items())
    yield "]}"


def _with_commas(lines: Iterator[str]) -> Iterator[str]:
    previous = next(lines, None)
    if previous is None:
        return
    for line in lines:
        yield previous + ","
        previous = line
    yield previous
