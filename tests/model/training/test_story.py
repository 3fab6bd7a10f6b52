"""The sentence about a clip says what its masks show, and goes on from the sentence before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.training.facts import PLACES, Facts
from model.training.retelling import judged
from model.training.story import STILL, Story, manner, named

FACTS = Facts("ball", "red", "plain", "small", "centre", "grey")
NAMES = [name for row in PLACES for name in row]


def square(x: float, y: float, side: int = 12, size: int = 120) -> np.ndarray:
    """A square around a point, in shares of the picture."""
    mask = np.zeros((size, size), bool)
    left, top = round(x * size - side / 2), round(y * size - side / 2)
    mask[max(0, top) : top + side, max(0, left) : left + side] = True
    return mask


MOVES = {
    "it stays": ([(0.2, 0.5)] * 3, "A small red ball stays at the left, on a grey background."),
    "it trembles": ([(0.5, 0.5), (0.51, 0.5)], "A small red ball stays in the centre, on a grey background."),
    "over a border, but hardly": (
        [(0.32, 0.5), (0.35, 0.5)],
        "A small red ball stays at the left, on a grey background.",
    ),
    "it moves": (
        [(0.1, 0.1), (0.5, 0.4), (0.9, 0.9)],
        "A small red ball moves from the top left to the bottom right, on a grey background.",
    ),
    "and back": (
        [(0.1, 0.5), (0.5, 0.5), (0.1, 0.5)],
        "A small red ball moves from the left to the centre and back, on a grey background.",
    ),
    "within its place": (
        [(0.4, 0.4), (0.6, 0.6)],
        "A small red ball moves a little in the centre, on a grey background.",
    ),
    "one frame": ([(0.1, 0.1)], FACTS.caption),
}


@pytest.mark.parametrize(("way", "sentence"), MOVES.values(), ids=MOVES)
def test_what_is_said(way: list[tuple[float, float]], sentence: str):
    """Where from, where to, and whether it came back."""
    assert Story.of(FACTS, [square(*at) for at in way]).caption() == sentence


def test_growth():
    """Compared by area, the last frame with the first."""
    sizes = [10, 11, 16]
    told = [Story.of(FACTS, [square(0.5, 0.5, s) for s in order]).caption() for order in (sizes, sizes[::-1], [10, 12])]
    assert "stays in the centre and gets larger, on" in told[0]
    assert "stays in the centre and gets smaller, on" in told[1]
    assert "gets" not in told[2]


GOING_ON = {
    "": ("A small red ball stays ", "A small red ball moves from"),
    FACTS.caption: ("The small red ball stays ", "The small red ball moves from"),
    "It moves.": ("The small red ball stops ", "The small red ball moves on from"),
    "It stays.": ("The small red ball still stays ", "The small red ball now moves from"),
    "The ball stops at the left, on a red background.": (
        "The small red ball still stays ",
        "The small red ball now moves from",
    ),
}


@pytest.mark.parametrize(("previous", "sentences"), GOING_ON.items())
def test_what_was_said_before(previous: str, sentences: tuple[str, str]):
    """The caption before decides article and verb."""
    still, moving = (Story.of(FACTS, [square(0.1, 0.5), square(x, 0.5)]) for x in (0.1, 0.9))
    assert still.caption(previous).startswith(sentences[0])
    assert moving.caption(previous).startswith(sentences[1])


def test_names_are_kept():
    """What cannot be recognised is called what it was called; what can be, is not."""
    hidden = Story.of(Facts("object", "red", "plain", "small", "centre", "grey"), [square(0.1, 0.5)] * 2)
    seen = Story.of(FACTS, [square(0.1, 0.5)] * 2)
    before = "A small red car moves from the left to the right, on a red background."
    assert named(before) == "car"
    assert named(hidden.caption(before)) == "car"
    assert named(seen.caption(before)) == "ball"
    assert named(hidden.caption("Something moves.")) == "object"


@given(
    st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)), min_size=2, max_size=5),
    st.sampled_from(["", "A ball moves from the left to the top.", "The ball still stays at the left."]),
)
def test_sentences_can_be_read_again(way: list[tuple[float, float]], previous: str):
    """What `judged` reads of a sentence is what it says: right against itself, wrong against another way."""
    story = Story.of(FACTS, [square(*at) for at in way])
    said = story.caption(previous)
    assert all(judged(said, story, previous).values())
    assert manner(said) == ("moves" if story.moves else "stays")
    elsewhere = next(name for name in NAMES if name not in (story.start, story.far, story.end))
    other = Story(FACTS, 2, elsewhere, elsewhere, elsewhere, story.moves, story.growth)
    assert not judged(other.caption(previous), story, previous)["way"]
    distance = np.linalg.norm(np.array(way) - way[0], axis=1).max()
    assert story.moves == (distance >= STILL) or abs(distance - STILL) < 0.02  # masks lie on pixels


@pytest.mark.parametrize("said", ["", "object", "A red thing is here.", "moves", "from the left to the", "The"])
def test_what_is_no_such_sentence(said: str):
    """A model may say anything; then nothing of the way is right."""
    story = Story.of(FACTS, [square(0.1, 0.5), square(0.9, 0.5)])
    right = judged(said, story, "")
    assert not right["way"]
    assert not right["goes on"]
