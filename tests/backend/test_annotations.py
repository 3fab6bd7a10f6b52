"""What an annotator submitted is read as it was meant: masks and words of every kind, prompts left aside."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.converter import brush

from backend.annotations import CorrectedRegion, LeftOut, corrected_regions
from backend.labeling_config import LabelingConfig, parse
from backend.masks import bounding_box, from_coco_rle, to_brush_rle, to_coco_rle, to_polygons
from backend.suggestion import Suggestion
from backend.webhook_event import Annotation, parse_webhook
from model.prompt import Box, Point

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
HEIGHT, WIDTH = 30, 40
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PROMPTS = """
<KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/></KeyPointLabels>
<RectangleLabels name="box" toName="image" smart="true"><Label value="Object"/></RectangleLabels>
<Image name="image" value="$photo"/>
<TextArea name="explanation" toName="image" perRegion="true"/>
<TextArea name="caption" toName="image" perRegion="true"/>
"""
BRUSH = '<BrushLabels name="region" toName="image"><Label value="Object"/></BrushLabels>'
TEXT = '<TextArea name="category" toName="image" perRegion="true"/>'
OPEN = parse(f"<View>{BRUSH}{TEXT}{PROMPTS}</View>")

mask_of_a_box = np.zeros((HEIGHT, WIDTH), dtype=bool)
mask_of_a_box[5:20, 10:30] = True


def config(output: str = BRUSH, category: str = TEXT) -> LabelingConfig:
    return parse(f"<View>{output}{category}{PROMPTS}</View>")


def result(from_name: str, type: str, value: dict, id: str = "r1", **more: Any) -> dict:
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"id": id, "from_name": from_name, "to_name": "image", "type": type, "value": value, **size, **more}


def brushed(mask: np.ndarray = mask_of_a_box, id: str = "r1", **more: Any) -> dict:
    value = {"format": "rle", "rle": to_brush_rle(mask), "brushlabels": ["Object"]}
    return result("region", "brushlabels", value, id, **more)


def polygon(points: Any, id: str = "r1", **more: Any) -> dict:
    value = {"points": points, "closed": True, "polygonlabels": ["Object"]}
    return result("region", "polygonlabels", value, id, **more)


def rectangle(x: float, y: float, width: float, height: float, rotation: float = 0, name: str = "region") -> dict:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": rotation, "rectanglelabels": ["Object"]}
    return result(name, "rectanglelabels", value)


def said(field: str, *texts: str, id: str = "r1") -> dict:
    return result(field, "textarea", {"text": list(texts)}, id)


def read(
    *results: Any, config: LabelingConfig = OPEN, suggestions: dict[str, Suggestion] | None = None
) -> list[CorrectedRegion | LeftOut]:
    by_region = suggestions or {}
    annotation = Annotation(8, 1, 5, list(results), {"photo": "/data/upload/1/coins.jpg"}, False, NOW, NOW)
    return list(corrected_regions(annotation, config, by_region.get, max_pixels=10_000))


def region(*results: Any, **named: Any) -> CorrectedRegion:
    (only,) = read(*results, **named)
    assert isinstance(only, CorrectedRegion), only
    return only


def reason(*results: Any, **named: Any) -> str:
    (only,) = read(*results, **named)
    assert isinstance(only, LeftOut)
    assert (only.task_id, only.annotation_id, only.region_id) == (5, 8, "r1")
    return only.reason


def suggestion(**changes: Any) -> Suggestion:
    return replace(
        Suggestion(
            region_id="r1", project_id=1, task_id=5, points=(Point(12.5, 7.25), Point(1, 1, False)),
            box=Box(9, 4, 31, 21), mask_rle=to_coco_rle(mask_of_a_box), height=HEIGHT, width=WIDTH, category="coin",
            explanation="", caption="", score=0.9, word_scores={}, model_version="nano-1",
            image_address="/data/upload/1/coins.jpg", image_sha256="0" * 64, seconds=0.1, created_at=NOW,
        ),
        **changes,
    )  # fmt: skip


@pytest.mark.parametrize("name, category", [("created", "coin"), ("updated", "ancient coin")])
def test_a_captured_annotation_is_one_region_with_all_its_words(name: str, category: str) -> None:
    """What the real Label Studio 1.23.2 sent when an accepted suggestion was submitted, and when it was corrected."""
    payload = json.loads((CAPTURES / f"webhook_annotation_{name}.json").read_text())
    (annotation,) = parse_webhook(payload["action"], payload).changed
    config = parse(payload["project"]["label_config"])
    (only,) = corrected_regions(annotation, config, lambda _: None, max_pixels=1_000_000)
    assert isinstance(only, CorrectedRegion)
    assert only.words == {
        "category": category,
        "explanation": "A coin is a small disc of metal used as money.",
        "caption": "A worn silver coin lying on a dark cloth.",
    }
    decoded = brush.decode_rle(payload["annotation"]["result"][0]["value"]["rle"]).reshape(303, 384, 4)[:, :, 3] > 0
    assert (only.mask == decoded).all() and only.mask.any()
    assert (only.region_id, only.annotation_id, only.task_id, only.project_id) == ("795a45ab5c", 1, 3, 3)
    assert only.image_address == "/data/upload/3/26cbde61-coins.jpg"
    assert (only.points, only.box, only.model_version) == ((), None, None)


def test_the_region_id_leads_back_to_the_prompt() -> None:
    """Label Studio keeps nothing of a click: the ledger's suggestion is the only place that knows it."""
    found = region(brushed(), suggestions={"r1": suggestion()})
    assert found.points == (Point(12.5, 7.25), Point(1, 1, False))
    assert found.box == Box(9, 4, 31, 21)
    assert found.model_version == "nano-1"


