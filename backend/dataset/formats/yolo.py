"""YOLO segmentation labels, as Ultralytics documents them: a text file for each image, a line for each region.

A line is `<class> <x1> <y1> <x2> <y2> …`, one closed ring in shares of the image's width and height. The format knows
no holes and no second ring, so, as its users do, they are joined to the ring by seams of no width.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from backend.dataset.formats import fragments, summary
from backend.dataset.formats.summary import UNNAMED
from backend.dataset.region import DatasetFacts, ImageBytes, ImageRegions
from backend.masks import from_coco_rle, from_polygons, to_one_polygon

NAME = "yolo"
TOLERANCE = 0.5
"""How far, in pixels, a ring may leave the mask's edge."""

_DIGITS = 6  # a hundredth of a pixel in an image of 10 000
_YAML = "data.yaml"


def write_shard(folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes) -> list[str]:
    """Write the rings of a shard's regions as fragments; the paths written."""
    lines: dict[str, list[str]] = {split: [] for split in fragments.SPLITS}
    ious = []
    for image, regions in items:
        rings = []
        for region in regions:
            coordinates, iou = _line(from_coco_rle(region.rle, image.height, image.width))
            rings.append([region.category or UNNAMED, coordinates])
            ious.append(iou)
        lines[image.split].append(fragments.dumps([image.path, rings]))
    totals = [fragments.dumps([len(ious), sum(ious), min(ious)])] if ious else []
    written = [
        path for split in fragments.SPLITS for path in fragments.write(folder, f"{NAME}/{split}", shard, lines[split])
    ]
    return [*written, *fragments.write(folder, f"{NAME}/iou", shard, totals)]


def finish(folder: Path, shards: Sequence[str], facts: DatasetFacts, parent: Path | None = None) -> list[str]:
    """Write `labels/`, beside `images/`, the lists of the images of each split, and `data.yaml`; the paths written.

    A class has its number by `summary.class_names`, so it is known only now. parent: an older version's folder; label
    files that would be the same there are hard-linked.
    """
    names = summary.class_names(summary.read(folder, shards))
    numbers = {name: number for number, name in enumerate(names)}
    if parent is not None and (old := _names(parent)) != names[: len(old)]:
        parent = None
    (folder / "labels").mkdir(exist_ok=True)
    written: list[str] = []
    listing: dict[str, Any] = {}
    for split, key in (("train", "train"), ("validation", "val")):
        images = []
        for image, label in _labels(folder, split, shards, numbers, parent):
            images.append(f"./{image}")
            written.append(label)
        if images:
            fragments.write_lines(folder / f"{split}.txt", images)
            written.append(f"{split}.txt")
        # The format needs both keys: where there is no validation image, the others have to do.
        listing[key] = f"{split if images else 'train'}.txt"
    listing["names"] = dict(enumerate(names))
    text = yaml.safe_dump(listing, sort_keys=False, allow_unicode=True)
    fragments.write_lines(folder / _YAML, text.splitlines())
    return [*written, _YAML]


def _labels(
    folder: Path, split: str, shards: Sequence[str], numbers: Mapping[str, int], parent: Path | None
) -> Iterator[tuple[str, str]]:
    """Write the label files of a split; the path of each image and of its labels."""
    part = f"{NAME}/{split}"
    for shard, fragment in fragments.paths(folder, part, shards):
        older = dict(fragments.paths(parent, part, [shard])).get(shard) if parent else None
        unchanged = parent if older is not None and os.path.samefile(fragment, older) else None
        for image, rings in map(json.loads, fragments.read(folder, part, [shard])):
            label = PurePosixPath("labels", PurePosixPath(image).name).with_suffix(".txt").as_posix()
            _write_label(folder, label, [f"{numbers[name]} {ring}" for name, ring in rings], unchanged)
            yield image, label


def round_trip_iou(folder: Path, shards: Sequence[str]) -> tuple[float, float] | None:
    """Mean and least IoU of the masks and what their lines give back; None where there is no region.

    A pixel belongs to what a line gives back if its centre lies in the ring, by the even-odd rule.
    """
    parts = [json.loads(line) for line in fragments.read(folder, f"{NAME}/iou", shards)]
    count = sum(count for count, _, _ in parts)
    return (sum(total for _, total, _ in parts) / count, min(least for _, _, least in parts)) if count else None


def ring_of(mask: np.ndarray) -> np.ndarray:
    """The ring of a mask, bool (H, W), not empty: float (N, 2), x and y in shares of width and height, rounded."""
    return np.round(to_one_polygon(mask, TOLERANCE) / mask.shape[::-1], _DIGITS)


def parse_line(line: str) -> tuple[int, np.ndarray]:
    """Class number and ring, float (N, 2), of one line. Raises ValueError when it is not one of this format."""
    number, *numbers = line.split()
    ring = np.array([float(text) for text in numbers])
    if len(ring) < 6 or len(ring) % 2 or not ((ring >= 0) & (ring <= 1)).all():
        raise ValueError(f"a label needs three or more points in shares of 0 to 1: {line[:80]!r}")
    return int(number), ring.reshape(-1, 2)


def _line(mask: np.ndarray) -> tuple[str, float]:
    """The coordinates of a line, and the IoU of what they give back with the mask."""
    height, width = mask.shape
    ring = ring_of(mask)
    back = from_polygons([ring * (width, height)], height, width)
    coordinates = " ".join(f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".") for value in ring.ravel())
    return coordinates, float((mask & back).sum() / (mask | back).sum())


def _names(folder: Path) -> list[str]:
    """The classes of an older version; none where it has no YOLO labels."""
    try:
        return list(yaml.safe_load((folder / _YAML).read_text(encoding="utf-8"))["names"].values())
    except FileNotFoundError:
        return []


def _write_label(folder: Path, label: str, lines: Sequence[str], parent: Path | None) -> None:
    path = folder / label
    path.unlink(missing_ok=True)
    if parent is not None and (parent / label).exists():
        os.link(parent / label, path)
    else:
        path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
