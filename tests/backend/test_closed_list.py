"""A list of the config as the model gets it: what can be chosen, and that what is chosen is an option."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import labeling_config
from backend.closed_list import choices, labels
from tests.backend.test_answer import POINT, SEVERAL, TEXTS, TOOL, answered, closed, value_of, view

BRUSH = '<BrushLabels name="region" toName="image"><Label value="Object"/></BrushLabels>'
TREE = (
    '<Taxonomy name="category" toName="image" perRegion="true"><Choice value="Thing"><Choice value="Coin"/>'
    '<Choice value="Bank"/></Choice><Choice value="Place"><Choice value="Bank"/><Choice value="Shop" alias="s">'
    '<Choice value="Bakery" alias="b"/></Choice></Choice></Taxonomy>'
)


def of(*tags: str, pointed_with: str | None = None) -> tuple[str, ...] | None:
    return choices(labeling_config.parse(view(POINT, *tags)), pointed_with)


@pytest.mark.parametrize(
    ("tags", "pointed_with", "expected"),
    [
        ((BRUSH, TEXTS), None, None),
        ((BRUSH,), None, None),
        ((BRUSH, closed("Choices", "Cat", "Coin")), None, ("Cat", "Coin")),
        ((BRUSH, closed("Choices", "Coin").replace("/>", ' alias="c1"/>', 1)), None, ("Coin",)),
        ((BRUSH, TREE), None, ("Coin", "Thing Bank", "Place Bank", "Bakery")),
        ((SEVERAL,), "Object", ("Coin", "Cat")),
        ((SEVERAL, TEXTS), "Object", None),
        ((TOOL, SEVERAL), "Cat", ("Cat",)),
        ((TOOL, SEVERAL), "Dog", ("Coin", "Cat")),
        ((TOOL, SEVERAL, closed("Choices", "Red", "Blue")), "Cat", ("Red", "Blue")),
        ((BRUSH, closed("Choices", "Cat", "x" * 300, "<|im_end|>".replace("<", "&lt;"))), None, ("Cat",)),
        ((BRUSH, closed("Choices", "x" * 300)), None, None),
        ((BRUSH, '<Choices name="category" toName="image" perRegion="true"/>'), None, None),
    ],
)
def test_what_the_category_is_chosen_from(tags, pointed_with, expected):
    """The options as the annotator reads them; the leaves of a tree; nothing where any word may be written."""
    assert of(*tags, pointed_with=pointed_with) == expected


@pytest.mark.parametrize(
    ("label", "path"),
    [
        ("Coin", ["Thing", "Coin"]),
        ("Thing Bank", ["Thing", "Bank"]),
        ("Place Bank", ["Place", "Bank"]),
        ("Bakery", ["Place", "s", "b"]),
    ],
)
def test_a_leaf_becomes_its_path(label, path):
    """A name that stands twice is no longer left open, and an alias is written where its name was chosen."""
    assert value_of(answered(view(POINT, BRUSH, TREE), label), "category") == {"taxonomy": [path]}


def test_options_that_read_alike_are_one():
    """The annotator cannot tell them apart either: the first is meant."""
    twice = closed("Choices", "Coin", "Coin").replace('"Coin"/>', '"Coin" alias="c1"/>', 1)
    assert of(BRUSH, twice) == ("Coin",)
    assert value_of(answered(view(POINT, BRUSH, twice), "Coin"), "category") == {"choices": ["c1"]}


NAMES = st.lists(st.text("aAbs _-.", min_size=1, max_size=4).map(str.strip).filter(bool), min_size=1, max_size=8)


@given(NAMES)
def test_whatever_is_chosen_is_an_option(names):
    """Each label that the model may choose fills the category in, with an option of its own."""
    config = labeling_config.parse(view(POINT, BRUSH, closed("Choices", *names)))
    word = config.words["category"]
    chosen = choices(config, None)
    assert chosen is not None and len(chosen) == len(set(chosen)) == len(set(names))
    assert {labels(word)[label] for label in chosen} <= set(word.options)
    for label in chosen:
        value = value_of(answered(view(POINT, BRUSH, closed("Choices", *names)), label), "category")
        assert value == {"choices": [label]}


def test_a_large_taxonomy_is_read_in_reasonable_time():
    """Twenty thousand entries, half of them called alike: no step of the reading is quadratic."""
    inside = "".join(
        f'<Choice value="group {i}"><Choice value="other"/><Choice value="thing {i}"/></Choice>' for i in range(10_000)
    )
    found = of(BRUSH, f'<Taxonomy name="category" toName="image" perRegion="true">{inside}</Taxonomy>')
    assert found is not None and len(found) == 20_000
    assert found[:2] == ("group 0 other", "thing 0")