def test_clicks_on_an_image_of_another_size_are_not_taken_over() -> None:
    """Somebody exchanged the file behind the address: the clicks would lie anywhere."""
    found = region(brushed(), suggestions={"r1": suggestion(height=HEIGHT * 2)})
    assert (found.points, found.box, found.model_version) == ((), None, "nano-1")


def test_a_brush_with_a_soft_edge_and_colour_is_read_by_its_alpha() -> None:
    """A mask mended on the canvas comes back with the label's colour and an antialiased edge."""
    rgba = np.zeros((HEIGHT, WIDTH, 4), dtype=np.uint8)
    rgba[5:20, 10:30] = (255, 163, 158, 255)
    rgba[4, 10:30] = (255, 163, 158, 40)
    rgba[20, 10:30] = (255, 163, 158, 200)
    value = {"format": "rle", "rle": brush.encode_rle(rgba.ravel()), "brushlabels": ["Object"]}
    expected = mask_of_a_box.copy()
    expected[20, 10:30] = True
    assert (region(result("region", "brushlabels", value)).mask == expected).all()


MASKS = st.integers(0, (1 << 48) - 1).map(
    lambda bits: np.kron(np.array([bits >> i & 1 for i in range(48)], dtype=bool).reshape(6, 8), np.ones((5, 5), bool))
)


@settings(max_examples=60, deadline=None)
@given(mask=MASKS.filter(np.any), kind=st.sampled_from(["brush", "polygon"]))
def test_any_mask_comes_back_the_same(mask: np.ndarray, kind: str) -> None:
    """Holes, corners that touch and several parts survive the way to Label Studio, back, and on into COCO."""
    if kind == "brush":
        results = [brushed(mask)]
    else:
        results = [polygon((ring / (WIDTH, HEIGHT) * 100).tolist()) for ring in to_polygons(mask, 0)]
    found = region(*results, config=OPEN).mask
    assert found.dtype == bool and (found == mask).all()
    assert (from_coco_rle(to_coco_rle(found), HEIGHT, WIDTH) == mask).all()


