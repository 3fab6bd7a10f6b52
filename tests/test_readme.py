"""The README against the code: its settings, its files, its figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

from backend.settings import Settings
from model.checkpoints import CONFIG, NANO

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def rows() -> dict[str, tuple[str, str]]:
    """The settings table: variable to default and description."""
    table = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \| (.*) \|$", README, re.MULTILINE)
    return {name: (default, text) for name, default, text in table}


def test_the_settings_table_is_the_code():
    """Every setting has its row, with the default and the words that `--help` shows; no row has lost its setting."""
    expected = {}
    for name, field in Settings.model_fields.items():
        alias = getattr(field.validation_alias, "choices", [f"PAM_STUDIO_{name.upper()}"])[0]
        expected[alias] = ("" if field.default is None else f"`{field.default}`", field.description)
    assert rows() == expected


def test_what_it_points_to_exists():
    """Pictures and pages that the README links to are in the repository."""
    targets = [t for t in re.findall(r"\]\(([^)]+)\)", README) if not t.startswith("http")]
    assert targets
    assert [t for t in targets if not (ROOT / t).is_file()] == []


def test_the_figures_are_the_checkpoints():
    """The words' figures in the README are those that were measured when nano was made."""
    figures = json.loads((NANO / CONFIG).read_text())["about"]["figures"]
    for name in ("category", "colour", "size", "place"):
        trained, untrained = (f"{figures[who][name]:.2f}".lstrip("0") for who in ("trained", "untrained"))
        row = rf"^\| {name}.*\| {re.escape(trained)} \| {re.escape(untrained)} \|$"
        assert re.search(row, README, re.MULTILINE), name
