"""How long a text is, in English and in Chinese."""

from __future__ import annotations

import re

BRIEF_WORDS = 25
"""A caption of one sentence and at most so many words is a brief one; every other is a detailed one."""

_SENTENCE_END = re.compile(r"[。！？]|[.!?](?=\s+[\"'“‘(]?[A-Z0-9])")
_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+(?:['’-][^\W_{_HAN}]+)*")
_HAN_PER_WORD = 1.5
_FIRST_HAN = 0x3400


def word_count(text: str) -> float:
    """Words of a text. Chinese puts no spaces between them: three of its characters are taken for two words."""
    words = _WORD.findall(text)
    han = sum(len(word) == 1 and ord(word) >= _FIRST_HAN for word in words)
    return len(words) - han + han / _HAN_PER_WORD


def is_detailed(caption: str) -> bool:
    """Whether a caption answers the question for a detailed one: several sentences, or more than BRIEF_WORDS words."""
    sentences = sum(bool(_WORD.search(part)) for part in _SENTENCE_END.split(caption))
    return sentences > 1 or word_count(caption) > BRIEF_WORDS
