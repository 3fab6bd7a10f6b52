"""Answers to the explanation question: label and definition in one text, told apart."""

from __future__ import annotations

import re

MAX_LABEL_WORDS, MAX_LABEL_CHARACTERS = 6, 80
"""A longer text in front of a separator is a sentence, not a label."""

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "「": "」", "『": "』", "《": "》", "«": "»", "`": "`"}
_COLON = r"(?:：|:(?!//)(?!(?<=\d:)\d))"
"""A colon, but not that of an address (https://) or of a time (10:30)."""

_MARKUP = r"[*_#`>\s]*"
_LABEL_TAG = re.compile(
    rf"[-•*_#`>\s]*(?:labels?|category|class|name|object|subject|标签|类别|类名|名称|名词){_MARKUP}{_COLON}{_MARKUP}",
    re.IGNORECASE,
)
_DEFINITION_WORDS = (
    r"(?:definition|explanation|description|meaning|function|名词功能解释|名词解释|功能解释|定义|解释|功能|描述|说明)"
)
_DEFINITION_TAG = re.compile(
    rf"(?:^|(?<=[\s.,;，。；、*_]))[-*_\s]*{_DEFINITION_WORDS}{_MARKUP}{_COLON}{_MARKUP}", re.IGNORECASE
)
_SEPARATOR = re.compile(rf"{_MARKUP}(?:{_COLON}|\n|(?<=\s)[-‐‑‒](?=\s)|\s*[–—―]+)[-*•\s]*")
_COPULA = re.compile(
    r"\s+(?:is|are|was|were)\s+(?=(?:an?|the|any|one|some)\s)|\s+(?:refers\s+to|means|denotes)\s+"
    r"|是指|指的是|指(?=[一的])|是(?=一|由|用|某|那|种)",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(
    r"^(?:this|it|that|the\s+(?:subject|object|image))(?:\s+is|\s+shows|['’]s)\s+(?=(?:an?|the)\s)|^(?:这是|它是)",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"(?:an?|the)\s+(?=\S)|一[个种只张把条枚](?=\S)", re.IGNORECASE)
_NO_LABEL = re.compile(
    r"(?:it|this|that|these|those|there|here|he|she|they|we|you|i|the\s+(?:subject|object|image|picture|photo)"
    r"|(?:这|它|该|此|其|图).*)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"\b(?:is|are|was|were|has|have|can|will|does)\b|[.!?;](?=\s)|[。！？；，]", re.IGNORECASE)


def join_explanation(category: str, definition: str) -> str:
    """The answer to `explain`: label and definition in one text, as the official records have it."""
    return f"{begin_explanation(category)} {definition}"


def begin_explanation(category: str) -> str:
    """What an answer to `explain` begins with when its label is settled: the definition is what follows."""
    return f"{category}:"


def split_explanation(answer: str, category: str = "") -> tuple[str, str]:
    """Label and definition of an answer to `explain`.

    Reads "label: definition", also with a full-width colon, a dash, a line break or "is a" between them, with both
    parts named ("Label: … Definition: …", "标签：… 定义：…"), and with quotes or Markdown around them. The label is
    `category` where the answer has none in front, and a `category` in front is taken as it stands, however it is
    written; without one, an answer that has no label is all definition.
    """
    text = _unwrapped(answer)
    return _after_category(text, _unwrapped(category)) or _tagged(text) or _separated(text) or (category.strip(), text)


def _after_category(text: str, category: str) -> tuple[str, str] | None:
    """The rest of a text that begins with the known label."""
    if not category:
        return None
    start = re.match(rf"{_MARKUP}(?:label\s*{_COLON}\s*|标签\s*{_COLON}\s*)?{_MARKUP}", text, re.IGNORECASE)
    begin = start.end() if start else 0
    for article in (_ARTICLE.match(text, begin), None):
        at = article.end() if article else begin
        at += len(text[at:]) - len(text[at:].lstrip("".join(_QUOTES)))
        if text[at : at + len(category)].casefold() != category.casefold():
            continue
        rest = text[at + len(category) :].lstrip("".join(_QUOTES.values()) + "*_`")
        cut = (
            _SEPARATOR.match(rest)
            or _DEFINITION_TAG.match(rest)
            or _COPULA.match(rest)
            or re.match(r"[.。]?\s*$", rest)
        )
        if cut:
            return category, _definition(rest[cut.end() :])
    return None


def _tagged(text: str) -> tuple[str, str] | None:
    """The parts of a text that names both, or the definition alone."""
    tag = _LABEL_TAG.match(text)
    body = text[tag.end() :] if tag else text
    definition = _DEFINITION_TAG.search(body, 0, 4 * MAX_LABEL_CHARACTERS)
    if definition:
        label = _label(body[: definition.start()])
        if label or not body[: definition.start()].strip(" *_#-"):
            return (label, _definition(body[definition.end() :])) if label else None
    return _separated(body) if tag else None


def _separated(text: str) -> tuple[str, str] | None:
    """The parts of a text with something between them that separates."""
    for cut in _SEPARATOR.finditer(text, 0, 2 * MAX_LABEL_CHARACTERS):
        if label := _label(text[: cut.start()]):
            return label, _definition(text[cut.end() :])
    copula = _COPULA.search(text, 0, 2 * MAX_LABEL_CHARACTERS)
    if copula and (label := _label(text[: copula.start()])):
        return label, _definition(text[copula.end() :])
    return None


def _label(text: str) -> str:
    """`text` as a label without markup, article and final stop; empty where it is none."""
    text = _unwrapped(_LEAD_IN.sub("", text.strip(" \t\r\n*_#>`-.,;。，；"), count=1))
    if len(text) > MAX_LABEL_CHARACTERS or "\n" in text or _SENTENCE.search(text) or _NO_LABEL.fullmatch(text):
        return ""
    label = _unwrapped(_ARTICLE.sub("", text, count=1) if _ARTICLE.match(text) else text)
    return label if 0 < len(label.split()) <= MAX_LABEL_WORDS else ""


def _definition(text: str) -> str:
    tag = _DEFINITION_TAG.match(text)
    return _unwrapped(text[tag.end() :] if tag else text)


def _unwrapped(text: str) -> str:
    """`text` without space around it, and without one pair of quotes or emphasis around all of it."""
    text = text.strip()
    for mark in ("***", "**", "__"):
        if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark) and text.count(mark) == 2:
            text = text[len(mark) : -len(mark)].strip()
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and not set(text[1:-1]) & {text[0], text[-1]}:
        text = text[1:-1].strip()
    return text
