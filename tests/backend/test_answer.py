"""A region goes into whatever tags a config has, in the form that Label Studio accepts, and comes back out of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface
from label_studio_sdk.label_interface.objects import PredictionValue

from backend import labeling_config, masks
from backend.answer import answer, new_region_id
from model.region import FIELDS, Region, Words

WORDS = Words("coin", "A disc of metal used as money.", "A worn silver coin on dark cloth.", {})
POINT = '<KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/></KeyPointLabels>'
TEXTS = "".join(f'<TextArea name="{field}" toName="image" perRegion="true"/>' for field in FIELDS)
BRUSH = '<BrushLabels name="region" toName="image"><Label value="Object"/></BrushLabels>'


def view(*tags: str) -> str:
    return f'<View>{"".join(tags)}<Image name="image" value="$image"/></View>'


def closed(tag: str, *options: str) -> str:
    item = "Label" if "Labels" in tag else "Choice"
    inside = "".join(f'<{item} value="{option}"/>' for option in options)
    return f'<{tag} name="category" toName="image" perRegion="true">{inside}</{tag}>'


def region(category: str = "coin", words: Words | None = None) -> Region:
    """A ring and a dot beside it: a hole and a second part."""
    y, x = np.mgrid[:60, :90]
    away = np.hypot(y - 30, x - 30)
    mask = ((away < 22) & (away > 9)) | (np.hypot(y - 40, x - 75) < 6)
    return Region(mask, 0.87654321, 0.99, words or Words(category, *list(WORDS.__dict__.values())[1:]), "nano-1")


def answered(xml: str, category: str = "coin", label: str | None = None, tolerance: float = 0.0) -> list[dict]:
    results = answer(region(category), labeling_config.parse(xml), "id-1", label, tolerance)
    errors = LabelInterface(xml).validate_prediction(
        PredictionValue(result=json.loads(json.dumps(results)), score=0.8).model_dump(), return_errors=True
    )
    assert errors == [], "Label Studio's own check refuses the answer"
    return results


def value_of(results: list[dict], name: str) -> dict | None:
    return next((result["value"] for result in results if result["from_name"] == name), None)


def test_a_mask_and_its_words_share_one_id():
    results = answered(view(POINT, BRUSH, TEXTS))
    assert [result["type"] for result in results] == ["brushlabels", "textarea", "textarea", "textarea"]
    shared = {"id": "id-1", "to_name": "image", "original_width": 90, "original_height": 60, "image_rotation": 0}
    assert all(result | shared == result for result in results)
    assert results[0]["score"] == 0.8765
    assert results[0]["value"]["brushlabels"] == ["Object"]
    assert value_of(results, "category") == {"text": ["coin"]}
    assert value_of(results, "explanation") == {"text": [WORDS.explanation]}
    assert value_of(results, "caption") == {"text": [WORDS.caption]}


@pytest.mark.parametrize("tag", ["BrushLabels", "Brush"])
def test_a_brush_gets_the_very_mask(tag):
    results = answered(view(POINT, BRUSH.replace("BrushLabels", tag), TEXTS))
    assert results[0]["type"] == tag.lower()
    value = results[0]["value"]
    assert value["format"] == "rle" and ("brushlabels" in value) == (tag == "BrushLabels")
    assert np.array_equal(masks.from_brush_rle(value["rle"], 60, 90), region().mask)


@pytest.mark.parametrize("tag", ["PolygonLabels", "Polygon"])
def test_a_polygon_keeps_hole_and_second_part_in_one_region(tag):
    results = answered(view(POINT, BRUSH.replace("BrushLabels", tag), TEXTS))
    assert [result["type"] for result in results] == [tag.lower(), "textarea", "textarea", "textarea"]
    points = np.array(results[0]["value"]["points"])
    assert results[0]["value"]["closed"] and points.min() >= 0 and points.max() <= 100
    back = masks.from_polygons([points * (90 / 100, 60 / 100)], 60, 90)
    assert np.array_equal(back, region().mask)


def test_a_simpler_polygon_has_fewer_points():
    xml = view(POINT, BRUSH.replace("BrushLabels", "PolygonLabels"))
    simple, exact = (len(answered(xml, tolerance=t)[0]["value"]["points"]) for t in (1.0, 0.0))
    assert simple < exact / 3


@pytest.mark.parametrize("tag", ["RectangleLabels", "Rectangle"])
def test_a_rectangle_gets_the_box_round_the_mask(tag):
    value = answered(view(POINT, BRUSH.replace("BrushLabels", tag), TEXTS))[0]["value"]
    box = masks.bounding_box(region().mask)
    assert value["rotation"] == 0
    assert (value["x"] * 0.9, value["y"] * 0.6) == pytest.approx((box.x0, box.y0))
    assert (value["width"] * 0.9, value["height"] * 0.6) == pytest.approx((box.x1 - box.x0, box.y1 - box.y0))


MATCHES = [
    ("coin", ["Cat", "Coin"], "Coin"),
    ("Coin", ["coin", "Coin"], "Coin"),
    ("COIN", ["coin", "Coin"], None),
    ("coins", ["Cat", "Coin"], "Coin"),
    ("coin", ["Coins"], "Coins"),
    ("a coin.", ["Coin"], "Coin"),
    ("traffic light", ["Traffic_Light"], "Traffic_Light"),
    ("traffic-lights", ["traffic light"], "traffic light"),
    ("berries", ["Berry"], "Berry"),
    ("boxes", ["Box"], "Box"),
    ("benches", ["Bench"], "Bench"),
    ("glass", ["Glass", "Glas"], "Glass"),
    ("bus", ["Bu", "Bus"], "Bus"),
    ("silver coin", ["Coin"], None),
    ("cat", ["Caterpillar"], None),
    ("", ["Coin"], None),
    ("...", ["!!!"], None),
    ("ship", ["Ships", "ships!"], None),
]


@pytest.mark.parametrize(("said", "options", "expected"), MATCHES)
def test_a_category_is_matched_to_a_closed_list_or_left_open(said, options, expected):
    """A word that the list does not hold must never be sent: Label Studio would drop it without a trace."""
    results = answered(view(POINT, BRUSH, closed("Choices", *options)), said)
    assert value_of(results, "category") == (None if expected is None else {"choices": [expected]})


def test_a_taxonomy_gets_the_path_and_a_name_that_stands_twice_is_left_open():
    tree = (
        '<Taxonomy name="category" toName="image" perRegion="true"><Choice value="Thing"><Choice value="Coin"/>'
        '<Choice value="Bank"/></Choice><Choice value="Place"><Choice value="Bank"/></Choice></Taxonomy>'
    )
    xml = view(POINT, BRUSH, tree)
    assert value_of(answered(xml, "coins"), "category") == {"taxonomy": [["Thing", "Coin"]]}
    assert value_of(answered(xml, "bank"), "category") is None


def test_an_alias_is_written_where_its_name_is_said():
    choices = closed("Choices", "Coin").replace("/>", ' alias="c1"/>', 1)
    assert value_of(answered(view(POINT, BRUSH, choices), "coin"), "category") == {"choices": ["c1"]}


TOOL = POINT.replace('<Label value="Object"/>', '<Label value="Coin"/><Label value="Cat"/>')
SEVERAL = BRUSH.replace('<Label value="Object"/>', '<Label value="Coin"/><Label value="Cat"/>')


@pytest.mark.parametrize(
    ("tags", "said", "pointed_with", "label"),
    [
        ([POINT, SEVERAL], "coin", "Object", ["Coin"]),
        ([POINT, SEVERAL], "dog", "Object", []),
        ([TOOL, SEVERAL], "coin", "Cat", ["Cat"]),
        ([TOOL.replace('<Label value="Cat"/>', ""), SEVERAL], "cat", "Coin", ["Cat"]),
        ([TOOL.replace('<Label value="Cat"/>', ""), SEVERAL], "dog", "Coin", ["Coin"]),
        ([POINT, SEVERAL, TEXTS], "coin", "Object", ["Coin"]),
        ([POINT, BRUSH], "coin", None, ["Object"]),
        ([POINT, BRUSH], "coin", "Elsewhere", ["Object"]),
    ],
)
def test_the_label_is_the_annotators_choice_or_the_models_word(tags, said, pointed_with, label):
    assert answered(view(*tags), said, pointed_with)[0]["value"]["brushlabels"] == label


def test_words_that_the_model_left_empty_are_left_out():
    silent = region(words=Words(" ", "", "A coin.", {}))
    results = answer(silent, labeling_config.parse(view(POINT, BRUSH, TEXTS)), "id-1", None, 1.0)
    assert [result["from_name"] for result in results] == ["region", "caption"]


def test_an_empty_mask_is_no_region():
    nothing = Region(np.zeros((5, 5), dtype=bool), 0.1, 0.9, WORDS, "nano-1")
    assert answer(nothing, labeling_config.parse(view(POINT, BRUSH, TEXTS)), "id-1", None, 1.0) == []


def test_ids_do_not_collide_and_are_not_short():
    """Four characters of an id, as some backends cut them, collide within a day's work."""
    ids = {new_region_id() for _ in range(10_000)}
    assert len(ids) == 10_000 and all(len(id) == 12 and id.isalnum() for id in ids)


@given(st.text(max_size=20), st.lists(st.text("abcs e_-", min_size=1, max_size=6), min_size=2, max_size=5, unique=True))
def test_whatever_the_model_says_stays_inside_the_list(said, options):
    config = labeling_config.parse(view(POINT, BRUSH, closed("Choices", *options)))
    allowed = {option for (option,) in config.words["category"].options}
    value = value_of(answer(region(said), config, "id-1", None, 1.0), "category")
    assert value is None or set(value["choices"]) <= allowed
