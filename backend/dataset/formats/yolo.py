"""YOLO segmentation labels, as Ultralytics documents them: a text file for each image, a line for each region.

A line is `<class> <x1> <y1> <x2> <y2> …`, one closed ring in shares of the image's width and height. The format knows
no holes and no second ring, so, as its users do, they are joined to the ring by seams of no width.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from backend.dataset.formats import fragments, summary
from backend.dataset.formats.summary import UNNAMED
from backend.dataset.region import DatasetFacts, DatasetImage, DatasetRegion, ImageBytes, ImageRegions
from backend.masks import from_coco_rle, from_polygons, to_one_polygon

NAME = "yolo"
TOLERANCE = 0.5
"""How far, in pixels, a ring may leave the mask's edge, as long as it gives back MIN_IOU of the mask."""

MIN_IOU = 0.98

_SMALL = 4096
"""Pixels of a mask up to which single ones count."""

_NUDGES = 1e-3 * np.array([(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)])
"""Pixels by which a ring is moved to see what its edges touch."""

_DIGITS = 6  # a hundredth of a pixel in an image of 10 000
_YAML = "data.yaml"
_IOU = f"{fragments.FOLDER}/yolo_iou.json"
_KEYS = (("train", "train"), ("validation", "val"))


@dataclass
class _RoundTrip:
    count: int = 0
    total: float = 0.0
    least: float = 1.0

    def add(self, iou: float) -> None:
        self.merge(_RoundTrip(1, iou, iou))

    def merge(self, other: _RoundTrip) -> None:
        self.count, self.total = self.count + other.count, self.total + other.total
        self.least = min(self.least, other.least)


def write_shard(
    folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes, parent: Path | None = None
) -> list[str]:
    """Write the rings of a shard's regions as a fragment; the paths written."""
    known = _known(parent, shard)
    lines = []
    totals = _RoundTrip()
    for image, regions in items:
        masks = [[region.category or UNNAMED, region.rle] for region in regions]
        key = hashlib.sha256(fragments.dumps([image.height, image.width, masks]).encode()).hexdigest()
        line = known.get(key) or _rings_line(key, image, regions)
        for _, _, iou in json.loads(line.partition("\t")[2]):
            totals.add(iou)
        lines.append(line)
    # First what is needed of a shard that did not change, as the rest of it is then not read again.
    head = [vars(totals), items[0][0].split if items else "", [image.path for image, _ in items]]
    return fragments.write(folder, NAME, shard, [fragments.dumps(head), *lines])


def _rings_line(key: str, image: DatasetImage, regions: Sequence[DatasetRegion]) -> str:
    rings = [
        [region.category or UNNAMED, *_line(from_coco_rle(region.rle, image.height, image.width))] for region in regions
    ]
    return f"{key}\t{fragments.dumps(rings)}"


def _known(parent: Path | None, shard: str) -> dict[str, str]:
    """The lines of images in an older fragment, by their key, which is a hash of all that is in a line."""
    lines = fragments.read(parent, NAME, [shard]) if parent else iter(())
    next(lines, None)
    return {line.partition("\t")[0]: line for line in lines}


def finish(folder: Path, shards: Sequence[str], facts: DatasetFacts, parent: Path | None = None) -> list[str]:
    """Write `labels/`, beside `images/`, the lists of the images of each split, and `data.yaml`; the paths written.

    A class has its number by `summary.class_names`, so it is known only now. parent: an older version's folder; label
    files that would be the same there are hard-linked.
    """
    names = summary.class_names(summary.read(folder))
    if parent is not None and (old := _names(parent)) != names[: len(old)]:
        parent = None
    (folder / "labels").mkdir(exist_ok=True)
    totals = _RoundTrip()
    labels: list[str] = []
    images = _labels(folder, shards, {name: number for number, name in enumerate(names)}, parent, labels, totals)
    lists = fragments.distribute(folder, ((f"{split}.txt", f"./{image}") for split, image in images))
    # The format needs both keys: where there is no validation image, the others have to do.
    sides = {key: f"{split if f'{split}.txt' in lists else 'train'}.txt" for split, key in _KEYS}
    text = yaml.safe_dump(sides | {"names": dict(enumerate(names))}, sort_keys=False, allow_unicode=True)
    listing = fragments.write_lines(folder, _YAML, text.splitlines())
    return [*labels, *lists, listing, fragments.write_lines(folder, _IOU, [fragments.dumps(vars(totals))])]


