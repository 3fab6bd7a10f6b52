"""What annotators point at becomes one prompt in pixels; what they do not point with becomes none."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import labeling_config, masks, predict_request
from backend.errors import BackendError, RequestError
from backend.json_node import Node
from backend.predict_request import Saved
from backend.smart_prompt import MAX_PROMPTS, read_prompt
from model.prompt import Point

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
HEIGHT, WIDTH = 200, 400
CONFIG = labeling_config.parse(
    """<View><Image name="image" value="$image"/>
    <KeyPointLabels name="point" toName="image" smart="true"><Label value="Coin"/><Label value="Cat"/></KeyPointLabels>
    <RectangleLabels name="box" toName="image" smart="true" smartOnly="true"><Label value="Coin"/></RectangleLabels>
    <BrushLabels name="region" toName="image" smart="true"><Label value="Coin"/></BrushLabels>
    <KeyPoint name="dot" toName="image" smart="true"/><Labels name="kind" toName="image"><Label value="Dog"/></Labels>
    <RectangleLabels name="frame" toName="image"><Label value="Coin"/></RectangleLabels>
    <TextArea name="category" toName="image" perRegion="true"/></View>"""
)


def result(kind: str, name: str, value: object, id: str = "a", **more: object) -> dict:
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return size | {"type": kind, "from_name": name, "to_name": "image", "id": id, "value": value} | more


def click(x: float, y: float, id: str = "a", label: str = "Coin", **more: object) -> dict:
    return result("keypointlabels", "point", {"x": x, "y": y, "width": 0.2, "keypointlabels": [label]}, id, **more)


def box(x: float, y: float, width: float, height: float, id: str = "a", **more: object) -> dict:
    sides = {"x": x, "y": y, "width": width, "height": height, "rectanglelabels": ["Coin"]} | more
    return result("rectanglelabels", "box", sides, id)


def brush(mask: np.ndarray, id: str = "a") -> dict:
    return result(
        "brushlabels", "region", {"format": "rle", "rle": masks.to_brush_rle(mask), "brushlabels": ["Coin"]}, id
    )


def read(*results: dict, **more):
    context = [Node(one, f"result[{index}]") for index, one in enumerate(results)]
    return read_prompt(context, CONFIG, **{"now": NOW, "max_pixels": 10**6} | more)


def replay(capture: str):
    request = predict_request.parse((CAPTURES / f"{capture}.json").read_bytes())
    config = labeling_config.parse(request.label_config)
    saved = request.tasks[0].saved
    return read_prompt(request.context, config, now=NOW, max_pixels=10**6, saved=saved)


def test_a_captured_click_is_read():
    asked = replay("predict_1_click")
    assert asked.prompt.points == (pytest.approx((0.4698133918770582 * 384, 0.14943321994109402 * 303, True)),)
    assert (asked.height, asked.width, asked.label, asked.ids) == (303, 384, "Object", ("gR4r8duWDH",))
    asked.prompt.check(303, 384)


def test_both_captured_clicks_count():
    asked = replay("predict_2_clicks")
    assert [point.positive for point in asked.prompt.points] == [True, False]
    assert asked.ids == ("n09bjwDDEp", "Jjs50U8Rus") and asked.stale_ids == ()


def test_a_captured_box_is_read():
    asked = replay("predict_box")
    assert asked.prompt.box == pytest.approx((230.57, 166.67, 281.15, 217.26), abs=0.01)
    assert asked.prompt.points == () and asked.prompt.mask is None
    asked.prompt.check(303, 384)


def test_clicks_a_box_and_strokes_mean_one_object_together():
    left, right = np.zeros((2, HEIGHT, WIDTH), dtype=bool)
    left[10:20, 10:20], right[10:20, 30:40] = True, True
    boxes = box(0, 0, 9, 9, "b"), box(50, 50, 25, 25, "d")
    asked = read(click(10, 50, "a"), boxes[0], brush(left, "c"), boxes[1], brush(right, "e"))
    assert asked.prompt.points == (Point(40, 100, True),)
    assert asked.prompt.box == (200, 100, 300, 150), "the newest box counts"
    assert np.array_equal(asked.prompt.mask, left | right)
    assert asked.ids == ("a", "b", "c", "d", "e")


@pytest.mark.parametrize(
    ("results", "label"),
    [
        ([click(1, 1, label="Coin"), click(2, 2, "b", label="Cat")], "Cat"),
        ([click(1, 1) | {"value": {"x": 1, "y": 1}}], None),
        (
            [result("keypoint", "dot", {"x": 1, "y": 1}, "k"), result("labels", "kind", {"labels": ["Dog"]}, "k")],
            "Dog",
        ),
    ],
)
def test_the_label_is_the_one_of_the_newest_drawing(results, label):
    assert read(*results).label == label


FRAME = result("rectanglelabels", "frame", {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["Coin"]})


@pytest.mark.parametrize(
    "results",
    [
        [],
        [FRAME],
        [result("textarea", "category", {"text": ["coin"]})],
        [brush(np.ones((HEIGHT, WIDTH), dtype=bool)), result("textarea", "category", {"text": ["coin"]})],
        [click(1, 1, to_name="other")],
        [result("videorectangle", "box", {"sequence": []})],
        [result("relation", "x", {})],
        [{"type": "relation", "from_id": "a", "to_id": "b"}],
    ],
    ids=["nothing", "not smart", "a word", "a word of a region", "another image", "video", "relation", "bare relation"],
)
def test_a_change_that_points_at_nothing_is_no_prompt(results):
    """Label Studio also asks when a word or a label of a region that exists is changed."""
    assert read(*results) is None


def test_a_captured_video_box_is_no_prompt():
    request = predict_request.parse((CAPTURES / "predict_video_box.json").read_bytes())
    assert request.is_about_video
    assert read_prompt(request.context, CONFIG, now=NOW, max_pixels=10**6) is None


def saved(minutes_ago: float, *ids: str) -> Saved:
    return Saved(frozenset(ids), NOW - timedelta(minutes=minutes_ago))


@pytest.mark.parametrize(
    ("given_", "stale"),
    [
        ({}, ()),
        ({"saved": [saved(60 * 24, "a")]}, ("a",)),
        ({"saved": [saved(9, "a")]}, ()),
        ({"saved": [saved(60, "a", "b"), saved(60, "other")]}, ("a", "b")),
        ({"saved": [saved(60, "a", "b", "c")]}, ("a", "b")),
        ({"saved": [saved(9, "a")], "stale_after": timedelta(minutes=5)}, ("a",)),
        ({"saved": [saved(1, "a", "b")], "known_stale": {"a"}}, ("a",)),
    ],
)
def test_a_drawing_left_over_from_earlier_work_does_not_count(given_, stale):
    """Yesterday's unanswered click comes back with the draft, and would pull today's mask to another object."""
    asked = read(click(1, 1, "a"), click(2, 2, "b"), click(3, 3, "c"), **given_)
    assert asked.stale_ids == stale
    assert asked.ids == tuple(id for id in "abc" if id not in stale)
    assert len(asked.prompt.points) == len(asked.ids)


def test_a_click_restored_from_a_draft_has_lost_its_sign():
    """A draft keeps clicks without `is_positive`: taken for positive, an old negative click would grow the mask."""
    restored = click(1, 1, "a")
    del restored["value"]["keypointlabels"]
    asked = read(restored, click(2, 2, "b"))
    assert (asked.ids, asked.stale_ids) == (("b",), ("a",))
    assert read(restored).ids == ("a",)


@given(st.floats(-50, 150), st.floats(-50, 150), st.floats(1, 90), st.floats(1, 90), st.floats(-360, 360))
def test_a_turned_box_is_read_by_its_bounding_box(x, y, width, height, rotation):
    """Label Studio turns clockwise round the top left corner, in pixels, not in percent."""
    corners = []
    for dx, dy in ((0, 0), (width, 0), (0, height), (width, height)):
        dx, dy, turn = dx * WIDTH / 100, dy * HEIGHT / 100, math.radians(rotation)
        corners.append(
            (
                x * WIDTH / 100 + dx * math.cos(turn) - dy * math.sin(turn),
                y * HEIGHT / 100 + dx * math.sin(turn) + dy * math.cos(turn),
            )
        )
    xs, ys = zip(*corners, strict=True)
    expected = max(min(xs), 0), max(min(ys), 0), min(max(xs), WIDTH), min(max(ys), HEIGHT)
    try:
        asked = read(box(x, y, width, height, rotation=rotation))
    except RequestError as refused:
        assert "outside of the image" in refused.message
        assert expected[2] - expected[0] < 1e-6 or expected[3] - expected[1] < 1e-6
        return
    assert asked.prompt.box == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ([click(101, 5)], r"`result\[0\].value.x` must be a number from 0 to 100, got 101"),
        ([click(5, -0.5)], r"`result\[0\].value.y` must be a number from 0 to 100, got -0.5"),
        ([click(float("nan"), 5)], "got NaN"),
        ([click(5, 1e308)], "got 1e"),
        ([click("5", 5)], 'got "5"'),
        ([click(5, 5) | {"value": None}], r"`result\[0\].value` must be an object, got nothing"),
        ([click(5, 5, id=7)], r"`result\[0\].id` must be a string, got 7"),
        ([click(5, 5, is_positive="yes")], 'is_positive` must be true or false, got "yes"'),
        ([click(5, 5, original_width=0)], "original_width` must be a whole number from 1"),
        ([click(5, 5, original_width=None)], "original_width` must be a whole number from 1 to [0-9]+, got nothing"),
        ([click(5, 5, original_width=10**6)], "more than the 1000000 that are read"),
        ([click(5, 5, image_rotation=90)], "turn it back"),
        ([click(5, 5), click(5, 5, "b", original_width=300)], "images of different sizes"),
        ([box(0, 0, 0, 5)], "empty or lies outside"),
        ([box(110, 0, 5, 5)], "empty or lies outside"),
        ([box(0, 0, -5, 5)], "value.width` must be a number from 0"),
        ([box(0, 0, 5, 5, rotation=1e9)], "value.rotation` must be"),
        ([brush(np.ones((3, 3), dtype=bool))], "holds 36 values, expected 320000"),
        ([result("brushlabels", "region", {"format": "png", "rle": []})], 'a list `rle`, and `format` "rle"'),
        ([result("brushlabels", "region", {"format": "rle", "rle": "abc"})], 'a list `rle`, and `format` "rle"'),
        ([click(5, 5, str(number)) for number in range(MAX_PROMPTS + 1)], "open prompts, more than the"),
        ([click(5, 5) | {"value": {"x": 5, "y": 5, "keypointlabels": "Coin"}}], "keypointlabels` must be a list"),
    ],
)
def test_a_damaged_drawing_says_where_and_what(results, says):
    with pytest.raises(BackendError, match=says) as refused:
        read(*results)
    assert 400 <= refused.value.status < 500


LEAVES = st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats() | st.sampled_from(["a", "rle", "image"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([click(5, 5), box(1, 1, 9, 9), brush(np.eye(HEIGHT, WIDTH, dtype=bool))]),
            st.sampled_from(["id", "type", "from_name", "to_name", "value", "is_positive", "original_width", "x"]),
            VALUES,
        ),
        max_size=3,
    )
)
def test_a_drawing_with_anything_put_in_ends_in_a_prompt_or_an_error_for_the_client(broken):
    results = [
        one | {"value": one["value"] | {key: value}} if key == "x" else one | {key: value} for one, key, value in broken
    ]
    try:
        read(*results)
    except BackendError as refused:
        assert 400 <= refused.status < 500


def test_words_given_to_an_open_click_do_not_make_it_a_region():
    """A tool that draws no regions draws prompts, whatever is written on them; words of others are not theirs."""
    word = result("textarea", "category", {"text": ["coin"]}, "a")
    asked = read(click(10, 50, "a"), word, result("textarea", "category", {"text": ["cup"]}, "b"))
    assert asked.ids == ("a",) and [each.value for each in asked.words] == [word]
