"""Answers to `explain`: label and definition told apart, however they were put."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.explanation import join_explanation, split_explanation

COIN = ("coin", "a small disc of metal.")

FORMS = [
    ("coin: a small disc of metal.", COIN),
    ("coin : a small disc of metal.", COIN),
    ("  coin:a small disc of metal.\n", COIN),
    ("A coin: a small disc of metal.", COIN),
    ("This is a coin: a small disc of metal.", COIN),
    ("coin - a small disc of metal.", COIN),
    ("coin – a small disc of metal.", COIN),
    ("coin—a small disc of metal.", COIN),
    ("coin\na small disc of metal.", COIN),
    ("coin.\n\na small disc of metal.", COIN),
    ("coin:\n- a small disc of metal.", COIN),
    ("coin is a small disc of metal.", COIN),
    ("A coin is a small disc of metal.", COIN),
    ("a coin refers to a small disc of metal.", COIN),
    ("**coin**: a small disc of metal.", COIN),
    ("**coin:** a small disc of metal.", COIN),
    ("**coin**\na small disc of metal.", COIN),
    ("### coin\na small disc of metal.", COIN),
    ("`coin`: a small disc of metal.", COIN),
    ('"coin": a small disc of metal.', COIN),
    ('"coin: a small disc of metal."', COIN),
    ('“coin” — "a small disc of metal."', COIN),
    ("**coin: a small disc of metal.**", COIN),
    ("Label: coin\nDefinition: a small disc of metal.", COIN),
    ("Label: coin Definition: a small disc of metal.", COIN),
    ("Label: coin. Definition: a small disc of metal.", COIN),
    ("Label: coin, definition: a small disc of metal.", COIN),
    ("**Label:** coin\n\n**Definition:** a small disc of metal.", COIN),
    ("- **Label**: coin\n- **Definition**: a small disc of metal.", COIN),
    ("Label: coin\na small disc of metal.", COIN),
    ("Category: coin - a small disc of metal.", COIN),
    ("Label: coin: a small disc of metal.", COIN),
    ("coin\nDefinition: a small disc of metal.", COIN),
    ("coin. Definition: a small disc of metal.", COIN),
    ("The subject is a coin. Definition: a small disc of metal.", COIN),
    ("硬币：用金属制成的圆形货币。", ("硬币", "用金属制成的圆形货币。")),
    ("硬币:用金属制成的圆形货币。", ("硬币", "用金属制成的圆形货币。")),
    ("标签：硬币 定义：金属货币。", ("硬币", "金属货币。")),
    ("标签：硬币\n名词功能解释：金属货币。", ("硬币", "金属货币。")),
    ("标签：硬币，功能：用于支付。", ("硬币", "用于支付。")),
    ("**硬币**——金属货币。", ("硬币", "金属货币。")),
    ("“硬币”：金属货币。", ("硬币", "金属货币。")),
    ("硬币\n金属货币。", ("硬币", "金属货币。")),
    ("硬币是一种金属货币。", ("硬币", "一种金属货币。")),
    ("硬币是指金属货币。", ("硬币", "金属货币。")),
    ("这是硬币：金属货币。", ("硬币", "金属货币。")),
    ("clock: shows 10:30, see https://example.com/a:b.", ("clock", "shows 10:30, see https://example.com/a:b.")),
    ("10:30 train: a train that leaves at 10:30", ("10:30 train", "a train that leaves at 10:30")),
    ("coin: used for: paying", ("coin", "used for: paying")),
    ("coin: a disc - of metal\nand more", ("coin", "a disc - of metal\nand more")),
    ("T-shirt: a garment", ("T-shirt", "a garment")),
    ("traffic-light - a signal", ("traffic-light", "a signal")),
    ("dog's bowl: a bowl", ("dog's bowl", "a bowl")),
    ("label: a piece of paper that names a thing", ("label", "a piece of paper that names a thing")),
    ("coin:", ("coin", "")),
    ("It is a coin.", ("", "It is a coin.")),
    ("This is a coin.", ("", "This is a coin.")),
    ("这是一枚硬币。", ("", "这是一枚硬币。")),
    ("The coin is on the table.", ("", "The coin is on the table.")),
    ("coin", ("", "coin")),
    ("see https://example.com now", ("", "see https://example.com now")),
    ("It opens at 10:30.", ("", "It opens at 10:30.")),
    ("", ("", "")),
    (" \n\t ", ("", "")),
    (":", ("", ":")),
    ("a very long text that is no label at all: it goes on",) * 1
    + (("", "a very long text that is no label at all: it goes on"),),
    ("It is round.\nIt rolls.", ("", "It is round.\nIt rolls.")),
]


@pytest.mark.parametrize(("answer", "parts"), FORMS, ids=[form for form, _ in FORMS])
def test_label_and_definition_are_told_apart(answer: str, parts: tuple[str, str]):
    """Every form that such an answer plausibly takes; what is no label in front is not taken for one."""
    assert split_explanation(answer) == parts


@pytest.mark.parametrize(
    ("answer", "category", "parts"),
    [
        ("Coin: a disc", "coin", ("coin", "a disc")),
        ("A coin, a disc", "coin", ("coin", "A coin, a disc")),
        ("ratio 3:4 : a relation", "ratio 3:4", ("ratio 3:4", "a relation")),
        ("a thing of many long words in its name: what it is", "thing of many long words in its name",
         ("thing of many long words in its name", "what it is")),
        ("Label: mixer - hand held - a tool", "mixer - hand held", ("mixer - hand held", "a tool")),
        ("**Coin** is a disc", "coin", ("coin", "a disc")),
        ("coins: discs", "coin", ("coins", "discs")),
        ("It is round.", "coin", ("coin", "It is round.")),
        ("coin", "coin", ("coin", "")),
        ("硬币：货币", "硬币", ("硬币", "货币")),
        ("", "coin", ("coin", "")),
        ("c++ (file): text", "c++ (file)", ("c++ (file)", "text")),
    ],
)  # fmt: skip
def test_a_known_category_helps(answer: str, category: str, parts: tuple[str, str]):
    """With the label known, labels that hold separators are read whole, and an answer without one gets it."""
    assert split_explanation(answer, category) == parts


def test_a_very_long_answer_is_read_quickly_and_whole():
    """Nothing is lost of a text of a million characters, and no pattern runs away on it."""
    long = "a disc of metal " * 60_000
    assert split_explanation("coin: " + long) == ("coin", long.strip())
    for hostile in ("*" * 200_000, " " * 200_000 + "x", "—" * 200_000, "a " * 200_000, "* - " * 100_000):
        assert split_explanation(hostile)[0] == ""


WORD = st.text("abcdefgäöß", min_size=4, max_size=9).filter(lambda word: word[0] != "a")
LABEL = st.lists(WORD, min_size=1, max_size=4).map(" ".join)
DEFINITION = st.tuples(WORD, st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=60), WORD).map(
    lambda parts: parts[0] + parts[1] + parts[2]
)


@given(LABEL, DEFINITION)
def test_joined_parts_come_apart_again(label: str, definition: str):
    """What the training records join is what comes back, whatever stands in the definition."""
    assert split_explanation(join_explanation(label, definition)) == (label, definition)
    assert split_explanation(join_explanation(label, definition), label) == (label, definition)


@given(st.text(max_size=200), st.text(max_size=20))
def test_any_text_is_answered(answer: str, category: str):
    """No answer of a model raises, and no letter of it is made up."""
    label, definition = split_explanation(answer)
    assert label in answer and definition in answer
    split_explanation(answer, category)
