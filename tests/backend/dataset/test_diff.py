"""What changed from one version to another is said: regions, words, masks, images, settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.dataset.diff import compare
from backend.dataset.texts import CategoryNames
from backend.ledger import Ledger
from tests.backend.dataset.small import annotation, project, region, run

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_what_changed_is_said(tmp_path: Path) -> None:
    """One word and one mask mended, one task gone, one new: these, and nothing of the other twenty."""
    out = tmp_path / "out"
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        before = run(ledger, out, *project(22)).version
        tasks = project(23)
        del tasks[10]
        words = ("kind 1", "", "Thing 1 of 0.")
        tasks[0]["annotations"] = [
            annotation(1001, region("r1-0", (0, 0, 9, 9), words), region("r1-1", (0, 0, 9, 9), words), age=1)
        ]
        tasks[1]["annotations"][0]["result"][1]["value"]["text"] = ["another"]
        tasks[1]["annotations"][0]["updated_at"] = "2026-12-01T00:00:00Z"
        after = run(ledger, out, *tasks, names=CategoryNames({"kind 3": "third"})).version
    found = compare(before, after)
    assert found.regions_added == ("1-23-1023-r23-0", "1-23-1023-r23-1")
    assert found.regions_removed == ("1-11-1011-r11-0", "1-11-1011-r11-1")
    assert found.regions_changed["1-1-1001-r1-0"] == ("mask",)
    assert found.regions_changed["1-2-1002-r2-0"] == ("category", "category_as_written")
    assert "1-2-1002-r2-1" not in found.regions_changed, "its annotation has another date, it has not"
    assert found.regions_changed["1-3-1003-r3-0"] == ("category",)
    assert "1-4-1004-r4-0" not in found.regions_changed
    assert len(found.images_added) == len(found.images_removed) == 1 and found.images_moved == {}
    assert list(found.settings) == ["categories"]
    said = found.summary()
    assert "v0001 -> v0002" in said and "regions: 2 added, 2 removed" in said and "setting categories: none ->" in said


def test_a_version_does_not_differ_from_itself(tmp_path: Path) -> None:
    """Nothing is read, nothing is said."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        version = run(ledger, tmp_path / "out", *project(3)).version
    found = compare(version, version)
    assert not any((found.regions_added, found.regions_removed, found.regions_changed, found.images_added))
