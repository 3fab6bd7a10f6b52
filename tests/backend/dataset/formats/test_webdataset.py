"""WebDataset tars, read by `webdataset`, whose headers say nothing of when, where or by whom they were made."""

from __future__ import annotations

import json
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import webdataset
from hypothesis import given, settings

from backend.masks import from_coco_rle
from tests.backend.dataset.formats.samples import masks, of_masks, photographs, regions_of, write


def read(folder: Path, *names: str) -> list[dict]:
    urls = [str(folder / f"webdataset/{name}.tar") for name in names]
    return list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil"))


def test_every_region_is_there_with_its_mask_and_words(tmp_path: Path) -> None:
    """A sample is an image, JSON, and a mask for each of its regions."""
    write(tmp_path, photographs(), ["webdataset"])
    found = {}
    for sample in read(tmp_path, "train-0", "train-1", "validation-all"):
        picture = next(sample[suffix] for suffix in ("jpg", "png") if suffix in sample)
        assert (picture.height, picture.width) == (sample["json"]["height"], sample["json"]["width"])
        assert sample["__key__"] == sample["json"]["image_id"]
        for entry in sample["json"]["regions"]:
            found[entry["id"]] = entry, np.asarray(sample[entry["mask"]])[..., 0] > 0, sample["json"]["split"]
    expected = regions_of(photographs())
    assert len(found) == len(expected)
    for image, one in expected:
        entry, mask, split = found[one.id]
        assert (mask == from_coco_rle(one.rle, image.height, image.width)).all() and split == image.split
        assert (entry["category"], entry["caption"], entry["outcome"]) == (one.category, one.caption, one.outcome)
        assert entry["languages"] == one.languages and tuple(entry["bbox"]) == one.bbox


@settings(max_examples=30, deadline=None)
@given(mask=masks)
def test_any_mask_survives(mask: np.ndarray) -> None:
    """Holes, several parts, one pixel, the whole image."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), of_masks(mask), ["webdataset"])
        (sample,) = read(Path(folder), "train-all")
    assert (np.asarray(sample["mask0.png"])[..., 0] > 0).tolist() == mask.tolist()


def test_members_are_images_and_json_and_headers_are_neutral(tmp_path: Path) -> None:
    """No pickle, which runs what it holds; no times or users, which would make two exports of one state differ."""
    write(tmp_path, photographs(), ["webdataset"])
    with tarfile.open(tmp_path / "webdataset/train-0.tar") as tar:
        members = tar.getmembers()
        assert members and {Path(member.name).suffix for member in members} == {".jpg", ".png", ".json"}
        for member in members:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
            assert member.isfile() and member.mode == 0o644
            if member.name.endswith(".json"):
                json.loads(tar.extractfile(member).read())  # type: ignore[union-attr]
