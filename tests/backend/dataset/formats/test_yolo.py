"""YOLO labels, read by a parser that follows the public description, and filled again as readers fill them."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from scipy import ndimage
from skimage.draw import polygon2mask

from backend.dataset.formats import summary, yolo
from backend.masks import from_coco_rle
from tests.backend.dataset.formats.samples import (
    FACTS,
    ellipse,
    extreme,
    masks,
    of_masks,
    photographs,
    regions_of,
    write,
)


def parse(folder: Path, split: str = "train") -> dict[str, list[tuple[str, np.ndarray]]]:
    """Image to class name and ring of each line, found as docs.ultralytics.com/datasets/segment has it: `data.yaml`
    names the list of images, and the labels of an image lie where its path has `labels` for `images`."""
    listing = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    found = {}
    for line in (folder / listing[split]).read_text().splitlines():
        image = folder / line.removeprefix("./")
        assert line.startswith("./") and image.is_file()
        label = Path(f"{os.sep}labels{os.sep}".join(str(image).rsplit(f"{os.sep}images{os.sep}", 1))).with_suffix(
            ".txt"
        )
        rows = []
        for text in label.read_text().splitlines():
            number, *coordinates = text.split(" ")
            ring = np.array(coordinates, dtype=float).reshape(-1, 2)
            assert len(ring) >= 3 and (ring >= 0).all() and (ring <= 1).all()
            rows.append((listing["names"][int(number)], ring))
        found[line.removeprefix("./")] = rows
    return found


def exactly(ring: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie in the ring, by scikit-image: not the code that wrote it."""
    return polygon2mask(shape, (ring * shape[::-1])[:, ::-1] - 0.5)


