"""A whole run: what it leaves behind, and that kills, full disks and vanished data leave nothing half done."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import model
from model.errors import CheckpointError, RecordError, TrainingError
from model.training.finetune import run as run_module
from model.training.finetune.loop import Stopped
from model.training.finetune.run import Options, run
from tests.backend.kills import TRAINING_KILLS

Make = Callable[..., Options]


def result(out: Path) -> dict[str, object]:
    """What must be the same for the same options."""
    files = ("checkpoint/model.safetensors", "report.json", "report.md")
    history = torch.load(out / "words.pt", weights_only=True)["history"]
    return {"history": history, **{name: (out / name).read_bytes() for name in files}}


@pytest.fixture(scope="module")
def undisturbed(version: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the options that the kills disturb."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    process = started(tiny(version, out))
    process.join()
    assert process.exitcode == 0
    return out


def tiny(version: Path, out: Path) -> Options:
    pace = run_module.Pace(at_once=1, save_every=2, show_every=3)
    return Options(
        version, "nano", out, steps=6, batch=1, rehearse=0.0, judged=1, device="cpu", precision="float32", pace=pace
    )


def started(options: Options) -> multiprocessing.process.BaseProcess:
    # A fork of this process, which has imported everything: nothing of a kill's time is spent on that.
    process = multiprocessing.get_context("fork").Process(target=run, args=(options,))
    process.start()
    return process


def test_a_run_leaves_a_model_and_what_it_is_worth(options: Make):
    """A checkpoint that loads and is not the base, the report of the agreed form, curves, TensorBoard, progress."""
    chosen, shown = options(), []
    report = run(chosen, lambda stage, step, steps: shown.append((stage, step, steps)))
    pam = model.load(chosen.out / "checkpoint")
    assert (report["base"], report["version"]) == (model.load("nano").version, pam.version)
    assert report["base"] != report["version"]
    assert report == json.loads((chosen.out / "report.json").read_text())
    assert {key: report["data"][key] for key in ("train", "validation")} == {"train": 5, "validation": 1}
    fields = report["validation"]["fields"]
    assert [fields[name]["metric"] for name in ("mask", "category", "explanation", "caption")] == [
        "IoU", "accuracy", "rouge-l", "rouge-l",
    ]  # fmt: skip
    assert all(len(field["before"]) == len(field["after"]) for field in fields.values())
    assert len(fields["caption"]["before"]) == 1 and not fields["explanation"]["before"]
    assert list(report["per_class"]) == ["cup"] and report["per_class"]["cup"]["regions"] == 1
    for name, field in fields.items():  # one region is its own mean
        assert report["per_class"]["cup"][name] == [*field["before"], *field["after"]] or [None, None], name
    assert "zh" in pam.config.languages, "Chinese was among the texts"
    assert (chosen.out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((chosen.out / "tensorboard" / "words").iterdir())
    assert "| caption | rouge-l | 1 |" in (chosen.out / "report.md").read_text()
    progress = json.loads((chosen.out / "progress.json").read_text())
    assert (progress["step"], progress["steps"], progress["seconds_left"]) == (6, 6, 0.0)
    assert [step for _, step, _ in shown] == [1, 2, 3, 4, 5, 6]


def test_a_region_is_learned(options: Make):
    """The cross entropies of what people wrote fall, and so the new words are the likelier ones."""
    chosen = options(steps=12)
    run(chosen)
    history = torch.load(chosen.out / "words.pt", weights_only=True)["history"]
    for task in ("recognize_en", "class"):
        rows = [row[task] for row in history if task in row]
        assert rows[-1] < 0.8 * rows[0], task


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_killed_anywhere_the_result_is_that_of_an_undisturbed_run(version: Path, undisturbed: Path, tmp_path: Path):
    """After each SIGKILL no file is half there, and in the end the model is the same, to the byte."""
    chance, kills, longest = random.Random(6), 0, 6.0
    wanted = result(undisturbed)
    out = tmp_path / "run"
    while kills < TRAINING_KILLS:
        process = started(tiny(version, out))
        process.join(chance.random() * longest)
        if process.exitcode is None and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), "it ended by itself, with an error"
        kills += process.exitcode == -signal.SIGKILL
        if (out / "progress.json").exists():
            json.loads((out / "progress.json").read_text())
        if (out / "checkpoint").exists():
            model.load(out / "checkpoint")
        if process.exitcode == 0:  # it was faster than the kill: the next kills must come earlier
            assert result(out) == wanted
            shutil.rmtree(out)
            longest *= 0.8
    run(tiny(version, out))
    assert result(out) == wanted


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_asked_to_end_it_saves_and_says_so(version: Path, undisturbed: Path, tmp_path: Path):
    """SIGTERM between two saved states loses no step, and the exit code names the signal."""
    out = tmp_path / "run"
    options = replace(tiny(version, out), pace=run_module.Pace(at_once=1, save_every=100, show_every=3))

    def end_after_three(stage: str, step: int, steps: int) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped) as stopped:
        run(options, end_after_three)
    assert stopped.value.signum == signal.SIGTERM
    assert torch.load(out / "words.pt", weights_only=True)["step"] in (3, 4)
    run(options)
    assert result(out) == result(undisturbed)


@pytest.mark.parametrize(
    ("stage", "step", "file"), [("words", 3, "words.pt"), ("judging the old model", 7, "checkpoint")]
)
def test_a_full_disk_leaves_what_was_whole(
    undisturbed: Path, version: Path, tmp_path: Path, stage: str, step: int, file: str
):
    """In the middle of a saved state, or of the checkpoint: no half of it stays, the message says what to do, and with
    room the run ends the same."""
    out = tmp_path / "run"

    def full(now: str, done: int, steps: int) -> None:
        if (now, done) == (stage, step):
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(CheckpointError, match=f"{file}.* cannot be written"):
            run(tiny(version, out), full)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert torch.load(out / "words.pt", weights_only=True)["step"] == min(step - 1, 6)
    assert not (out / "report.json").exists() and not (out / "checkpoint" / "model.safetensors").exists()
    assert not list(out.rglob(".*.part"))
    run(tiny(version, out))
    assert result(out) == result(undisturbed)


def test_a_data_set_that_vanishes(options: Make, version: Path, tmp_path: Path):
    """In the middle of a run it is refused with the picture's name, and goes on when the data is back."""
    copy = tmp_path / "copy"
    shutil.copytree(version, copy)
    chosen = options(data=copy)

    def vanish(stage: str, step: int, steps: int) -> None:
        if step == 2:
            (copy / "images").rename(tmp_path / "away")

    with pytest.raises(RecordError, match="is gone.*goes on from here"):
        run(chosen, vanish)
    (tmp_path / "away").rename(copy / "images")
    assert run(chosen)["version"]
    shutil.rmtree(copy)
    assert run(chosen)["version"], "a finished run needs its data no more"