def _labels(
    folder: Path,
    shards: Sequence[str],
    numbers: Mapping[str, int],
    parent: Path | None,
    written: list[str],
    totals: _RoundTrip,
) -> Iterator[tuple[str, str]]:
    """Write the label files; split and path of each image. Adds to `written` and `totals`."""
    for shard in sorted(shards):
        unchanged = parent if parent and _is_same(folder, parent, shard) else None
        head = next(fragments.first_lines(folder, NAME, [shard]), '[{},"",[]]')
        sums, split, images = json.loads(head)
        totals.merge(_RoundTrip(**sums))
        labels = [f"labels/{image.rpartition('/')[2].rpartition('.')[0]}.txt" for image in images]
        if not (unchanged and all(_link(f"{unchanged}/{label}", f"{folder}/{label}") for label in labels)):
            lines = fragments.read(folder, NAME, [shard])
            next(lines, None)
            for label, line in zip(labels, lines, strict=True):
                rings = json.loads(line.partition("\t")[2])
                fragments.write_lines(folder, label, (f"{numbers[name]} {ring}" for name, ring, _ in rings))
        written += labels
        yield from ((split, image) for image in images)


def round_trip_iou(folder: Path) -> tuple[float, float] | None:
    """Mean and least IoU of the masks and what their lines give back, as `finish` found it; None without regions.

    A pixel belongs to what a line gives back if its centre lies in the ring, by the even-odd rule.
    """
    try:
        found = _RoundTrip(**json.loads((folder / _IOU).read_text()))
    except FileNotFoundError:
        return None
    return (found.total / found.count, found.least) if found.count else None


def ring_of(mask: np.ndarray) -> tuple[np.ndarray, float]:
    """The ring of a mask, bool (H, W), not empty: float (N, 2), x and y in shares of width and height, rounded.

    And the IoU of what it gives back with the mask: at least MIN_IOU, as small and ragged masks keep their whole edge.
    """
    height, width = mask.shape
    ring, iou = np.empty((0, 2)), 0.0
    for tolerance in (TOLERANCE, 0.0):
        ring = np.round(to_one_polygon(mask, tolerance) / (width, height), _DIGITS)
        iou = _given_back(ring * (width, height), mask)
        if iou >= MIN_IOU and (mask.sum() > _SMALL or _least_given_back(ring * (width, height), mask) >= MIN_IOU):
            break
    return ring, iou


def _given_back(ring: np.ndarray, mask: np.ndarray) -> float:
    """The IoU of a mask with what a ring encloses, (N, 2) in pixels."""
    back = from_polygons([ring], *mask.shape)
    return float((mask & back).sum() / (mask | back).sum())


def _least_given_back(ring: np.ndarray, mask: np.ndarray) -> float:
    """The same, whichever side a reader gives the pixels to whose centres lie on the ring."""
    left, top = np.maximum(np.floor(ring.min(0)).astype(int) - 1, 0)
    right, bottom = np.ceil(ring.max(0)).astype(int) + 1
    ring, mask = ring - (left, top), mask[top:bottom, left:right]  # all else is background in both
    backs = [from_polygons([ring + shift], *mask.shape) for shift in _NUDGES]
    surely, maybe = np.logical_and.reduce(backs), np.logical_or.reduce(backs)
    return float((mask & surely).sum() / (mask | maybe).sum())


def _line(mask: np.ndarray) -> tuple[str, float]:
    """The coordinates of a line, and the IoU of what they give back with the mask."""
    ring, iou = ring_of(mask)
    return " ".join(f"{value:.{_DIGITS}f}".rstrip("0").rstrip(".") for value in ring.ravel()), iou


def _names(folder: Path) -> list[str]:
    """The classes of an older version; none where it has no YOLO labels."""
    try:
        return list(yaml.safe_load((folder / _YAML).read_text(encoding="utf-8"))["names"].values())
    except FileNotFoundError:
        return []


def _is_same(folder: Path, parent: Path, shard: str) -> bool:
    try:
        return os.path.samefile(*(fragments.path(version, NAME, shard) for version in (folder, parent)))
    except FileNotFoundError:
        return False


def _link(old: str, new: str) -> bool:
    """Make `new` a link to `old`; False where somebody took that out of its version."""
    try:
        os.link(old, new)
    except FileExistsError:
        os.unlink(new)
        return _link(old, new)
    except FileNotFoundError:
        return False
    return True
