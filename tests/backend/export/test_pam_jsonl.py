"""Records that the official trainer takes: schema, prompt strings, points that mean the mask."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.annotations import CorrectedRegion
from backend.export.images import StoredImage
from backend.export.pam_jsonl import MIN_POINTS, PamWriter, prompt_points, records
from model.prompt import Point

FACTS = json.loads((Path(__file__).parents[2] / "data" / "parity" / "prompts.json").read_text(encoding="utf-8"))
SCHEMA = FACTS["training_record"]
HEIGHT, WIDTH = 24, 32
IMAGE = StoredImage("images/0123456789abcdef.jpg", HEIGHT, WIDTH)


def region(
    mask: np.ndarray | None = None, *points: Point, id: str = "r1", words: tuple[str, str, str] = ("", "", "")
) -> CorrectedRegion:
    if mask is None:
        mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
        mask[4:20, 6:28] = True
    fields = dict(zip(("category", "explanation", "caption"), words, strict=True))
    return CorrectedRegion(id, 1, 2, 3, "/data/coins.jpg", mask, fields, points)


def check_schema(record: dict[str, Any], mask: np.ndarray) -> None:
    """Assert all that the official trainer needs of an image record, and that its prompt means `mask`."""
    assert list(record) and set(record) == {*SCHEMA["required_keys"], *SCHEMA["optional_keys"], "image"}
    assert record["type"] == "image" and isinstance(record["image"], str) and isinstance(record["id"], str)
    human, gpt = record["conversations"]
    assert (set(human), set(gpt)) == ({"from", "value"}, {"from", "value"})
    assert (human["from"], gpt["from"]) == ("human", "gpt")
    assert human["value"] in FACTS["image_tasks"].values() and human["value"].count("<image>") == 1
    assert gpt["value"].strip() == gpt["value"] != ""
    height, width = mask.shape
    x, y, w, h = record["bbox"]
    assert all(type(value) is int for value in (x, y, w, h))
    inside = np.zeros_like(mask)
    inside[y : y + h, x : x + w] = True
    assert 0 <= x < x + w <= width and 0 <= y < y + h <= height and (mask <= inside).all()
    assert mask[y, x : x + w].any() and mask[y + h - 1, x : x + w].any()
    assert mask[y : y + h, x].any() and mask[y : y + h, x + w - 1].any()
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
    example = SCHEMA["example_image"]
    assert set(example) == {*SCHEMA["required_keys"], *SCHEMA["optional_keys"], "image"}
    mask = np.zeros((300, 300), dtype=bool)
    mask[40:250, 84:244] = True
    example["points"] += [[100, 50], [101, 50]]
    example["labels"] += [1, 1]
    check_schema(example, mask)
    with pytest.raises(AssertionError):
        check_schema(example | {"labels": [0, 1, 1, 1]}, mask)


@pytest.mark.parametrize(
    "words, expected",
    [
        (("", "", ""), {}),
        (("coin", "", ""), {"recognize_en": "coin"}),
        (("", "", "A worn coin."), {"brief_cap_en": "A worn coin."}),
        (("", "Money.", ""), {}),
        (
            ("coin", "Money.", "A worn coin."),
            {"recognize_en": "coin", "explain_en": "coin: Money.", "brief_cap_en": "A worn coin."},
        ),
        (
            ("硬币", "一种货币", "A worn coin."),
            {"recognize_ch": "硬币", "explain_ch": "硬币: 一种货币", "brief_cap_en": "A worn coin."},
        ),
        (("coin", "一种货币", "𠀀"), {"recognize_en": "coin", "explain_ch": "coin: 一种货币", "brief_cap_ch": "𠀀"}),
        (("pièce “d’or”", "", "a。"), {"recognize_en": "pièce “d’or”", "brief_cap_en": "a。"}),
    ],
)
def test_each_text_becomes_a_record_of_its_task_and_language(words: tuple, expected: dict[str, str]) -> None:
    """A text in the wrong file, or an empty answer, would teach the model something nobody said."""
    found = dict(records(region(words=words), IMAGE))
    assert {task: record["conversations"][1]["value"] for task, record in found.items()} == expected
    for task, record in found.items():
        assert record["conversations"][0]["value"] == FACTS["image_tasks"][task]
        check_schema(record, region().mask)


def test_real_clicks_come_first_and_sampled_points_fill_up() -> None:
    """The trainer should see the clicks that people make; four positive points are what it may draw."""
    points = prompt_points(region(None, Point(10.7, 8.2), Point(1, 1, False)))
    assert points[:2] == [(10, 8, 1), (1, 1, 0)]
    assert [label for _, _, label in points] == [1, 0, 1, 1, 1]
    many = [Point(10 + i, 10) for i in range(9)]
    assert prompt_points(region(None, *many)) == [(10 + i, 10, 1) for i in range(9)]


def test_clicks_that_the_mended_mask_contradicts_are_left_out() -> None:
    """The annotator erased what the first click was on, and painted over a negative one: the mask is the truth."""
    points = prompt_points(region(None, Point(1, 1), Point(10, 10, False), Point(12, 12)))
    assert points[0] == (12, 12, 1) and len(points) == MIN_POINTS
    assert {label for _, _, label in points} == {1}


def test_a_click_on_the_far_edge_is_the_last_pixel() -> None:
    """A prompt may lie at x = width; no pixel does."""
    mask = np.ones((HEIGHT, WIDTH), dtype=bool)
    assert prompt_points(region(mask, Point(WIDTH, HEIGHT)))[0] == (WIDTH - 1, HEIGHT - 1, 1)


def test_points_are_the_same_each_time_and_differ_between_regions() -> None:
    """Two exports of one state are equal; regions of one shape are not prompted at one place."""
    assert prompt_points(region(id="a")) == prompt_points(region(id="a"))
    assert len({tuple(prompt_points(region(id=str(i)))) for i in range(20)}) > 10


def test_sampled_points_keep_away_from_the_edge() -> None:
    """Nobody clicks on the last pixel of an object, where the label is least certain; the image's border counts."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[0:16, 0:22] = True
    for id in range(30):
        assert all(3 <= x <= 18 and 3 <= y <= 12 for x, y, _ in prompt_points(region(mask, id=str(id))))


