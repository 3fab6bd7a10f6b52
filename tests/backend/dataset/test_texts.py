"""One thing has one category, and what nobody wrote is no text."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.category import category_name
from backend.dataset.texts import CategoryNames, is_boilerplate, language
from backend.errors import ExportError


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Traffic  Light", "traffic light"),
        ("U.S. coin", "u.s. coin"),
        ("Cat.", "cat"),
        ("ＣＯＩＮ", "coin"),
        ("硬币。", "硬币"),
        ("Straße", "strasse"),
        (" . ", ""),
    ],
)
def test_one_thing_has_one_category(written: str, name: str) -> None:
    """Case, spaces, width of letters and a full stop make no other category."""
    assert category_name(written) == name
    assert category_name(name) == name


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("...", True), ("-", True), ("N/A", True), ("n/a.", True), ("TODO", True), ("Describe it", True),
        ("describe it.", True), ("A todo list", False), ("7", False), ("币", False), ("none", False),
    ],
)  # fmt: skip
def test_boilerplate(text: str, is_one: bool) -> None:
    """What says nothing, or stood there beforehand, is told from short answers."""
    assert is_boilerplate(text, ("Describe it",)) == is_one


def test_languages() -> None:
    """One Han character makes a text Chinese: PAM has a task for each of the two languages."""
    assert [language(text) for text in ("A cat", "一只猫", "a 猫", "")] == ["en", "ch", "ch", "en"]


def test_a_mapping_file(tmp_path: Path) -> None:
    """Names and variants are compared without case; what is not listed keeps its own name."""
    file = tmp_path / "names.yaml"
    file.write_text("Coin: [coins, 'Silver  Coin', 硬币]\ncat: kitten\n", encoding="utf-8")
    names = CategoryNames.read(file)
    assert [names.name(text) for text in ("COINS", "silver coin.", "硬币", "Kitten", "dog", "Coin")] == [
        "coin", "coin", "coin", "cat", "dog", "coin",
    ]  # fmt: skip
    assert names.fingerprint != CategoryNames().fingerprint == "none"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("- coin\n", "must be lines like"),
        ("coin: 7\n", "'coin' must be a text, with a list of texts"),
        ("coin: [a]\ncat: [A]\n", "'A' is listed both for 'coin' and for 'cat'"),
        ("coin: [\n", "cannot be read"),
        ("\x00", "cannot be read"),
    ],
)
def test_a_wrong_mapping_file_is_refused(tmp_path: Path, content: str, says: str) -> None:
    """The message names the entry."""
    file = tmp_path / "names.yaml"
    file.write_text(content)
    with pytest.raises(ExportError, match=says):
        CategoryNames.read(file)


def test_a_missing_mapping_file_is_refused(tmp_path: Path) -> None:
    """A typing error in its name must not give a data set without the mapping."""
    with pytest.raises(ExportError, match="cannot be read"):
        CategoryNames.read(tmp_path / "nowhere.yaml")
