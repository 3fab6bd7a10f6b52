"""Records that the official trainer takes: schema, prompt strings, points and boxes that mean the mask."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.dataset.formats import pam_jsonl
from backend.dataset.formats.pam_jsonl import MIN_POINTS, prompt_box, prompt_points, records
from backend.dataset.region import DatasetImage
from backend.masks import from_coco_rle
from tests.backend.dataset.formats.samples import masks, photographs, region, regions_of, write

FACTS = json.loads((Path(__file__).parents[3] / "data" / "parity" / "prompts.json").read_text(encoding="utf-8"))
SCHEMA = FACTS["training_record"]
HEIGHT, WIDTH = 24, 32


def image_of(mask: np.ndarray) -> DatasetImage:
    return DatasetImage("0" * 64, "images/0000000000000000.png", *mask.shape, "train", "s")


def block() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[4:20, 6:28] = True
    return mask


def check_schema(record: dict[str, Any], mask: np.ndarray) -> None:
    """Assert all that the official trainer needs of an image record, and that its prompt means `mask`."""
    assert set(record) == {*SCHEMA["required_keys"], *SCHEMA["optional_keys"], "image"}
    assert record["type"] == "image" and isinstance(record["image"], str) and isinstance(record["id"], str)
    human, gpt = record["conversations"]
    assert (set(human), set(gpt)) == ({"from", "value"}, {"from", "value"})
    assert (human["from"], gpt["from"]) == ("human", "gpt")
    assert human["value"] in FACTS["image_tasks"].values() and human["value"].count("<image>") == 1
    assert gpt["value"].strip() == gpt["value"] != ""
    height, width = mask.shape
    x, y, w, h = record["bbox"]
    assert all(type(value) is int for value in (x, y, w, h))
    assert 0 <= x < x + w <= width and 0 <= y < y + h <= height and mask[y : y + h, x : x + w].any()
    assert len(record["points"]) == len(record["labels"]) >= min(MIN_POINTS, mask.sum())
    assert len({tuple(point) for point in record["points"]}) == len(record["points"])
    for (px, py), label in zip(record["points"], record["labels"], strict=True):
        assert type(px) is int and type(py) is int and mask[py, px] == label
    # What the trainer does with them: it must not fail on any size it may draw.
    if mask.sum() >= MIN_POINTS:
        for size in range(1, MIN_POINTS + 1):
            random.sample(record["points"], size)


def test_the_validator_takes_the_official_example() -> None:
    """The validator itself is held to the example of the official records."""
    example = json.loads(json.dumps(SCHEMA["example_image"]))
    assert set(example) == {*SCHEMA["required_keys"], *SCHEMA["optional_keys"], "image"}
    mask = np.zeros((300, 300), dtype=bool)
    mask[40:250, 84:244] = True
    example["points"] += [[100, 50], [101, 50]]
    example["labels"] += [1, 1]
    check_schema(example, mask)
    with pytest.raises(AssertionError):
        check_schema(example | {"labels": [0, 1, 1, 1]}, mask)


def test_the_yaml_leads_to_every_text_of_its_split(tmp_path: Path) -> None:
    """The trainer starts at the YAML: what that does not lead to is never learnt; a validation image never may be."""
    write(tmp_path, photographs(), ["pam_jsonl"])
    found: dict[str, list[tuple[str, str, str]]] = {}
    for split, listing in (("train", "datasets.yaml"), ("validation", "datasets_validation.yaml")):
        entries = yaml.safe_load((tmp_path / listing).read_text())["datasets"]
        assert all(entry["sampling_strategy"] == "all" for entry in entries)
        for entry in entries:
            task = Path(entry["json_path"]).stem
            for line in (tmp_path / entry["json_path"]).read_text(encoding="utf-8").splitlines():
                record = json.loads(line)
                assert record["conversations"][0]["value"] == FACTS["image_tasks"][task]
                assert (tmp_path / record["image"]).is_file()
                answer = record["conversations"][1]["value"]
                found.setdefault(split, []).append((task, record["id"], answer))
    assert sorted(found["train"]) == [
        ("brief_cap_ch", "1-2-3-r2", "一枚硬币"),
        ("brief_cap_en", "1-2-3-r1", "A worn coin."),
        ("detail_cap_en", "1-2-3-r3", "Two green eyes. They look at something."),
        ("explain_ch", "1-2-3-r4", "猫: 一种宠物"),
        ("explain_en", "1-2-3-r1", "Coin: A small disc of metal."),
        ("recognize_ch", "1-2-3-r4", "猫"),
        ("recognize_en", "1-2-3-r1", "Coin"),
        ("recognize_en", "1-2-3-r2", "coin"),
        ("recognize_en", "1-2-3-r5", "suit"),
    ]
    assert sorted(found["validation"]) == [
        ("brief_cap_en", "1-2-3-r6", "A cup of coffee."),
        ("recognize_en", "1-2-3-r6", "cup"),
    ]


def test_nothing_to_train_with_is_an_empty_list(tmp_path: Path) -> None:
    """An empty file in the YAML would stop the trainer."""
    write(tmp_path, {}, ["pam_jsonl"])
    assert yaml.safe_load((tmp_path / "datasets.yaml").read_text()) == {"datasets": []}
    assert not (tmp_path / "pam").exists()


@pytest.mark.parametrize(
    "words, expected",
    [
        (("", "", ""), {}),
        (("", "Money.", ""), {}),
        (("coin", "", ""), {"recognize_en": "coin"}),
        (("", "", "A worn coin."), {"brief_cap_en": "A worn coin."}),
        (("", "", "A coin. It is worn."), {"detail_cap_en": "A coin. It is worn."}),
        (
            ("硬币", "一种货币", "A worn coin."),
            {"recognize_ch": "硬币", "explain_ch": "硬币: 一种货币", "brief_cap_en": "A worn coin."},
        ),
        (("coin", "一种货币", "𠀀"), {"recognize_en": "coin", "explain_ch": "coin: 一种货币", "brief_cap_ch": "𠀀"}),
        (("", "", "一枚旧硬币。它在深色的布上。"), {"detail_cap_ch": "一枚旧硬币。它在深色的布上。"}),
    ],
)
def test_each_text_becomes_a_record_of_its_task_and_language(words: tuple, expected: dict[str, str]) -> None:
    """A text in the wrong file, or an empty answer, would teach the model something nobody said."""
    found = dict(records(image_of(block()), region(block(), words=words)))
    assert {task: record["conversations"][1]["value"] for task, record in found.items()} == expected
    for task, record in found.items():
        assert record["conversations"][0]["value"] == FACTS["image_tasks"][task]
        check_schema(record, block())


def test_real_clicks_come_first_and_sampled_points_fill_up() -> None:
    """The trainer should see the clicks that people make; four positive points are what it may draw."""
    points = prompt_points(region(block(), points=((10.7, 8.2, 1), (1.0, 1.0, 0))), block())
    assert points[:2] == [(10, 8, 1), (1, 1, 0)]
    assert [label for _, _, label in points] == [1, 0, 1, 1, 1]
    many = tuple((10.0 + i, 10.0, 1) for i in range(9))
    assert prompt_points(region(block(), points=many), block()) == [(10 + i, 10, 1) for i in range(9)]


def test_clicks_that_the_mended_mask_contradicts_are_left_out() -> None:
    """The annotator erased what the first click was on, and painted over a negative one: the mask is the truth."""
    clicks = ((1.0, 1.0, 1), (10.0, 10.0, 0), (12.0, 12.0, 1))
    points = prompt_points(region(block(), points=clicks), block())
    assert points[0] == (12, 12, 1) and len(points) == MIN_POINTS
    assert {label for _, _, label in points} == {1}


def test_points_are_the_same_each_time_and_differ_between_regions() -> None:
    """Two exports of one state are equal; regions of one shape are not prompted at one place."""
    assert prompt_points(region(block(), 1), block()) == prompt_points(region(block(), 1), block())
    assert len({tuple(prompt_points(region(block(), i), block())) for i in range(20)}) > 10


def test_points_that_are_known_are_taken_and_all_others_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard is written anew for one image: the others' points are known, but not those of another mask or click."""
    items = [item for item, _ in photographs()["train-0"]]
    old, new, fresh = tmp_path / "old", tmp_path / "new", tmp_path / "fresh"
    pam_jsonl.write_shard(old, "train-0", items, lambda image: b"")
    image, (first, *others) = items[0]
    mask = from_coco_rle(first.rle, image.height, image.width)
    y, x = np.argwhere(mask)[0]
    changed = [(image, (replace(first, points=((float(x), float(y), 1),)), *others)), *items[1:]]
    pam_jsonl.write_shard(fresh, "train-0", changed, lambda image: b"")
    found = []
    monkeypatch.setattr(pam_jsonl, "prompt_points", lambda *given: found.append(1) or prompt_points(*given))
    for version, now in ((tmp_path / "same", items), (new, changed)):
        pam_jsonl.write_shard(version, "train-0", now, lambda image: b"", old)
    assert len(found) == 1
    fragment = ".shards/pam_jsonl/train-0.jsonl"
    assert (new / fragment).read_bytes() == (fresh / fragment).read_bytes() != (old / fragment).read_bytes()
    assert (tmp_path / "same" / fragment).read_bytes() == (old / fragment).read_bytes()


