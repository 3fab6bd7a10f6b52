"""Words follow the human: a category that an annotator gives is met by words that fit it, and theirs stay."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from flask.testing import FlaskClient

from backend.annotations import corrected_regions
from backend.app import create_app
from backend.assembly import Backend
from backend.labeling_config import parse
from backend.masks import from_brush_rle
from backend.outcome import compare, is_outdated
from backend.settle import settle_outcomes
from tests.backend.conftest import Photos, capture, ready
from tests.backend.memory.test_memory import COINS, Annotator, text

CONFIG = capture("predict_1_click")["label_config"]
CLOSED = CONFIG.replace(
    '<TextArea name="category" toName="image" perRegion="true" editable="true" maxSubmissions="1" rows="1"/>',
    '<Choices name="category" toName="image" perRegion="true"><Choice value="coin" alias="c1"/><Choice value="cup"/>'
    "</Choices>",
)

COIN = (215, 51)
"""One that nano takes for a coin, in all of its words."""


@pytest.fixture
def annotator(client: FlaskClient, photos: Photos, coins: bytes) -> Annotator:
    return Annotator(client, photos, coins)


def ask(annotator: Annotator, results: list[dict[str, Any]], config: str = CONFIG) -> list[dict[str, Any]]:
    """What comes back for a context with these results."""
    request = copy.deepcopy(capture("predict_1_click"))
    request |= {"project": f"{annotator.project}.1", "label_config": config}
    request["params"]["context"]["result"] = results
    response = annotator.client.post("/predict", json=request)
    assert response.status_code == 200, response.json
    return response.json["results"]


def drawn(x: float, y: float) -> dict[str, Any]:
    (click,) = copy.deepcopy(capture("predict_1_click"))["params"]["context"]["result"]
    return click | {"value": click["value"] | {"x": 100 * x / 384, "y": 100 * y / 303}}


def said(click: dict[str, Any], field: str, text: str) -> dict[str, Any]:
    """What Label Studio adds to the context when an annotator fills in a field of an open click."""
    return click | {"from_name": field, "type": "textarea", "value": click["value"] | {"text": [text]}}


def changed(prediction: dict[str, Any], **words: str) -> list[dict[str, Any]]:
    """The results of an accepted region, some of its words replaced; "" takes one out."""
    results = copy.deepcopy(prediction["result"])
    for result in results:
        if result["from_name"] in words:
            result["value"]["text"] = [words[result["from_name"]]]
    return [result for result in results if result["value"].get("text") != [""]]


def test_a_category_given_to_an_open_click_stands(annotator: Annotator, backend: Backend):
    """Label Studio sends the click again with the category: the suggestion comes back with it, and words that fit."""
    first = annotator.click(*COIN)
    click = drawn(*COIN)
    (second,) = ask(annotator, [click, said(click, "category", "silver medal")])
    assert text(second, "category") == "silver medal"
    assert text(second, "explanation") not in ("", text(first, "explanation"))
    assert "silver medal" in text(second, "caption") and "coin" not in text(second, "caption")
    assert second["sources"]["category"] == "annotator"
    kept = backend.ledger.suggestion(second["result"][0]["id"])
    assert kept and kept.category == "silver medal" and kept.offered["category"] == "silver medal"


def test_what_is_written_on_an_open_click_is_not_overwritten(annotator: Annotator):
    """An explanation of the annotator's own comes back as it was written, whatever the model would say."""
    click = drawn(*COIN)
    (prediction,) = ask(annotator, [click, said(click, "explanation", "Old  money."), said(click, "category", "medal")])
    assert text(prediction, "explanation") == "Old  money." and text(prediction, "category") == "medal"
    (prediction,) = ask(annotator, [click, said(click, "caption", "Mine.")])
    assert text(prediction, "caption") == "Mine." and text(prediction, "category") == "coin"


def test_what_was_written_before_it_was_offered_is_the_annotators(annotator: Annotator, backend: Backend):
    """An explanation given on the open click, accepted, then another category: it stays on the screen, in memory and in
    the data set."""
    click = drawn(*COIN)
    (offered,) = ask(annotator, [click, said(click, "explanation", "Mine, by hand.")])
    (again,) = ask(annotator, changed(offered, category="silver medal"))
    assert text(again, "explanation") == "Mine, by hand." and "silver medal" in text(again, "caption")
    annotator.submit(offered, 1, "silver medal", "Mine, by hand.")
    (annotation,) = backend.ledger.annotations_of_task(3, 3)
    (region,) = corrected_regions(annotation, parse(CONFIG), backend.ledger.suggestion, 10**7)
    assert not is_outdated("explanation", region.words, backend.ledger.suggestion(region.region_id))
    assert text(annotator.click(*COINS[1]), "explanation") == "Mine, by hand."


