"""Parquet shards, read as people read them: `datasets.load_dataset` on the version's folder, without a network."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from pyarrow import parquet

from backend.dataset.formats import parquet as format
from backend.masks import from_coco_rle
from tests.backend.dataset.formats.samples import masks, of_masks, photographs, regions_of, write


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> datasets.DatasetDict:
    """The sample data set, from the folder by its card alone, split sizes verified."""
    folder = tmp_path_factory.mktemp("version")
    write(folder, photographs(), ["parquet"])
    return datasets.load_dataset(str(folder), cache_dir=str(tmp_path_factory.mktemp("cache")))


def test_features_and_split_come_from_the_card(loaded: datasets.DatasetDict) -> None:
    """Whoever loads it gets images, masks and class labels, not structs of bytes."""
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 3, "validation": 1}
    features = loaded["train"].features
    assert isinstance(features["image"], datasets.Image)
    regions = features["regions"].feature
    assert isinstance(regions["mask"], datasets.Image)
    assert regions["outcome"] == datasets.ClassLabel(names=["accepted", "corrected", "drawn"])
    assert features == datasets.Features.from_arrow_schema(format.SCHEMA)


def test_images_masks_and_texts_are_the_same(loaded: datasets.DatasetDict) -> None:
    """Every pixel of every mask, and every word."""
    found = {one["id"]: (row, one) for rows in loaded.values() for row in rows for one in row["regions"]}
    expected = regions_of(photographs())
    assert len(found) == len(expected)
    for image, one in expected:
        row, entry = found[one.id]
        assert (row["image"].height, row["image"].width) == (row["height"], row["width"]) == (image.height, image.width)
        assert (np.asarray(entry["mask"]) == from_coco_rle(one.rle, image.height, image.width)).all()
        assert entry["category_as_written"] == one.category_as_written and entry["caption"] == one.caption
        assert entry["explanation"] == one.explanation and entry["model_version"] == one.model_version
        assert tuple(entry["bbox"]) == one.bbox and entry["area"] == one.area
        assert [tuple(point) for point in entry["points"]] == [(x, y) for x, y, _ in one.points]
        assert entry["mask_iou"] == one.mask_iou and entry["outcome"] == format.OUTCOMES.index(one.outcome)
        assert entry["prompt_box"] == (one.box and list(one.box))


def test_the_library_finds_it_offline(tmp_path: Path) -> None:
    """A machine that trains has no network."""
    write(tmp_path, photographs(), ["parquet"])
    code = (
        f"import datasets; print(datasets.load_dataset({str(tmp_path)!r}, split='validation')[0]['regions'][0]['id'])"
    )
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "1-2-3-r6"), done.stderr


def test_without_validation_images_the_other_split_loads(tmp_path: Path) -> None:
    """A pattern in the card that no file fits would stop the library."""
    write(tmp_path / "version", of_masks(np.ones((3, 4), dtype=bool)), ["parquet"])
    assert list(datasets.load_dataset(str(tmp_path / "version"), cache_dir=str(tmp_path / "cache"))) == ["train"]


@settings(max_examples=30, deadline=None)
@given(mask=masks)
def test_any_mask_survives(mask: np.ndarray) -> None:
    """Holes, several parts, one pixel, the whole image."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), of_masks(mask), ["parquet"])
        table = parquet.read_table(Path(folder) / "parquet/train-all.parquet")
    ((entry,),) = table["regions"].to_pylist()
    assert (np.asarray(datasets.Image().decode_example(entry["mask"])) == mask).all()


def test_row_groups_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who writes or reads a shard holds one group at a time, however large the images are."""
    monkeypatch.setattr(format, "ROW_GROUP_BYTES", 200_000)
    write(tmp_path, photographs(), ["parquet"])
    file = parquet.ParquetFile(tmp_path / "parquet/train-0.parquet")
    assert file.num_row_groups == 1 and file.metadata.num_rows == 2
    monkeypatch.setattr(format, "ROW_GROUP_BYTES", 1)
    write(tmp_path, photographs(), ["parquet"])
    file = parquet.ParquetFile(tmp_path / "parquet/train-0.parquet")
    assert file.num_row_groups == 2
    assert isinstance(file.read(), pa.Table)
