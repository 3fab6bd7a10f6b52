"""Hygiene of texts: one name for each category, languages told apart, and what no annotator wrote left out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from backend.category import category_name
from backend.dataset.region import Language
from backend.errors import ExportError

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_FILLERS = frozenset({"n/a", "n.a", "na", "tbd", "todo", "fixme", "lorem ipsum", "xxx", "asdf"})
_MOST_BYTES = 8 << 20


def language(text: str) -> Language:
    """Chinese where there is a Han character, else English: PAM knows these two."""
    return "ch" if _HAN.search(text) else "en"


def is_boilerplate(text: str, presets: tuple[str, ...] = ()) -> bool:
    """Whether a text says nothing: no letter or digit, a usual filler, or what stood in the field beforehand."""
    name = category_name(text)
    return not any(map(str.isalnum, text)) or name in _FILLERS or name in map(category_name, presets)


class CategoryNames:
    """The mapping file: YAML, name to the list of other ways to write it.

        coin: [coins, silver coin, 硬币]

    Both sides are compared as `category_name` has them. Without a file, or for a category that it does not list, the
    normalised text is the name.
    """

    def __init__(self, names: Mapping[str, str] | None = None):
        self._names = dict(names or {})
        pairs = "\n".join(f"{written}\t{name}" for written, name in sorted(self._names.items()))
        self.fingerprint = hashlib.sha256(pairs.encode()).hexdigest()[:16] if pairs else "none"

    def name(self, text: str) -> str:
        """The name of the category that is written as `text`."""
        normalised = category_name(text)
        return self._names.get(normalised, normalised)

    @classmethod
    def read(cls, path: Path) -> CategoryNames:
        """Read a mapping file; raises ExportError, which names the entry that is wrong."""
        try:
            with open(path, "rb") as file:
                content = yaml.safe_load(file.read(_MOST_BYTES))
        except (OSError, yaml.YAMLError, UnicodeError) as error:
            raise ExportError(f"the mapping of categories {path} cannot be read: {error}") from error
        if not isinstance(content, dict):
            raise ExportError(f"the mapping of categories {path} must be lines like `coin: [coins, silver coin]`")
        names: dict[str, str] = {}
        for name, others in content.items():
            others = [others] if isinstance(others, str) else others
            if not isinstance(name, str) or not isinstance(others, list) or not all(isinstance(o, str) for o in others):
                raise ExportError(f"{path}: {name!r} must be a text, with a list of texts after the colon")
            for written in (name, *others):
                known = names.setdefault(category_name(written), category_name(name))
                if known != category_name(name):
                    raise ExportError(f"{path}: {written!r} is listed both for {known!r} and for {name!r}")
        return cls(names)