def test_what_cannot_be_said_keeps_no_other_region_waiting(annotator: Annotator):
    """Eight regions with names that no model can say come first in the context: the ninth is redone all the same."""
    prediction = annotator.click(*COIN)
    context: list[dict[str, Any]] = []
    for number in range(8):
        odd = changed(prediction, category="x" * 300, explanation="", caption="")
        context += [result | {"id": f"odd{number}"} for result in odd]
    (answer,) = ask(annotator, context + changed(prediction, category="silver medal"))
    assert "silver medal" in text(answer, "caption")


def test_a_given_option_of_a_closed_list_comes_back_as_it_is_written(annotator: Annotator):
    """An option may be an alias: the screen knows it by that."""
    assert CLOSED != CONFIG
    click = drawn(*COIN)
    chosen = click | {"from_name": "category", "type": "choices", "value": click["value"] | {"choices": ["cup"]}}
    (prediction,) = ask(annotator, [click, chosen], CLOSED)
    (category,) = (r for r in prediction["result"] if r["from_name"] == "category")
    assert category["type"] == "choices" and category["value"] == {"choices": ["cup"]}
    assert "cup" in text(prediction, "caption")


@pytest.mark.parametrize("category", ["x" * 10_000, "<|im_end|>", "<image>"])
def test_a_category_that_no_model_can_say_stands_alone(annotator: Annotator, category: str):
    """Too long, or a control token: it stays the annotator's, and no explanation of another category comes with it."""
    click = drawn(*COIN)
    (prediction,) = ask(annotator, [click, said(click, "category", category)])
    assert text(prediction, "category") == category
    assert not [r for r in prediction["result"] if r["from_name"] == "explanation"]


@pytest.mark.parametrize("value", [None, 5, [], [5], [""], {"a": 1}, ["  "]])
def test_a_field_that_holds_no_text_says_nothing(annotator: Annotator, value: object):
    """Whatever stands there, the model speaks for itself."""
    click = drawn(*COIN)
    damaged = said(click, "category", "") | {"value": {"text": value}}
    (prediction,) = ask(annotator, [click, damaged])
    assert text(prediction, "category") == "coin"


def test_a_changed_region_is_reworded_under_its_id(annotator: Annotator, backend: Backend):
    """Its mask and its category come back as they came; explanation and caption are redone, in the ledger too."""
    first = annotator.click(*COIN)
    context = changed(first, category="silver medal")
    (prediction,) = ask(annotator, context)
    assert {r["id"] for r in prediction["result"]} == {first["result"][0]["id"]}
    assert prediction["result"][0] == context[0], "the mask is the annotator's"
    assert text(prediction, "category") == "silver medal"
    assert text(prediction, "explanation") != text(first, "explanation")
    assert "silver medal" in text(prediction, "caption")
    assert ask(annotator, prediction["result"]) == [], "what was just redone fits"

    config = parse(CONFIG)
    annotator.tell("ANNOTATION_CREATED", 1, prediction["result"])
    (annotation,) = backend.ledger.annotations_of_task(3, 3)
    suggestion = backend.ledger.suggestion(first["result"][0]["id"])
    (region,) = corrected_regions(annotation, config, backend.ledger.suggestion, 10**7)
    words = compare(region, suggestion, config).words
    assert {name for name, change in words.items() if change.letters} == {"category"}
    assert not any(is_outdated(name, region.words, suggestion) for name in words), "they are of the new category"
    settle_outcomes(3, backend.ledger, config, 10**7)
    (row,) = backend.ledger.outcomes.all(3)
    assert row.words["explanation"] == 0 and row.words["category"] > 0


def test_a_second_change_of_mind_is_followed(annotator: Annotator):
    """What was redone is as untouched as what was suggested first; back at the first category, it is redone again."""
    first = annotator.click(*COIN)
    for category in ("silver medal", "cup", "coin"):
        (prediction,) = ask(annotator, changed(first, category=category))
        assert text(prediction, "category") == category and category in text(prediction, "caption")
        first = prediction


@pytest.mark.parametrize(
    ("touched", "redone"),
    [
        ({"explanation": "Mine."}, "caption"),
        ({"caption": "Mine."}, "explanation"),
        ({"caption": ""}, "explanation"),
    ],
)
def test_a_field_that_the_human_touched_is_not_overwritten(annotator: Annotator, touched: dict[str, str], redone: str):
    """Written or taken out, it is theirs."""
    first = annotator.click(*COIN)
    (prediction,) = ask(annotator, changed(first, category="silver medal", **touched))
    assert text(prediction, redone) != text(first, redone)
    ((field, own),) = touched.items()
    assert [r["value"]["text"][0] for r in prediction["result"] if r["from_name"] == field] == ([own] if own else [])


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"category": "Coin."},
        {"category": ""},
        {"caption": "Mine."},
        {"category": "medal", "explanation": "Mine.", "caption": "Mine too."},
        {"category": "x" * 10_000},
    ],
    ids=["nothing", "the same category", "no category", "another field", "all fields", "a category too long to say"],
)
def test_nothing_is_redone_without_a_reason(annotator: Annotator, words: dict[str, str]):
    """No answer leaves the screen as it is."""
    first = annotator.click(*COIN)
    assert ask(annotator, changed(first, **words)) == []