def test_sampled_points_keep_away_from_the_edge() -> None:
    """Nobody clicks on the last pixel of an object, where the label is least certain; the image's border counts."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[0:16, 0:22] = True
    for id in range(30):
        assert all(3 <= x <= 18 and 3 <= y <= 12 for x, y, _ in prompt_points(region(mask, id), mask))


@pytest.mark.parametrize(
    "box, expected",
    [
        (None, [6, 4, 22, 16]),
        ((5.2, 3.9, 29.1, 20.0), [5, 3, 25, 17]),
        ((-3.0, -2.0, 40.0, 30.0), [6, 4, 22, 16]),
        ((4.0, -2.0, 40.0, 22.0), [4, 0, 28, 22]),
        ((0.0, 0.0, 5.0, 5.0), [6, 4, 22, 16]),
        ((10.0, 10.0, 10.0, 20.0), [6, 4, 22, 16]),
        ((40.0, 30.0, 50.0, 40.0), [6, 4, 22, 16]),
    ],
    ids=["none", "loose", "much too large", "over the edge", "elsewhere", "empty", "outside"],
)
def test_a_drawn_box_stays_while_it_means_the_mask(box: tuple | None, expected: list[int]) -> None:
    """The trainer should see boxes as people draw them, in whole pixels of the image, but none that mislead it."""
    assert prompt_box(image_of(block()), region(block(), box=box)) == expected


CLICKS = st.lists(st.tuples(st.floats(0, 60), st.floats(0, 60), st.integers(0, 1)), max_size=6).map(tuple)
BOXES = st.none() | st.tuples(*[st.floats(-10, 70)] * 4)


@settings(max_examples=150, deadline=None)
@given(mask=masks, clicks=CLICKS, box=BOXES, id=st.integers(0, 99))
def test_any_mask_clicks_and_box_make_a_valid_record(mask: np.ndarray, clicks: tuple, box: tuple, id: int) -> None:
    """Single pixels, the whole image, holes, several parts; contradicting clicks, boxes inside out."""
    height, width = mask.shape
    clicks = tuple((min(x, width), min(y, height), label) for x, y, label in clicks)
    ((_, record),) = records(image_of(mask), region(mask, id, points=clicks, box=box))
    check_schema(record, mask)
    assert sum(record["labels"]) >= min(MIN_POINTS, mask.sum())


def test_the_records_of_photographs_mean_their_masks() -> None:
    """The sample data set, through the same validator."""
    for image, one in regions_of(photographs()):
        for _, record in records(image, one):
            check_schema(record, from_coco_rle(one.rle, image.height, image.width))
