"""From a finished training to the model that answers, with real checkpoints."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from backend.errors import ModelsError
from backend.models import Registry, consider
from backend.models.promotion import promote_by_hand
from backend.models.registry import CHECKPOINT
from model import CheckpointError, load
from tests.backend.kills import DECISION_KILLS, PROMOTION_KILLS
from tests.backend.models.runs import BASE, BETTER, WORSE, registry, run, trained


@pytest.fixture
def models(tmp_path: Path) -> Registry:
    return registry(tmp_path)


def test_a_better_model_takes_over(models: Registry, tmp_path: Path):
    """Its checkpoint and report are kept, and the reason; asked again, nothing happens twice."""
    folder, version = run(tmp_path / "run")
    decision = consider(models, folder)
    assert decision.promoted and decision.reason.startswith("category rose from .50 to .90 on 40 regions")
    assert models.active().answers == (None, version)
    shutil.rmtree(folder / CHECKPOINT)
    kept = models.version(version)
    assert load(kept.folder).version == version and (kept.folder / "report.md").is_file()
    assert kept.note is not None and kept.note.passed and kept.note.against == BASE
    shutil.copytree(trained(1)[0], folder / CHECKPOINT)
    assert consider(models, folder).reason == decision.reason
    assert models.active().answers == (None, version) and len(models.active().history) == 1


def test_the_oldest_versions_make_room(tmp_path: Path):
    """A training every night: what answers, and the last that were kept aside, are all that the disk holds."""
    models = Registry(tmp_path / "models", "nano", 20, most=2)
    better, answers = run(tmp_path / "1")
    assert consider(models, better).promoted
    for seed in (2, 3):
        last = consider(models, run(tmp_path / str(seed), seed, WORSE, base=answers)[0])
        assert not last.promoted
    assert models.names() == [answers, last.version]


def test_a_worse_model_is_kept_aside_with_the_reason(models: Registry, tmp_path: Path):
    """It can be looked at, and be promoted by hand, by whoever says so."""
    folder, version = run(tmp_path / "run", fields=WORSE)
    decision = consider(models, folder)
    assert not decision.promoted and "category fell from .90 to .50" in decision.reason
    assert models.active().version is None and models.names() == [version]
    with pytest.raises(ModelsError, match="kept aside: category fell.*--force"):
        promote_by_hand(models, version)
    assert promote_by_hand(models, version, force=True) == version == models.active().version
    assert promote_by_hand(models, BASE) == "nano" and models.active().version is None


def test_a_model_that_was_compared_with_another_one_waits(models: Registry, tmp_path: Path):
    """Two trainings from nano: the second says nothing about whether it beats the first."""
    first, second = run(tmp_path / "one"), run(tmp_path / "two", 2)
    assert consider(models, first[0]).promoted
    decision = consider(models, second[0])
    assert not decision.promoted and decision.reason == (
        f"it was compared with {BASE}, but {first[1]} answers: train from that one"
    )
    third = run(tmp_path / "three", 2, base=first[1])
    assert consider(models, third[0]).promoted and models.active().answers == (None, first[1], second[1])


def test_a_training_that_changed_nothing(models: Registry, tmp_path: Path):
    """Its weights are those that answer: there is nothing to keep."""
    folder, version = run(tmp_path / "run")
    report = json.loads((folder / "report.json").read_text()) | {"version": BASE}
    (folder / "report.json").write_text(json.dumps(report))
    shutil.rmtree(folder / CHECKPOINT)
    shutil.copytree(Path(load.__code__.co_filename).parents[1] / "nano", folder / CHECKPOINT)
    decision = consider(models, folder)
    assert not decision.promoted and "changed nothing" in decision.reason and models.names() == []


def cut(folder: Path) -> None:
    weights = folder / CHECKPOINT / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)


def flip(folder: Path) -> None:
    with open(folder / CHECKPOINT / "model.safetensors", "r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(bytes(500))


def exchange(folder: Path) -> None:
    shutil.rmtree(folder / CHECKPOINT)
    shutil.copytree(trained(2)[0], folder / CHECKPOINT)


@pytest.mark.parametrize("damage", [cut, flip, exchange, lambda folder: shutil.rmtree(folder / CHECKPOINT)])
def test_a_damaged_checkpoint_never_takes_over(models: Registry, tmp_path: Path, damage):
    """Whatever its report says."""
    folder, _ = run(tmp_path / "run", fields=BETTER)
    damage(folder)
    with pytest.raises((ModelsError, CheckpointError)):
        consider(models, folder)
    assert models.active().version is None and models.names() == []


def decide(folder: Path, finished: Path) -> None:
    consider(Registry(folder, "nano", 20), finished)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_killed_while_it_is_decided(tmp_path: Path):
    """SIGKILL anywhere between reading the report and the promotion: the old model answers, or the new one, whole.
    Asked again it comes to the same decision, once."""
    chance, (finished, version) = random.Random(5), run(tmp_path / "run")
    torch.set_num_threads(1)  # a fork has no others, and would wait for them
    began = time.monotonic()
    decide(tmp_path / "whole", finished)
    whole, answered = time.monotonic() - began, []
    for number in range(DECISION_KILLS):
        folder = tmp_path / str(number)
        child = multiprocessing.get_context("fork").Process(target=decide, args=(folder, finished))
        child.start()
        child.join(chance.random() * whole)
        child.kill()  # or it was faster than the one timed, and has ended
        child.join()
        models = Registry(folder, "nano", 20)
        answered.append(models.active().version)
        for name in {*models.names(), answered[-1]} - {None}:
            assert load(models.version(str(name)).folder).version == version
        if number % 5 == 0:
            decision = consider(models, finished)
            assert decision.promoted and decision.reason.startswith("category rose"), decision
            assert [made.version for made in models.active().history] == [version]
        shutil.rmtree(folder, ignore_errors=True)
    assert None in answered


def work(folder: Path, runs: list[Path]) -> None:
    """Add, promote, roll back and make room without end."""
    models = Registry(folder, "nano", 20, most=2)
    while True:
        for finished in runs:
            models.add(finished, finished.name)
            models.promote(finished.name, "better")
        models.roll_back()
        models.remove_oldest()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_killed_at_any_moment_the_one_or_the_other_answers(tmp_path: Path):
    """SIGKILL while versions are added, promoted, rolled back and removed: what is active is whole; work goes on."""
    chance, folder = random.Random(3), tmp_path / "models"
    runs = []
    for name in ("a", "b", "c"):
        folder_of, _ = run(tmp_path / "runs" / name)
        (folder_of / CHECKPOINT / "model.safetensors").write_bytes(name.encode() * 3_000_000)
        runs.append(folder_of)
    kills = 0
    seen = set()
    while kills < PROMOTION_KILLS:
        # A fork of this process, which has imported everything: nothing of a kill's time is spent on that.
        child = multiprocessing.get_context("fork").Process(target=work, args=(folder, runs))
        child.start()
        child.join(chance.random() * 0.15)
        assert child.is_alive() and child.pid is not None, "it ended by itself, with an error"
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += 1
        models = Registry(folder, "nano", 20)
        active = models.active()
        seen.add(active.version)
        for name in {*models.names(), active.version} - {None}:
            kept = models.version(str(name))
            assert kept.report.validation.regions == 40
            assert (kept.folder / "model.safetensors").read_bytes() == kept.version.encode() * 3_000_000
        assert [made.version for made in active.history][-1:] in ([], [active.version])
        if chance.random() < 0.3:
            shutil.rmtree(folder, ignore_errors=True)
    assert len(seen) > 1
    Registry(folder, "nano", 20).add(runs[0], "a")
    assert not list(folder.glob(".changing-*")) and not list(folder.glob(".active*"))