def test_a_rectangle_covers_its_pixels() -> None:
    """With RectangleLabels as output the mask's bounding box goes out, and must come back to the pixel."""
    box = bounding_box(mask_of_a_box)
    percent = [value / side * 100 for value, side in zip(box, (WIDTH, HEIGHT) * 2, strict=True)]
    output = '<RectangleLabels name="region" toName="image"><Label value="Object"/></RectangleLabels>'
    x, y, width, height = percent[0], percent[1], percent[2] - percent[0], percent[3] - percent[1]
    found = region(rectangle(x, y, width, height), config=config(output))
    assert (found.mask == mask_of_a_box).all()


def test_a_turned_rectangle_turns_in_pixels_about_its_corner() -> None:
    """In percent the two axes differ in scale: turning there would shear the rectangle."""
    output = '<RectangleLabels name="region" toName="image"><Label value="Object"/></RectangleLabels>'
    found = region(rectangle(75, 20, 25, 50, rotation=90), config=config(output))  # 10 x 15 pixels from (30, 6)
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    expected[6:16, 15:30] = True
    assert (found.mask == expected).all()


def test_prompts_that_stayed_are_no_regions() -> None:
    """An unanswered click or smart box stays in the annotation as a region; it must not become training data."""
    click = result("point", "keypointlabels", {"x": 50, "y": 50, "width": 1, "keypointlabels": ["Object"]}, "stale")
    relation = {"type": "relation", "from_id": "r1", "to_id": "stale", "direction": "right"}
    assert region(click, relation, rectangle(0, 0, 50, 50, name="box") | {"id": "b"}, brushed()).region_id == "r1"


def test_a_tag_that_left_the_config_still_holds_masks() -> None:
    """Renaming the brush tag in a running project must not lose what was drawn before."""
    assert region(brushed() | {"from_name": "old_name"}).mask.sum() == mask_of_a_box.sum()


CHOICES = """<Choices name="category" toName="image" perRegion="true">
<Choice value="A coin" alias="coin"/><Choice value="cup"/></Choices>"""
TAXONOMY = """<Taxonomy name="category" toName="image" perRegion="true"><Choice value="animal">
<Choice value="cat"/><Choice value="dog" alias="d"/></Choice></Taxonomy>"""
LABELS = '<BrushLabels name="region" toName="image"><Label value="coin"/><Label value="cup" alias="c"/></BrushLabels>'


@pytest.mark.parametrize(
    "output, field, value, expected",
    [
        (BRUSH, TEXT, said("category", "a", " b\n c "), "a b c"),
        (BRUSH, TEXT, result("category", "textarea", {"text": "alone"}), "alone"),
        (BRUSH, TEXT, result("category", "textarea", {"text": ["\ud800", 7, None, "x"]}), "? x"),
        (BRUSH, TEXT, said("category"), ""),
        (BRUSH, TEXT, said("caption", "elsewhere"), ""),
        (BRUSH, CHOICES, result("category", "choices", {"choices": ["cup"]}), "cup"),
        (BRUSH, CHOICES, result("category", "choices", {"choices": ["coin", "cup"]}), "A coin, cup"),
        (BRUSH, CHOICES, result("category", "choices", {"choices": ["typed in"]}), "typed in"),
        (BRUSH, TAXONOMY, result("category", "taxonomy", {"taxonomy": [["animal", "cat"]]}), "cat"),
        (BRUSH, TAXONOMY, result("category", "taxonomy", {"taxonomy": [["animal", "d"], ["animal"]]}), "dog, animal"),
        (BRUSH, TAXONOMY, result("category", "taxonomy", {"taxonomy": [["other", "horse"], [], "x"]}), "horse, x"),
        (LABELS, "", brushed() | {"value": brushed()["value"] | {"brushlabels": ["coin"]}}, "coin"),
        (LABELS, "", brushed() | {"value": brushed()["value"] | {"brushlabels": ["c"]}}, "cup"),
        (BRUSH, CHOICES, result("category", "choices", {"choices": {"odd": 1}}), ""),
    ],
)  # fmt: skip
def test_the_category_is_read_from_its_field(output: str, field: str, value: dict, expected: str) -> None:
    """One category, four ways to say it; of an option it is the name on the screen that a model should learn."""
    results = [value] if value["type"] == "brushlabels" else [brushed(), value]
    assert region(*results, config=config(output, field)).words["category"] == expected


