"""COCO that pycocotools reads: the same masks, true areas, one category for one thing."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from backend.annotations import CorrectedRegion, corrected_regions
from backend.export.coco import CocoWriter, category_name
from backend.export.images import StoredImage
from backend.labeling_config import parse
from backend.webhook_event import Annotation
from tests.backend.export.project import CONFIG, MEGAPIXEL, results

SIZE = (18, 24)
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def write(folder: Path, *regions: CorrectedRegion) -> COCO:
    writer = CocoWriter(folder)
    for region in regions:
        writer.add(region, StoredImage(f"images/{region.task_id}.jpg", *region.mask.shape))
    writer.close()
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(folder / "coco.json"))


def region(task_id: int, category: str, mask: np.ndarray) -> CorrectedRegion:
    words = {"category": category, "explanation": "", "caption": "一枚硬币"}
    return CorrectedRegion(f"r{task_id}", 1, task_id, 3, "", mask, words, model_version="nano-1")


MASKS = st.integers(1, (1 << 12) - 1).map(
    lambda bits: np.kron(np.array([bits >> i & 1 for i in range(12)], bool).reshape(3, 4), np.ones((6, 6), bool))
)


@settings(max_examples=40, deadline=None)
@given(masks=st.lists(MASKS, min_size=1, max_size=3))
def test_masks_survive_from_label_studio_to_pycocotools(masks: list[np.ndarray]) -> None:
    """The whole way of a mask: brush RLE in an annotation, corrected region, COCO file, somebody's training code."""
    saved = [result for i, mask in enumerate(masks) for result in results(f"r{i}", mask, ("thing", "", ""))]
    annotation = Annotation(8, 1, 5, saved, {"image": "a.jpg"}, False, NOW, NOW)
    regions = corrected_regions(annotation, parse(CONFIG), lambda _: None, max_pixels=MEGAPIXEL)
    with tempfile.TemporaryDirectory() as folder:
        coco = write(Path(folder), *(r for r in regions if isinstance(r, CorrectedRegion)))
    entries = coco.loadAnns(sorted(coco.getAnnIds()))
    for entry, mask in zip(entries, masks, strict=True):
        assert (coco.annToMask(entry) == mask).all()
        assert entry["area"] == mask.sum()
        rows, columns = np.nonzero(mask)
        x, y, w, h = entry["bbox"]
        assert (x, y, x + w - 1, y + h - 1) == (columns.min(), rows.min(), columns.max(), rows.max())
        assert entry["segmentation"]["size"] == list(SIZE) and isinstance(entry["segmentation"]["counts"], str)
        assert entry["iscrowd"] == 0 and entry["image_id"] in coco.imgs and entry["category_id"] in coco.cats


def test_texts_and_origin_stand_beside_each_mask(tmp_path: Path) -> None:
    """Label Studio's own COCO export loses the words of a region; here they are, with the way back."""
    mask = np.ones(SIZE, dtype=bool)
    coco = write(tmp_path, region(5, "Coin", mask))
    (entry,) = coco.anns.values()
    assert entry["attributes"] == {
        "category": "Coin", "explanation": "", "caption": "一枚硬币", "region_id": "r5", "annotation_id": 3,
        "task_id": 5, "model_version": "nano-1",
    }  # fmt: skip


def test_images_and_categories_are_listed_once(tmp_path: Path) -> None:
    """Regions that share an image or a thing share its id."""
    mask = np.ones(SIZE, dtype=bool)
    coco = write(tmp_path, region(5, "Coin", mask), region(5, " coin.", mask), region(6, "", mask))
    assert [image["file_name"] for image in coco.imgs.values()] == ["images/5.jpg", "images/6.jpg"]
    assert [category["name"] for category in coco.cats.values()] == ["coin", "unnamed"]
    assert [len(coco.getAnnIds(imgIds=[id])) for id in coco.imgs] == [2, 1]


def test_an_export_without_regions_is_valid(tmp_path: Path) -> None:
    """Nothing to write is no reason for broken JSON."""
    assert write(tmp_path).anns == {}
    assert set(json.loads((tmp_path / "coco.json").read_text())) == {"info", "annotations", "images", "categories"}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Traffic  Light", "traffic light"), ("coin.", "coin"), ("ＣＯＩＮ", "coin"), ("Straße", "strasse"),
        ("e\u0301clair", "\u00e9clair"), ("硬币。", "硬币"), ("", "unnamed"), (" . ", "unnamed"),
        ("U.S. coin", "u.s. coin"),
    ],
)  # fmt: skip
def test_one_thing_has_one_category(text: str, expected: str) -> None:
    """People write the same word in many ways; a detector must not learn them as different classes."""
    assert category_name(text) == expected
