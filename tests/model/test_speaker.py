"""Scores of what was said: calibrated where that was fitted, low where the model says that it does not know."""

from __future__ import annotations

import math

import pytest

from model import PAM
from model.language import Utterance
from model.region import Words
from model.speaker import UNKNOWN_SHARE, Speaker


def said(nano: PAM, category: str, explanation: str, caption: str, **settings: object) -> Words:
    speaker = Speaker(nano.writer, nano.tokenizer, 1.0, ("en",), **settings)  # type: ignore[arg-type]
    return speaker._words(*(Utterance(text, math.log(0.5), True) for text in (category, explanation, caption)))


@pytest.mark.parametrize(
    ("category", "explanation", "caption", "low"),
    [
        ("cup", "cup: a small vessel.", "A small red cup.", False),
        ("object", "object: a thing.", "A small red object.", True),
        ("cup", "object: a thing.", "A small red cup.", True),
        ("cup", "cup: a small vessel.", "A small red object at the top.", True),
        ("cup", "cup: a small vessel.", "A small red cup, an objection.", False),
    ],
)
def test_doubt_in_one_answer_lowers_the_name(nano: PAM, category: str, explanation: str, caption: str, low: bool):
    """A name is not to be relied on when another answer about the same region says that there is none; what the caption
    says of colour and place stands."""
    scores = said(nano, category, explanation, caption, unknown="object").scores
    assert scores["category"] == pytest.approx(0.5 * (UNKNOWN_SHARE if low else 1))
    assert scores["explanation"] == scores["category"]
    assert scores["caption"] == pytest.approx(0.5)


def test_a_model_without_such_a_word_is_scored_as_it_speaks(nano: PAM):
    """The published models may well say "object" and mean it."""
    assert said(nano, "object", "object: a thing.", "An object.").scores["category"] == pytest.approx(0.5)


def test_scores_are_calibrated_by_field(nano: PAM):
    """The logistic function of the log-probability, in the fields that have one; nothing said has no chance."""
    scores = said(nano, "cup", "cup: a vessel.", "A cup.", calibration={"category": (2.0, 1.0)}).scores
    assert scores["category"] == pytest.approx(1 / (1 + math.exp(-(2 * math.log(0.5) + 1))))
    assert scores["caption"] == pytest.approx(0.5)
    silent = Speaker(nano.writer, nano.tokenizer, 1.0, ("en",), calibration={"category": (2.0, 1.0)})
    nothing = Utterance("", -math.inf, True)
    assert silent._words(nothing, nothing, nothing).scores["category"] == 0