def test_words_of_one_region_do_not_reach_another() -> None:
    """Several objects in one annotation is the common case."""
    other = np.roll(mask_of_a_box, 5, axis=1)
    first, second = read(
        brushed(id="a"), said("caption", "first", id="a"), said("caption", "second", id="b"), brushed(other, id="b")
    )
    assert isinstance(first, CorrectedRegion) and isinstance(second, CorrectedRegion)
    assert (first.words["caption"], second.words["caption"]) == ("first", "second")
    assert (second.mask == other).all()


ROWS = f"`result[0].original_height` must be a whole number from 1 to {2**63 - 1}, got nothing"


@pytest.mark.parametrize(
    "results, expected",
    [
        ([said("caption", "words only")], "the region has words but no mask"),
        ([brushed(np.zeros((HEIGHT, WIDTH), bool))], "its mask is empty"),
        ([result("region", "brushlabels", {"rle": "AAAA"})], "it needs a list `rle`"),
        ([result("region", "brushlabels", {"rle": [0.5, None]})], "the brush RLE must be a list of whole numbers"),
        ([result("region", "brushlabels", {})], "it needs a list `rle`"),
        ([brushed() | {"value": None}], "`result[0].value` must be an object"),
        ([brushed(np.ones((4, 4), bool))], "the brush RLE holds 64 values, expected 4800"),
        ([brushed(original_width=1 << 40)], f"it is said to lie on {1 << 40} x 30 pixels, more than the 10000"),
        ([brushed(original_width="40")], "`result[0].original_width` must be a whole number"),
        ([brushed(original_height=None)], ROWS),
        ([brushed(), brushed(original_height=31)], "its parts disagree about the size"),
        ([brushed(image_rotation=90)], "drawn on a turned view"),
        ([polygon([[0, 0], [1, 1]])], "a polygon needs three or more finite points"),
        ([polygon([[0, 0], [1, float("nan")], [2, 2]])], "`result[0].value.points[1][1]` must be a number"),
        ([polygon([[0, 0], 1, [2, 2]])], "`result[0].value.points[1]` must be a list"),
        ([polygon([[0, 0], [1], [2, 2]])], "`result[0].value.points[1]` must hold x and y"),
        ([polygon([])], "a polygon needs three or more"),
        ([polygon(7)], "`result[0].value.points` must be a list"),
        ([polygon([[-9, -9], [-8, -9], [-8, -8]])], "its mask is empty"),
        ([rectangle(0, 0, 10, 10, rotation=float("inf"))], "`result[0].value.rotation` must be a number"),
    ],
)
def test_a_region_that_cannot_be_read_is_reported_and_the_next_is_not_lost(results: list, expected: str) -> None:
    """One broken region must cost neither the export nor its neighbours, and nobody may wonder where it went."""
    assert expected in reason(*results)
    broken, whole = read(*results, brushed(id="whole"))
    assert isinstance(broken, LeftOut)
    assert isinstance(whole, CorrectedRegion) and whole.region_id == "whole"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "rle", "points", "text"]), inner),
    max_leaves=5,
)
TYPES = st.sampled_from(["brushlabels", "polygonlabels", "rectanglelabels"])


@settings(max_examples=100, deadline=None)
@given(
    rubbish=st.lists(
        st.fixed_dictionaries(
            {"id": st.just("z") | JSON, "type": TYPES | JSON},
            optional={"value": JSON, "from_name": JSON, "original_width": JSON, "original_height": JSON},
        )
        | JSON,
        max_size=4,
    )
)
def test_no_result_list_breaks_the_reader(rubbish: list) -> None:
    """Annotations can be imported and edited through the API: anything may stand in them."""
    *_, whole = read(*rubbish, brushed())
    assert isinstance(whole, CorrectedRegion)
