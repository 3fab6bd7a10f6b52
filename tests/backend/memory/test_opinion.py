"""Who has the word on a category: the model, or those who named the region's like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.memory.index import Neighbour
from backend.memory.opinion import weigh

EVIDENCE = st.floats(0, 100)
NAMES = st.sampled_from(["coin", "Coin ", "cup", "cat"])
NEIGHBOURS = st.lists(st.builds(Neighbour, NAMES, EVIDENCE), max_size=16)


def alike(category: str, evidence: float = 20.0, count: int = 1) -> list[Neighbour]:
    return [Neighbour(category, evidence)] * count


def test_the_model_speaks_where_nothing_is_like_the_region():
    """A strange region is not called by the only name that is known."""
    assert weigh([], {"cat": 0.4}).category == "cat"
    opinion = weigh(alike("coin", 0.0, 6), {"cat": 0.4})
    assert (opinion.category, opinion.source) == ("cat", "model")
    assert opinion.probability == pytest.approx(0.4, abs=0.01)


def test_those_who_named_its_like_have_the_word():
    """From the first correction on, where the model is unsure."""
    opinion = weigh(alike("coin"), {"clock": 0.3})
    assert (opinion.category, opinion.source) == ("coin", "memory")


def test_a_sure_model_is_not_overruled_by_one_vote():
    opinion = weigh(alike("coin", 1.0), {"clock": 0.95})
    assert (opinion.category, opinion.source) == ("clock", "model")


def test_one_wrong_correction_is_outvoted():
    """It must not poison a class."""
    assert weigh(alike("cup") + alike("coin", 20.0, 2), {"clock": 0.2}).category == "coin"
    assert weigh(alike("cup", 30.0) + alike("coin", 20.0, 3), {"clock": 0.2}).category == "coin"


def test_both_voices_add_up():
    """Agreement is surer than either alone."""
    alone, without = weigh(alike("coin", 3.0), {"cat": 0.3}), weigh([], {"coin": 0.5})
    both = weigh(alike("coin", 3.0), {"Coin": 0.5})
    assert both.category == "Coin" and both.probability > max(alone.probability, without.probability)


@given(NEIGHBOURS, st.dictionaries(st.sampled_from(["coin", "cup", "dog"]), st.floats(0, 1 / 3), min_size=1))
def test_a_probability_and_a_name_that_somebody_gave(neighbours: list[Neighbour], own: dict[str, float]):
    """Whatever is said, however alike."""
    opinion = weigh(neighbours, own)
    assert 0 <= opinion.probability <= 1
    assert opinion.category in {*own, *(n.category for n in neighbours)}


@given(NEIGHBOURS, st.dictionaries(st.sampled_from(["coin", "dog"]), st.floats(0.01, 0.5), min_size=1))
def test_a_closed_list_is_never_left(neighbours: list[Neighbour], own: dict[str, float]):
    """A category that was since taken out of the list is not suggested."""
    assert weigh(neighbours, own, closed=True).category in own
