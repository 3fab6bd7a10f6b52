"""Nano's training: it learns, it resumes to the same result, and the shipped checkpoint has learned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import typer

import model
from model.checkpoints import CONFIG, NANO, TOKENIZER, load_tokenizer
from model.pam import PAM
from model.training import loop, nano
from model.training.closeness import CloseUpStage
from model.training.data import SceneBatches, Series, batches
from model.training.evaluation import evaluate
from model.training.segmentation import SegmentationStage
from model.training.words import WordStage


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Two threads on a busy machine can take thirty times as long as one."""
    torch.set_num_threads(1)


def fresh() -> PAM:
    tokenizer = load_tokenizer(NANO / TOKENIZER)
    torch.manual_seed(0)
    return PAM(nano.nano_config(len(tokenizer)), tokenizer)


def run(state: Path, steps: int = 8, fail_at: int | None = None) -> dict[str, torch.Tensor]:
    """A very short stage two; `fail_at` plays a power cut in front of that step."""
    stage = CloseUpStage(fresh())
    drawn = SceneBatches(Series(3, steps, 1, 2, 256, 128, 0.8))

    def until(start: int):
        for number, batch in enumerate(batches(drawn, start, workers=0), start):
            if number == fail_at:
                raise KeyboardInterrupt
            yield batch

    loop.train(stage, until, steps, state)
    return stage.state_dict()


def test_a_killed_run_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Resuming gives the very weights of an undisturbed run."""
    monkeypatch.setattr(loop, "SAVE_EVERY", 3)
    undisturbed = run(tmp_path / "one.pt")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "two.pt", fail_at=5)
    resumed = run(tmp_path / "two.pt")
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)


def test_a_run_may_be_made_longer_until_its_rate_falls():
    """Two runs that differ in their steps are the same up to where the shorter one cools down."""
    short, long = ([loop._rate(step, steps) for step in range(steps)] for steps in (2000, 3000))
    assert short[:1300] == long[:1300] and max(long) == 1
    assert short[0] < 0.1 and short[-1] <= 0.02 and long[-1] <= 0.02
    assert all(a >= b for a, b in zip(long[100:], long[101:], strict=False))


@pytest.mark.parametrize("make", [SegmentationStage, CloseUpStage, WordStage])
def test_each_stage_learns(tmp_path: Path, make):
    """Its loss falls within a few steps on the same scenes."""
    stage = make(fresh())
    batch = SceneBatches(Series(5, 1, 2, 3, 256, 128, 1.0))[0]
    before = float(stage(batch, 0.5)[0].detach())
    state = tmp_path / "state.pt"
    loop.train(stage, lambda start: [batch] * (12 - start), 12, state)
    stage.load_state_dict(torch.load(state, weights_only=True)["stage"])
    assert float(stage(batch, 0.5)[0].detach()) < 0.95 * before


@pytest.mark.slow
def test_the_command_makes_a_checkpoint_that_has_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """From nothing to a checkpoint in some minutes: on scenes that are all new, each loss is well below its start,
    and what comes out can be loaded, is calibrated, and says how it was made."""
    monkeypatch.setattr(loop, "SHOW_EVERY", 5)
    nano.main(
        out=tmp_path / "out", work=tmp_path / "work", begin=None, seed=0, mask_steps=12, close_steps=60,
        word_steps=60, clip_steps=15, images=2, objects=4, threads=1, workers=0, eval_scenes=8, device="cpu",
    )  # fmt: skip
    history = json.loads((tmp_path / "work" / nano.HISTORY).read_text())
    assert set(history) == {"masks", "close-ups", "words", "clips"}
    for stage, figure, share in (
        ("close-ups", "facts", 0.98),
        ("words", "caption", 0.9),
        ("words", "explanation", 0.9),
        ("clips", "clip caption", 0.9),
    ):
        first, *_, last = history[stage]
        assert last[figure] < share * first[figure], (stage, figure)
    pam = model.load(tmp_path / "out", threads=1)
    assert set(pam.config.calibration) == {"category", "explanation", "caption"}
    about = json.loads((tmp_path / "out" / CONFIG).read_text())["about"]
    assert about["command"].endswith(
        "--mask-steps 12 --close-steps 60 --word-steps 60 --clip-steps 15 --images 2 --objects 4"
    )
    assert about["figures"]["trained"]["scenes"] == 8
    for picture in ("curves.png", "reliability.png"):
        assert (tmp_path / "work" / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_shipped_checkpoint_has_learned():
    """On scenes that neither training nor its evaluation drew, words are above an untrained model's, and near the
    figures in the checkpoint."""
    figures = json.loads((NANO / CONFIG).read_text())["about"]["figures"]
    measured = evaluate(model.load("nano", threads=1), seed=77, scenes=60)
    for name, gain in (("category", 0.08), ("colour", 0.4), ("size", 0.4), ("place", 0.4)):
        assert measured[name] > figures["untrained"][name] + gain
        assert measured[name] > figures["trained"][name] - 0.2
    assert measured["explanation fits category"] > 0.8


def test_a_folder_of_progress_belongs_to_one_run(tmp_path: Path):
    """Another seed does not go on with this seed's weights."""
    nano.claim(tmp_path, {"seed": 0})
    nano.claim(tmp_path, {"seed": 0})
    with pytest.raises(typer.BadParameter, match="holds a run with {'seed': 0}"):
        nano.claim(tmp_path, {"seed": 1})


def test_a_run_goes_on_from_another_nano(tmp_path: Path):
    """With --begin, the tokenizer is that checkpoint's, the weights fit, and the configuration is the new one."""
    pam, old = nano.beginning(NANO, tmp_path, seed=1), model.load(NANO)
    pam.load_state_dict(old.state_dict())
    assert pam.config.close_up == nano.CLOSE_UP and pam.config.unknown == "object"
    assert pam.tokenizer.get_vocab() == old.tokenizer.get_vocab()