def as_ultralytics(ring: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """As the training code of YOLO fills it: cut to whole pixels, and with what the outline touches."""
    mask = np.zeros(shape, dtype=np.uint8)
    cv2.fillPoly(mask, [(ring * shape[::-1]).astype(np.int32)], color=1)
    return mask > 0


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_photographs_come_back(tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    """Both ways to fill a ring give back nearly the mask, a hole and two parts among them; the numbers are reported."""
    write(tmp_path, photographs(), ["yolo"])
    labels = parse(tmp_path) | parse(tmp_path, "val")
    by_image: dict[str, list] = {}
    for image, one in regions_of(photographs()):
        by_image.setdefault(image.path, []).append((image, one))
    exact, rough = [], []
    for path, expected in by_image.items():
        for (name, ring), (image, one) in zip(labels[path], expected, strict=True):
            mask = from_coco_rle(one.rle, image.height, image.width)
            assert name == (one.category or "unnamed")
            exact.append(iou(exactly(ring, mask.shape), mask))
            rough.append(iou(as_ultralytics(ring, mask.shape), mask))
    found = {name: [float(np.mean(each)), float(min(each))] for name, each in (("exact", exact), ("fillPoly", rough))}
    record_property("round_trip_iou", found)
    assert min(exact) > 0.98 and min(rough) > 0.9
    mean, least = yolo.round_trip_iou(tmp_path) or (0, 0)
    assert mean == pytest.approx(np.mean(exact), abs=0.01) and least == pytest.approx(min(exact), abs=0.01)


def notched() -> np.ndarray:
    """A mask whose simplified ring runs through the centres of pixels, which readers fill as they like."""
    mask = np.ones((3, 18), dtype=bool)
    mask[0, [1, 2, 5]] = False
    return mask


@settings(max_examples=150, deadline=None)
@given(mask=masks)
@example(mask=notched())
def test_only_pixels_at_the_edge_change(mask: np.ndarray) -> None:
    """Noise, holes in parts in holes: one ring with seams holds them all, to a pixel."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), of_masks(mask), ["yolo"])
        ((_, ring),) = next(iter(parse(Path(folder)).values()))
    back = exactly(ring, mask.shape)
    around = np.ones((3, 3), dtype=bool)
    assert back.any()
    assert (back <= ndimage.binary_dilation(mask, around)).all()
    assert (back >= ndimage.binary_erosion(mask, around)).all()
    assert iou(back, mask) >= yolo.MIN_IOU


@settings(max_examples=60, deadline=None)
@given(mask=extreme())
def test_one_pixel_and_the_whole_image_are_exact(mask: np.ndarray) -> None:
    """The smallest and the largest object."""
    assert (exactly(yolo.ring_of(mask)[0], mask.shape) == mask).all()


def test_a_hole_stays_a_hole() -> None:
    """A ring without a seam would fill it."""
    mask = ellipse((80, 80), 40, 40, 30, 30) & ~ellipse((80, 80), 40, 40, 15, 15)
    for fill in (exactly, as_ultralytics):
        assert not fill(yolo.ring_of(mask)[0], mask.shape)[36:44, 42:50].any()


def test_labels_are_linked_while_their_classes_are_the_same(tmp_path: Path) -> None:
    """Twenty thousand label files must not be written anew for one correction; nor be wrong for being old."""
    shards = photographs()
    old, new = tmp_path / "old", tmp_path / "new"
    write(old, {"train-0": shards["train-0"]}, ["yolo"])
    for path in old.glob(".shards/*/train-0.jsonl"):
        (new / path.relative_to(old)).parent.mkdir(parents=True, exist_ok=True)
        os.link(path, new / path.relative_to(old))
    grown = {name: items for name, items in shards.items() if name != "train-0"}
    for (image, _), content in shards["train-0"]:
        (new / image.path).parent.mkdir(exist_ok=True)
        (new / image.path).write_bytes(content)
    written = _write_more(new, grown, sorted(shards), old)
    coins = next(iter(parse(old)))
    label = Path("labels", Path(coins).name).with_suffix(".txt")
    assert (new / label).samefile(old / label) and str(label) in written
    fresh = tmp_path / "fresh"
    write(fresh, shards, ["yolo"])
    for path in [*fresh.glob("labels/*"), fresh / "data.yaml", fresh / "train.txt", fresh / "val.txt"]:
        if path.exists():
            assert (new / path.relative_to(fresh)).read_bytes() == path.read_bytes()


def test_rings_that_are_known_are_taken_and_all_others_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard is written anew for one image: the others' rings are known, but not those of another mask or category."""
    items = [item for item, _ in photographs()["train-0"]]
    old, new, fresh = tmp_path / "old", tmp_path / "new", tmp_path / "fresh"
    yolo.write_shard(old, "train-0", items, lambda image: b"")
    image, regions = items[0]
    changed = [(image, (replace(regions[0], category="button"), *regions[1:])), *items[1:]]
    yolo.write_shard(fresh, "train-0", changed, lambda image: b"")
    found = []
    monkeypatch.setattr(yolo, "ring_of", lambda mask, ring_of=yolo.ring_of: found.append(1) or ring_of(mask))
    for version, now in ((tmp_path / "same", items), (new, changed)):
        yolo.write_shard(version, "train-0", now, lambda image: b"", old)
    assert len(found) == len(regions)
    fragment = ".shards/yolo/train-0.jsonl"
    assert (new / fragment).read_bytes() == (fresh / fragment).read_bytes() != (old / fragment).read_bytes()
    assert (tmp_path / "same" / fragment).read_bytes() == (old / fragment).read_bytes()


def test_labels_are_written_anew_when_classes_move(tmp_path: Path) -> None:
    """An annotation that is older than all others brings a class in front of theirs."""
    shards = photographs()
    old, new = tmp_path / "old", tmp_path / "new"
    write(old, {"train-0": shards["train-0"]}, ["yolo"])
    write(new, {"train-0": shards["train-0"]}, ["yolo"])
    (new / ".shards/yolo/train-0.jsonl").unlink()
    os.link(old / ".shards/yolo/train-0.jsonl", new / ".shards/yolo/train-0.jsonl")
    ((image, (suit,)), content) = shards["train-1"][0]
    first = {"train-1": [((image, (replace(suit, annotation_id=1),)), content)]}
    _write_more(new, first, ["train-0", "train-1"], old)
    assert yaml.safe_load((new / "data.yaml").read_text())["names"][0] == "suit"
    names = [[name for rows in parse(version).values() for name, _ in rows] for version in (new, old)]
    assert names == [["coin", "coin", "unnamed", "猫", "suit"], ["coin", "coin", "unnamed", "猫"]]


def _write_more(folder: Path, shards: dict, names: list[str], parent: Path) -> list[str]:
    for name, items in shards.items():
        for (image, _), content in items:
            (folder / image.path).write_bytes(content)
        for module in (summary, yolo):
            module.write_shard(folder, name, [item for item, _ in items], lambda image: b"")
    summary.finish(folder, names, FACTS)
    return yolo.finish(folder, names, FACTS, parent)


def test_an_empty_version_has_an_empty_listing(tmp_path: Path) -> None:
    """No class at all is `{}` to a reader of YAML, not null."""
    write(tmp_path, {}, ["yolo"])
    assert yaml.safe_load((tmp_path / "data.yaml").read_text()) == {
        "train": "train.txt",
        "val": "train.txt",
        "names": {},
    }
    assert yolo.round_trip_iou(tmp_path) is None
