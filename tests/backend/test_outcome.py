"""What became of a suggestion is measured as documented, whatever tag held the mask and the words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend import labeling_config
from backend.annotations import CorrectedRegion, corrected_regions
from backend.answer import answer
from backend.masks import to_coco_rle
from backend.outcome import Outcome, WordChange, as_offered, compare, is_refined
from backend.suggestion import Suggestion
from backend.webhook_event import Annotation
from model.prompt import Box, Point
from model.region import Region, Words
from tests.backend.annotated_project import coin_masks, suggestion
from tests.backend.test_ledger import NOON

CONFIGS = Path(__file__).parents[2] / "label_config"
OPEN, CLOSED, POLYGON = (
    labeling_config.parse((CONFIGS / f"{name}.xml").read_text()) for name in ("image", "image_closed", "image_polygon")
)
COIN = coin_masks()[0]
WORDS = {"category": "coin", "explanation": "A coin is  money.\n", "caption": "A worn coin."}


def suggested(config=OPEN, mask: np.ndarray = COIN, **words: str) -> tuple[Suggestion, list[dict[str, Any]]]:
    """A suggestion as the backend makes it, and its results as Label Studio gets them."""
    said = WORDS | words
    region = Region(mask, 0.9, 0.9, Words(**said, log_probabilities={}), "nano-1")
    results = answer(region, config, "r1", None, 1.0)
    made = replace(suggestion("r1", mask), **said)
    return as_offered(made, results, config), results


def submitted(results: list[dict[str, Any]], config=OPEN) -> CorrectedRegion:
    annotation = Annotation(1, 1, 1, results, {"image": "/a.jpg"}, False, NOON, NOON)
    (region,) = corrected_regions(annotation, config, lambda _: None, 1_000_000)
    assert isinstance(region, CorrectedRegion)
    return region


@pytest.mark.parametrize("config", [OPEN, CLOSED, POLYGON], ids=["brush", "choices", "polygon"])
@pytest.mark.parametrize("category", ["coin", "Coins", "no word of any list"])
def test_what_is_submitted_untouched_was_accepted(config, category):
    """Neither a mask that became a polygon nor a word that no list holds may pass for a correction."""
    made, results = suggested(config, category=category)
    outcome = compare(submitted(results, config), made, config)
    assert (outcome.kind, outcome.mask_iou, outcome.boundary_distance) == ("accepted", 1.0, 0.0)
    assert all(change == WordChange(change.offered, change.offered, 0, 0, 0.0) for change in outcome.words.values())


def test_an_old_suggestion_is_compared_with_what_the_screen_must_have_shown():
    """Ledgers hold suggestions from before the screen's side was kept with them."""
    for config in (OPEN, CLOSED):
        for category in ("coin", "no word of any list"):
            made, results = suggested(config, category=category)
            old = replace(made, offered=None, offered_rle=None)
            assert compare(submitted(results, config), old, config).kind == "accepted"


def test_a_region_without_a_suggestion_was_drawn():
    _, results = suggested()
    assert compare(submitted(results), None, OPEN) == Outcome("drawn")


def test_changed_words_are_counted_in_letters_and_words():
    made, results = suggested()
    for result in results:
        if result["from_name"] == "caption":
            result["value"]["text"] = ["A worn silver coin."]
    results = [result for result in results if result["from_name"] != "explanation"]
    outcome = compare(submitted(results), made, OPEN)
    assert (outcome.kind, outcome.mask_iou) == ("corrected", 1.0)
    assert outcome.words == {
        "category": WordChange("coin", "coin", 0, 0, 0.0),
        "explanation": WordChange("A coin is money.", "", 16, 4, 1.0),
        "caption": WordChange("A worn coin.", "A worn silver coin.", 7, 1, pytest.approx(7 / 19)),
    }


def test_a_moved_mask_has_the_distance_that_it_was_moved_by():
    """Worked by hand: a square of 20 pixels moved by 3 overlaps in 17 of 23 columns."""
    before, after = np.zeros((2, 60, 80), dtype=bool)
    before[10:30, 10:30], after[10:30, 13:33] = True, True
    made, _ = suggested(mask=before)
    _, results = suggested(mask=after)
    outcome = compare(submitted(results), made, OPEN)
    assert outcome.kind == "corrected"
    assert outcome.mask_iou == pytest.approx(17 / 23)
    # Of 76 outline pixels, the 20 of the left side are 3 away, the next 2 x 2 along top and bottom 2 and 1, and the
    # right side lies inside the other: 14 pixels 3 from it, and towards its corners 2 x (2 + 1).
    assert outcome.boundary_distance == pytest.approx((20 * 3 + 2 * (2 + 1) + 14 * 3 + 2 * (2 + 1)) / 76)


