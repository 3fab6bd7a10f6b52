"""The benchmark of words: what counts as right, as unknown and as wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import model
from benchmarks import words
from benchmarks.segment.targets import Set, Target, targets
from model.training.photographs import VIEWS
from model.training.shapes import CATEGORIES, UNKNOWN


def row(name: str, category: str, score: float) -> dict[str, Any]:
    said = {"iou": 0.5, "category": category, "scores": {"category": score}}
    said |= {"colour": True, "size": False, "place": True}
    return {"set": "test", "name": name, "click": said, "true mask": said}


def test_a_wrong_name_is_not_the_same_as_none() -> None:
    """ "object" is neither right nor wrong, and the score that is to be low is that of wrong names alone."""
    rows = [row("clock", "clock", 0.9), row(UNKNOWN, UNKNOWN, 0.1), row(UNKNOWN, "car", 0.4), row("tree", "car", 0.2)]
    table = words.summary(rows)["test, click"]
    assert (table["object"], table["named rightly"], table["named wrongly"]) == (0.25, 0.25, 0.5)
    assert table["score of wrong names"] == pytest.approx(0.3)
    assert (table["colour"], table["size"]) == (1.0, 0.0)
    assert words.summary(rows[:2])["test, click"]["score of wrong names"] is None


def test_no_photograph_of_the_test_is_shown_in_training() -> None:
    """Nor the two that scores are fitted on and the coins; what was shown has a row of its own."""
    groups = {target.picture: words.group(target) for name in words.SETS for target in targets(name)}
    shown = {name for name, group in groups.items() if group == "tuning, shown in training"}
    assert shown == {"astronaut", "chelsea", "motorcycle", "rocket", "moon"} <= words.SHOWN_IN_TRAINING
    assert not {t.picture for t in targets(Set.TEST)} & words.SHOWN_IN_TRAINING
    assert not {"coffee", "flower", "coins"} & set(VIEWS)


def test_names_are_of_the_vocabulary() -> None:
    """What ought to be said can be said, and every object that has a name is among the targets."""
    assert set(words.NAMES.values()) <= set(CATEGORIES)
    assert set(words.NAMES) <= {target.name for name in words.SETS for target in targets(name)}


def test_words_are_read_off_a_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    """One coin, by a click and by its mask: the row holds what nano said."""
    coin = next(targets(Set.COINS))
    monkeypatch.setattr(words, "targets", lambda of: [replace(coin, set=of)] if of is Set.COINS else [])
    (said,) = words.look(model.load("nano", threads=1))
    assert said["name"] == "coin" and said["picture"] == "coins"
    for prompt in ("click", "true mask"):
        assert said[prompt]["iou"] > 0.8
        assert said[prompt]["caption"] and 0 <= said[prompt]["scores"]["category"] <= 1


def test_a_target_without_a_name_is_an_object() -> None:
    """Most things on photographs are none that nano knows."""
    some = Target(Set.TEST, "raccoon", "nose", np.ones((2, 2), bool))
    assert words.name_of(some) == UNKNOWN
