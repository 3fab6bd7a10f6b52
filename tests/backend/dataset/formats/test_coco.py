"""COCO that pycocotools reads: the same masks, true areas, one category for one thing."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from backend.masks import from_coco_rle
from tests.backend.dataset.formats.samples import masks, of_masks, photographs, region, regions_of, write


def read(folder: Path, split: str = "train") -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(folder / f"coco/instances_{split}.json"))


@settings(max_examples=40, deadline=None)
@given(st.lists(masks, min_size=1, max_size=3))
def test_masks_survive_to_pycocotools(drawn: list[np.ndarray]) -> None:
    """Holes, several parts, one pixel, the whole image: what somebody's training code reads is what was drawn."""
    with tempfile.TemporaryDirectory() as folder:
        items = of_masks(*drawn)
        write(Path(folder), items, ["coco"])
        coco = read(Path(folder))
    expected = {image.path: (image, one) for image, one in regions_of(items)}
    assert len(coco.anns) == len(expected)
    for entry in coco.anns.values():
        image, one = expected[coco.imgs[entry["image_id"]]["file_name"]]
        mask = from_coco_rle(one.rle, image.height, image.width)
        assert (coco.annToMask(entry) == mask).all()
        assert entry["area"] == mask.sum() and entry["iscrowd"] == 0
        assert entry["segmentation"]["size"] == list(mask.shape) and isinstance(entry["segmentation"]["counts"], str)
        rows, columns = np.nonzero(mask)
        x, y, w, h = entry["bbox"]
        assert (x, y, x + w - 1, y + h - 1) == (columns.min(), rows.min(), columns.max(), rows.max())


def test_texts_and_origin_stand_beside_each_mask(tmp_path: Path) -> None:
    """Label Studio's own COCO export loses the words of a region; here they are, with the way back."""
    write(tmp_path, photographs(), ["coco"])
    coco = read(tmp_path)
    words = {entry["attributes"]["region_id"]: entry["attributes"] for entry in coco.anns.values()}
    assert words["r1"] == {
        "category": "Coin", "explanation": "A small disc of metal.", "caption": "A worn coin.", "outcome": "accepted",
        "model_version": "nano-1", "project_id": 1, "task_id": 2, "annotation_id": 3, "region_id": "r1",
        "annotator": "a1b2",
    }  # fmt: skip
    assert words["r4"]["model_version"] is None and words["r2"]["caption"] == "一枚硬币"


def test_both_splits_share_their_categories(tmp_path: Path) -> None:
    """A detector that is trained on one and tested on the other must mean the same by a number."""
    write(tmp_path, photographs(), ["coco"])
    train, validation = read(tmp_path), read(tmp_path, "validation")
    assert train.cats == validation.cats
    assert [train.cats[id]["name"] for id in sorted(train.cats)] == ["coin", "unnamed", "猫", "suit", "cup"]
    names = [train.cats[entry["category_id"]]["name"] for entry in train.anns.values()]
    assert sorted(names) == ["coin", "coin", "suit", "unnamed", "猫"]
    assert {image["file_name"] for image in train.imgs.values()}.isdisjoint(
        image["file_name"] for image in validation.imgs.values()
    )
    assert all((tmp_path / image["file_name"]).is_file() for image in train.imgs.values())


def test_ids_stay_as_the_set_grows(tmp_path: Path) -> None:
    """Who noted down an annotation or trained a class finds it in the next version under the same number."""
    shards = photographs()
    write(tmp_path / "old", {name: shards[name] for name in ("train-0",)}, ["coco"])
    write(tmp_path / "new", shards, ["coco"])
    old, new = read(tmp_path / "old"), read(tmp_path / "new")
    assert old.anns.keys() < new.anns.keys() and all(new.anns[id] == entry for id, entry in old.anns.items())
    assert all(new.cats[id] == category for id, category in old.cats.items())


def test_the_evaluation_of_coco_takes_it(tmp_path: Path) -> None:
    """pycocotools' own evaluation, of the masks against themselves, is what people run: it must find all of them."""
    write(tmp_path, photographs(), ["coco"])
    coco = read(tmp_path)
    found = [
        {key: entry[key] for key in ("image_id", "category_id", "segmentation")} | {"score": 0.9}
        for entry in coco.anns.values()
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco, coco.loadRes(found), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] > 0.999


def test_a_category_may_be_written_in_any_letters(tmp_path: Path) -> None:
    """A mapping file may name a category as it likes: no sign of the file format may break the file."""
    items = of_masks(np.ones((4, 5), dtype=bool))
    ((image, _), content) = items["train-all"][0]
    odd = 'a "quoted"\tname\\, 硬币 \u2028'
    items["train-all"][0] = ((image, (region(np.ones((4, 5), dtype=bool), category=odd),)), content)
    write(tmp_path, items, ["coco"])
    assert [category["name"] for category in read(tmp_path).cats.values()] == [odd]


def test_without_regions_there_is_no_file(tmp_path: Path) -> None:
    """Nothing to write is no reason for broken JSON."""
    write(tmp_path, {}, ["coco"])
    assert not (tmp_path / "coco").exists()
    write(tmp_path / "one", of_masks(np.ones((2, 2), dtype=bool)), ["coco"])
    document = json.loads((tmp_path / "one/coco/instances_train.json").read_text(encoding="utf-8"))
    assert set(document) == {"info", "images", "annotations", "categories"}