def test_without_its_distance_an_outcome_is_the_same_otherwise():
    """Exports leave out what takes longest: nothing else may follow from that."""
    before, after = np.zeros((2, 60, 80), dtype=bool)
    before[10:30, 10:30], after[10:30, 13:33] = True, True
    made, _ = suggested(mask=before)
    _, results = suggested(mask=after)
    whole = compare(submitted(results), made, OPEN)
    assert compare(submitted(results), made, OPEN, with_distance=False) == replace(whole, boundary_distance=None)


def test_the_boundary_distance_is_that_of_the_paper():
    """Two one-pixel masks, and a thin line against its end: distances that need no program."""
    dot, other, line = np.zeros((3, 9, 40), dtype=bool)
    dot[4, 5], other[7, 9], line[4, 5:16] = True, True, True
    made, _ = suggested(mask=dot)
    for mask, distance in ((other, 5.0), (line, 5.0)):
        _, results = suggested(mask=mask)
        assert compare(submitted(results), made, OPEN).boundary_distance == pytest.approx(distance)


def test_masks_at_the_edge_have_an_outline_there():
    full, half = np.ones((20, 30), dtype=bool), np.ones((20, 30), dtype=bool)
    half[:, 15:] = False
    made, _ = suggested(mask=full)
    _, results = suggested(mask=half)
    outcome = compare(submitted(results), made, OPEN)
    assert outcome.mask_iou == 0.5
    assert outcome.boundary_distance is not None and 3 < outcome.boundary_distance < 8


def test_one_pixel_of_a_brush_is_a_correction_and_a_rounded_corner_of_a_polygon_is_none():
    made, _ = suggested()
    _, results = suggested(mask=touched(COIN))
    outcome = compare(submitted(results), made, OPEN)
    assert outcome.kind == "corrected" and 0.99 < outcome.mask_iou < 1

    made, results = suggested(POLYGON)
    (drawn,) = (result for result in results if result["type"] == "polygonlabels")
    drawn["value"]["points"] = [[round(x, 6), round(y, 6)] for x, y in drawn["value"]["points"]]
    assert compare(submitted(results, POLYGON), made, POLYGON).kind == "accepted"
    drawn["value"]["points"] = [[x + 5, y] for x, y in drawn["value"]["points"]]
    assert compare(submitted(results, POLYGON), made, POLYGON).kind == "corrected"


def touched(mask: np.ndarray) -> np.ndarray:
    changed = mask.copy()
    changed[0, 0] = True
    return changed


def test_a_suggestion_for_another_image_size_has_words_only():
    """The image was exchanged in between: masks of two sizes cannot be laid upon each other."""
    made, _ = suggested(mask=np.ones((10, 10), dtype=bool))
    _, results = suggested()
    outcome = compare(submitted(results), made, OPEN)
    assert (outcome.kind, outcome.mask_iou, outcome.boundary_distance) == ("corrected", None, None)
    assert outcome.words["category"].letters == 0


def test_an_empty_suggestion_can_be_compared():
    made = suggestion("r1", np.zeros_like(COIN))
    _, results = suggested()
    outcome = compare(submitted(results), made, OPEN)
    assert (outcome.kind, outcome.mask_iou, outcome.boundary_distance) == ("corrected", 0.0, None)


def test_what_was_offered_survives_the_ledgers_text():
    made, _ = suggested(POLYGON)
    assert made.offered_rle not in (None, to_coco_rle(COIN))
    assert Suggestion.from_json(made.to_json()) == made
    without = {key: value for key, value in made.__dict__.items() if not key.startswith("offered")}
    assert Suggestion(**without).offered is None


A, B, BOX, OTHER = Point(1.0, 1.0), Point(2.0, 2.0, False), Box(0.0, 0.0, 9.0, 9.0), Box(1.0, 0.0, 9.0, 9.0)


@pytest.mark.parametrize(
    ("earlier", "later", "expected"),
    [
        (((A,), None), ((A, B), None), True),
        (((A,), None), ((A,), BOX), True),
        (((), BOX), ((A,), BOX), True),
        (((A,), None), ((B,), None), False),
        (((A,), None), ((A,), None), False),
        (((A, B), None), ((A,), None), False),
        (((A,), BOX), ((A, B), OTHER), False),
    ],
)
def test_a_suggestion_is_refined_by_one_that_answers_its_clicks_and_more(earlier, later, expected):
    """Each click of a refinement makes a suggestion: those on the way are neither accepted nor rejected."""
    made, _ = suggested()
    first = replace(made, points=earlier[0], box=earlier[1])
    second = replace(made, points=later[0], box=later[1], created_at=made.created_at + timedelta(seconds=5))
    assert is_refined(first, second) is expected
    assert not is_refined(second, first)
