"""The folder of models: what answers, what did before, and what happens to a folder that is damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from backend.errors import ModelsError
from backend.models import Registry
from backend.models.registry import ACTIVE
from tests.backend.models.runs import registry, report


def light(folder: Path, version: str) -> Path:
    """A training whose checkpoint is a few bytes: the registry does not look into it."""
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "model.safetensors").write_bytes(version.encode())
    (folder / "report.json").write_text(json.dumps(report(version)))
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Registry:
    """Three versions, a to c."""
    made = registry(tmp_path)
    for version in "abc":
        made.add(light(tmp_path / "runs" / version, version), version)
    return made


def test_nothing_is_made_by_looking(tmp_path: Path):
    """A folder that was mistyped must not come into being."""
    models = registry(tmp_path)
    assert models.active().version is None and models.names() == [] and models.stamp() is None
    assert not models.folder.exists()


def test_what_was_added_is_there_as_a_whole(models: Registry, tmp_path: Path):
    """In the order in which it came; a second time it stays as it is."""
    assert models.names() == ["a", "b", "c"]
    kept = models.version("a")
    assert (kept.folder / "model.safetensors").read_bytes() == b"a" and kept.report.version == "a" and kept.note is None
    models.add(light(tmp_path / "other", "other"), "a")
    assert (kept.folder / "model.safetensors").read_bytes() == b"a"


def test_rolling_back_leads_through_all_that_answered(models: Registry):
    """One command for each step, down to the model of the settings."""
    for version in "abc":
        assert models.promote(version, f"{version} is better")
    assert models.active().version == "c"
    assert [models.roll_back().version for _ in range(3)] == ["b", "a", None]
    with pytest.raises(ModelsError, match="no version before"):
        models.roll_back()
    assert [made.how for made in models.active().history] == ["promoted"] * 3 + ["rolled back"] * 3
    assert models.active().history[0].reason == "a is better"


def test_a_version_that_is_gone_is_passed_over(models: Registry):
    """Somebody made room on the disk; rolling back still leads somewhere."""
    for version in "abc":
        models.promote(version, "")
    shutil.rmtree(models.folder / "b")
    assert models.roll_back().version == "a"


def test_the_oldest_make_room(models: Registry, tmp_path: Path):
    """A training every night must not fill the disk; what answers stays, and so does what has just come."""
    models.promote("a", "")
    few = Registry(models.folder, models.base, models.least, most=2)
    assert few.remove_oldest() == ["b"] and few.names() == ["a", "c"] and few.remove_oldest() == []
    few.add(light(tmp_path / "runs" / "d", "d"), "d")
    assert few.remove_oldest() == ["c"] and few.names() == ["a", "d"]
    few.promote("d", "")
    few.add(light(tmp_path / "runs" / "e", "e"), "e")
    assert few.remove_oldest() == ["a"] and few.active().version == "d"
    assert few.roll_back().version is None, "what is gone is passed over"


def test_what_answers_is_not_removed(models: Registry):
    """Nor anything half: one that is gone is gone as a whole."""
    models.promote("b", "")
    with pytest.raises(ModelsError, match="b answers: roll back"):
        models.remove("b")
    models.remove("a")
    assert models.names() == ["b", "c"] and not list(models.folder.glob(".changing-*"))
    with pytest.raises(ModelsError, match="'a' is no version"):
        models.remove("a")


def test_promotion_over_another_model_than_the_one_compared_with(models: Registry):
    """Somebody promoted by hand meanwhile: nothing is promoted over a model that it was not held against."""
    models.promote("b", "by hand")
    assert not models.promote("a", "better than the base", instead_of=(None,))
    assert models.active().version == "b"
    assert models.promote("a", "better than b", instead_of=("b",)) and models.active().version == "a"


def test_another_model_in_the_settings_answers_itself(models: Registry):
    """Whoever sets PAM_STUDIO_MODEL means it; going back to the old setting finds the promotion again."""
    models.promote("a", "")
    other = Registry(models.folder, "Perceive-Anything/PAM-3B", 20)
    assert other.active().version is None and models.active().version == "a"
    other.promote("b", "")
    assert other.active().answers == (None, "b") and len(other.active().history) == 2


def test_a_stamp_tells_of_every_change(models: Registry):
    """A server notices another process's promotion by it, and a promotion to what answers already is none."""
    seen = {models.stamp()}
    for version in ("a", "b", "a"):
        models.promote(version, "")
        assert models.stamp() not in seen
        seen.add(models.stamp())
    models.promote("a", "")
    assert models.stamp() in seen


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", ".hidden", "ä", "x" * 200])
def test_a_name_cannot_lead_elsewhere(models: Registry, tmp_path: Path, name: str):
    """Versions are folders here, and nowhere else."""
    for act in (models.version, lambda it: models.promote(it, ""), lambda it: models.add(tmp_path / "runs" / "a", it)):
        with pytest.raises(ModelsError):
            act(name)
    assert models.names() == ["a", "b", "c"] and models.active().version is None


def test_a_damaged_file_is_told_and_mended_by_hand(models: Registry):
    """A rule does not decide over a file that it cannot read; a person does."""
    models.promote("a", "")
    (models.folder / ACTIVE).write_text('{"base": "nano", "answers": 7}')
    with pytest.raises(ModelsError, match="damaged"):
        models.active()
    with pytest.raises(ModelsError, match="damaged"):
        models.promote("b", "", instead_of=("a",))
    assert models.promote("b", "by hand") and models.active().answers == (None, "b")


def test_a_disk_that_refuses_changes_nothing(models: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Full in the middle of a copy or of a promotion: what answered goes on, and nothing half done stays."""
    models.promote("a", "")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(ModelsError, match="No space left on device; nothing has changed"):
        models.add(light(tmp_path / "late", "late"), "late")
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ModelsError, match="No space left"):
        models.promote("b", "")
    assert models.active().version == "a" and models.names() == ["a", "b", "c"]
    assert sorted(path.name for path in models.folder.iterdir()) == [".lock", "a", "active.json", "b", "c"]