PIXELS = st.sets(st.tuples(st.integers(0, HEIGHT - 1), st.integers(0, WIDTH - 1)), min_size=1, max_size=40)
CLICKS = st.lists(st.builds(Point, st.floats(0, WIDTH), st.floats(0, HEIGHT), st.booleans()), max_size=6)


@settings(max_examples=150, deadline=None)
@given(pixels=PIXELS, clicks=CLICKS, grow=st.integers(1, 9), id=st.text(max_size=5))
def test_any_mask_and_clicks_make_a_valid_record(pixels: set, clicks: list[Point], grow: int, id: str) -> None:
    """Single pixels, scattered ones, thick and thin shapes, contradicting clicks."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    for y, x in pixels:
        mask[y : y + grow, x : x + grow] = True
    ((_, record),) = records(region(mask, *clicks, id=id, words=("thing", "", "")), IMAGE)
    check_schema(record, mask)
    assert sum(record["labels"]) >= min(MIN_POINTS, mask.sum())


def test_the_writer_appends_and_lists_only_what_it_wrote(tmp_path: Path) -> None:
    """An empty file in datasets.yaml would stop the trainer."""
    writer = PamWriter(tmp_path)
    for id in ("a", "b"):
        writer.add(region(id=id, words=("coin", "", "")), IMAGE)
    writer.close()
    assert writer.records == {"recognize_en.jsonl": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["datasets.yaml", "recognize_en.jsonl"]
    assert (tmp_path / "datasets.yaml").read_text() == (
        "datasets:\n  - json_path: recognize_en.jsonl\n    sampling_strategy: all\n"
    )
    assert [json.loads(line)["id"] for line in open(tmp_path / "recognize_en.jsonl")] == ["1-2-3-a", "1-2-3-b"]
