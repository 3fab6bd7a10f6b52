"""Records are read as the official trainer reads them, and what cannot be learned from is counted, never replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import RecordError
from model.training.finetune.records import OWN, read_split

ASKED, ANSWERED = "<image>\nClassify this subject and provide its label.", "coin"


def record(**changed: Any) -> dict[str, Any]:
    """A good one of the official schema, less what is None, plus what is given."""
    good: dict[str, Any] = {
        "type": "image", "image": "a.png", "bbox": [1, 2, 30, 40], "points": [[5, 6], [7, 8]], "labels": [1, 0],
        "conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}],
    }  # fmt: skip
    return good | changed


def said(*turns: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(turns)]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_a_version_is_read_with_its_masks(version: Path):
    """Records of one region are one; each has the mask of its own, in its own split."""
    train, validation = read_split(version, "train"), read_split(version, "validation")
    assert [len(train.regions), len(validation.regions)] == [5, 1]
    assert not train.left_out
    coin = next(region for region in train.regions if region.id.endswith("r1"))
    assert (coin.category, coin.answer("explain"), coin.answer("brief_cap")) == (
        "Coin",
        "Coin: A small disc of metal.",
        "A worn coin.",
    )
    assert all(region.rle is not None and region.image.is_file() for region in train.regions + validation.regions)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "no record"),
        ("[1]", "no record"),
        ("[" * 100_000, "no record"),
        (record(type="video"), "a clip"),
        (record(image=None), "without an image"),
        (record(points=None, labels=None, bbox=None), "prompt"),
        (record(points=[[5, 6]], labels=[0], bbox=None), "prompt"),
        (record(points=[[5, 6]], labels=[1, 1]), "prompt"),
        (record(points=[[float("nan"), 6]], labels=[1]), "prompt"),
        (record(bbox=["a", 0, 1, 1]), "prompt"),
        (record(conversations=said(ASKED, "")), "empty text"),
        (record(conversations=said(ASKED, "  ")), "empty text"),
        (record(conversations=said(ASKED)), "in turn"),
        (record(conversations=said(ASKED, "coin")[::-1]), "in turn"),
        (record(conversations=None), "without a conversation"),
    ],
)
def test_what_cannot_be_learned_from_is_counted(tmp_path: Path, row: Any, reason: str):
    """By its reason; the records around it are read."""
    found = read_split(write(tmp_path / "a.jsonl", record(), row, record(image="b.png")), "train")
    assert len(found.regions) == 2
    ((counted, times),) = found.left_out.items()
    assert reason in counted and times == 1


@pytest.mark.parametrize(
    ("strategy", "names"),
    [
        ("all", "abcd"), ("first:2", "ab"), ("end:1", "d"), ("first:50%", "ab"), ("random:2", None), ("end:0", ""),
    ],
)  # fmt: skip
def test_sampling_strategies(tmp_path: Path, strategy: str, names: str | None):
    """Those of the official YAML, numbers and percentages."""
    write(tmp_path / "x.jsonl", *(record(image=f"{name}.png") for name in "abcd"))
    listing = tmp_path / "data.yaml"
    listing.write_text(json.dumps({"datasets": [{"json_path": "x.jsonl", "sampling_strategy": strategy}]}))
    found = [region.image.stem for region in read_split(listing, "train").regions]
    assert len(set(found)) == 2 if names is None else found == list(names)


def test_records_without_an_id_belong_together_by_their_prompt(tmp_path: Path):
    """The published files have one for each task: a region is looked at once for all."""
    other = "<image>\nProvide a concise caption for this subject."
    own = "<image>\nIs it old?"
    rows = [
        record(),
        record(conversations=said(other, "A coin.")),
        record(conversations=said(own, "Yes.")),
        record(bbox=None),
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    first, second = read_split(tmp_path / "a.json", "train").regions
    assert [one.task for one in first.said] == ["recognize_en", "brief_cap_en", OWN]
    assert second.box is None


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone.jsonl", None, "no such file"),
        ("a.yaml", "datasets: 3", "lists no data"),
        ("a.yaml", "datasets: [{json_path: b.jsonl}]", "b.jsonl cannot be read"),
        ("a.yaml", "datasets: [{json_path: a.yaml, sampling_strategy: some}]", "must be all"),
        ("a.json", "{", "cannot be read"),
    ],
)
def test_what_is_no_data_set_is_refused(tmp_path: Path, name: str, content: str | None, says: str):
    """With the name of the file and what is wrong with it."""
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(RecordError, match=says):
        read_split(tmp_path / name, "train")


def test_a_folder_without_records_is_refused(tmp_path: Path):
    """It says how to make one."""
    with pytest.raises(RecordError, match="pam-studio export"):
        read_split(tmp_path, "train")