def test_a_folder_belongs_to_one_run(options: Make):
    """Another seed does not go on with this seed's weights, and one that went on is told apart by name."""
    first = options(out=options().out / "x", steps=1)
    with pytest.raises(RecordError):
        run(replace(first, data=first.out / "none"))
    run_module.claim(first.out, {"seed": 0})
    with pytest.raises(TrainingError, match="holds another run .*seed 0, not 1"):
        run_module.claim(first.out, {"seed": 1})


def test_a_link_is_followed_once(options: Make, version: Path, tmp_path: Path):
    """`latest` leads to a newer version by the time a stopped run goes on: it stays with the one it began with."""
    link, newer = tmp_path / "latest", tmp_path / "v0002"
    link.symlink_to(version)
    chosen = options(data=link)

    def exported_meanwhile(stage: str, step: int, steps: int) -> None:
        if step == 1:
            link.unlink()
            link.symlink_to(newer)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped):
        run(chosen, exported_meanwhile)
    assert run(chosen)["data"]["path"] == str(version.resolve())


def test_nano_s_masks_learn_by_their_ranker(options: Make):
    """`--masks` gives the checkpoint a ranker of its own; SAM 2's decoder is not what finds nano's masks."""
    chosen = options(masks=True, steps=1)
    run(chosen)
    pam = model.load(chosen.out / "checkpoint")
    assert pam.config.ranker and (chosen.out / "ranker.pt").exists() and not (chosen.out / "masks.pt").exists()


def test_masks_need_masks(options: Make, version: Path, tmp_path: Path):
    """Without them `--masks` is refused before anything is trained."""
    copy = tmp_path / "copy"
    shutil.copytree(version, copy, ignore=shutil.ignore_patterns("coco"))
    with pytest.raises(RecordError, match="no masks to learn from"):
        run(options(data=copy, masks=True))
    assert run(options(data=copy, steps=1))["validation"]["fields"]["mask"]["before"] == []
