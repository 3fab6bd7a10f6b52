"""Names of categories: when two are the same, and where a text speaks of one."""

from __future__ import annotations

import re
import unicodedata


def category_name(text: str) -> str:
    """The one name of categories that people write differently: case, spaces, width of letters, a full stop."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" .;,。")


def names_category(text: str, category: str) -> bool:
    """Whether a text holds a category as a word of its own, in the singular or with an "s"; Chinese knows no spaces."""
    name = category_name(category)
    return bool(name) and _as_word(name).search(category_name(text)) is not None


def rename(text: str, category: str, new: str) -> str:
    """`text` with the name `new` wherever it names `category`: plural for plural, with the English article it needs."""
    name, new = category_name(category), " ".join(new.split())
    if not name or not new:
        return text

    def put(found: re.Match[str]) -> str:
        article, plural = found["article"] or "", found["plural"] or ""
        if article:
            right = "an" if new[0].lower() in "aeiou" else "a"
            article = (right.capitalize() if article[0].isupper() else right) + found["gap"]
        at_start = found.start() == 0 and not article and found[0][0].isupper()
        return article + (new[0].upper() + new[1:] if at_start else new) + ("s" if plural else "")

    return _as_word(name, r"(?:(?<![a-z])(?P<article>an?)(?P<gap>\s+))?").sub(put, text)


def _as_word(name: str, before: str = "") -> re.Pattern[str]:
    words = r"\s+".join(map(re.escape, name.split()))
    return re.compile(rf"{before}(?<![a-z0-9]){words}(?P<plural>e?s)?(?![a-z0-9])", re.IGNORECASE)