def test_an_explanation_that_annotators_settled_on_comes_first(annotator: Annotator):
    """Memory's explanation of the category, not the model's guess at it."""
    annotator.submit(annotator.click(*COIN), 1, "tetradrachm", explanation="A coin of four drachmas.")
    (other,) = ask(annotator, changed(annotator.click(*COINS[1]), category="cup"))
    (prediction,) = ask(annotator, changed(other, category="Tetradrachm", caption="A coin."))
    assert text(prediction, "explanation") == "A coin of four drachmas."
    assert prediction["sources"]["explanation"] == "memory"


def test_a_region_drawn_by_hand_is_worded(annotator: Annotator):
    """It has no suggestion: its mask is in the context, and its empty fields are filled; they follow again, too."""
    first = annotator.click(*COIN)
    by_hand = [result | {"id": "byhand"} for result in changed(first, explanation="", caption="")]
    (prediction,) = ask(annotator, by_hand)
    assert text(prediction, "category") == "coin" and text(prediction, "explanation") and text(prediction, "caption")
    (again,) = ask(annotator, changed(prediction, category="silver medal"))
    assert text(again, "explanation") != text(prediction, "explanation")


def test_a_region_of_another_task_is_not_this_one(annotator: Annotator, backend: Backend):
    """An id says nothing of where a region belongs: the ledger's line of another project stays as it is."""
    first = annotator.click(*COIN)
    before = backend.ledger.suggestion(first["result"][0]["id"])
    annotator.project = 4
    ask(annotator, changed(first, category="silver medal"))
    assert backend.ledger.suggestion(first["result"][0]["id"]) == before


def test_polygons_are_followed(client: FlaskClient, photos: Photos, coins: bytes):
    """The corners come back as they came."""
    polygons = CONFIG.replace("BrushLabels", "PolygonLabels")
    annotator = Annotator(client, photos, coins)
    (first,) = ask(annotator, [drawn(*COIN)], polygons)
    assert first["result"][0]["type"] == "polygonlabels"
    (prediction,) = ask(annotator, changed(first, category="silver medal"), polygons)
    assert prediction["result"][0] == first["result"][0]
    assert text(prediction, "explanation") != text(first, "explanation")


def test_a_label_that_is_the_category_is_followed(annotator: Annotator):
    """Without a field for it, the category is the label of the mask."""
    config = CLOSED[: CLOSED.index("<Choices")] + CLOSED[CLOSED.index("</Choices>") + 10 :]
    brush = CONFIG[CONFIG.index("<BrushLabels") : CONFIG.index("</BrushLabels>")]
    config = config.replace(brush, brush.split("<Label")[0] + '<Label value="coin"/><Label value="cup"/>')
    (first,) = ask(annotator, [drawn(*COIN)], config)
    mask = first["result"][0]
    assert mask["value"]["brushlabels"] == ["coin"]
    context = [mask | {"value": mask["value"] | {"brushlabels": ["cup"]}}, *first["result"][1:]]
    (prediction,) = ask(annotator, context, config)
    assert prediction["result"][0] == context[0]
    assert text(prediction, "explanation") != text(first, "explanation") and "cup" in text(prediction, "caption")


def test_a_region_of_another_image_is_refused(annotator: Annotator):
    """The image behind the address was exchanged: words about another place would be made up."""
    first = annotator.click(*COIN)
    other = [r | {"original_width": 303, "original_height": 384} for r in changed(first, category="silver medal")]
    request = copy.deepcopy(capture("predict_1_click")) | {"project": "3.1"}
    request["params"]["context"]["result"] = other
    response = annotator.client.post("/predict", json=request)
    assert response.status_code >= 400 and response.json["error"]["code"] in ("bad_mask", "image_changed")


def test_without_memory_the_model_explains(make_backend, photos: Photos, coins: bytes):
    """`memory=false`: words follow all the same."""
    client = create_app(ready(make_backend(memory=False))).test_client()
    annotator = Annotator(client, photos, coins)
    first = annotator.click(*COIN)
    (prediction,) = ask(annotator, changed(first, category="cup"))
    assert text(prediction, "explanation") != text(first, "explanation")
    assert from_brush_rle(prediction["result"][0]["value"]["rle"], 303, 384).any()
