"""What is a brief caption and what a detailed one: they answer two questions, and must not be mixed."""

from __future__ import annotations

import pytest

from backend.dataset.formats.words import BRIEF_WORDS, is_detailed, word_count


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", 0), ("A worn coin.", 3), ("the cat's half-open eyes", 4), ("一枚硬币", 4 / 1.5), ("3.5 mm", 3),
        ("USB接口", 1 + 2 / 1.5), ("…", 0),
    ],
)  # fmt: skip
def test_words_are_counted_in_both_languages(text: str, expected: float) -> None:
    """Chinese has no spaces, so its characters are counted."""
    assert word_count(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "caption, detailed",
    [
        ("A worn coin.", False),
        ("A worn coin. It lies on a dark cloth.", True),
        ("A coin of 3.5 cm, e.g. a dollar", False),
        ("Made by the U.S. mint", False),
        ("What is it? A coin!", True),
        ("a coin on a cloth. it is worn", False),
        (" ".join(["word"] * BRIEF_WORDS), False),
        (" ".join(["word"] * (BRIEF_WORDS + 1)), True),
        ("一枚旧硬币。", False),
        ("一枚旧硬币。它在深色的布上。", True),
        ("币" * 37, False),
        ("币" * 38, True),
    ],
)
def test_a_caption_of_several_sentences_or_many_words_is_detailed(caption: str, detailed: bool) -> None:
    """Decimal points and abbreviations end no sentence; where a full stop is in doubt, the caption is brief."""
    assert is_detailed(caption) is detailed
