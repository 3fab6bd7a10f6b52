"""A caption speaks of another category when its name is exchanged, and of nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.category import names_category, rename


@pytest.mark.parametrize(
    ("text", "category", "new", "renamed"),
    [
        ("A small coin at the top.", "coin", "medal", "A small medal at the top."),
        ("Coins in a row; a Coin lies apart.", "coin", "medal", "Medals in a row; a medal lies apart."),
        ("An object.", "object", "silver coin", "A silver coin."),
        ("It is a coin.", "coin", "old medal", "It is an old medal."),
        ("A traffic  light.", "Traffic light", "lamp", "A lamp."),
        ("A coinage of joy.", "coin", "medal", "A coinage of joy."),
        ("一枚硬币在桌上", "硬币", "奖章", "一枚奖章在桌上"),
        ("A coin.", "", "medal", "A coin."),
        ("A coin.", "coin", r"\1 (medal)", r"A \1 (medal)."),
    ],
)
def test_a_name_is_exchanged(text: str, category: str, new: str, renamed: str):
    """As a word of its own, in the plural too, with the article that the new name needs."""
    assert rename(text, category, new) == renamed


@given(st.text(max_size=60), st.text(max_size=12), st.text(max_size=12))
def test_only_texts_that_name_it_change(text: str, category: str, new: str):
    """Whatever the letters are."""
    if not names_category(text, category):
        assert rename(text, category, new) == text
