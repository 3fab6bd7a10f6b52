"""Nano's training: it learns, it resumes to the same result, and the shipped checkpoint has learned."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
import typer

import model
from model.checkpoints import CONFIG, NANO, TOKENIZER, load_tokenizer
from model.pam import PAM
from model.training import loop
from model.training.data import SceneBatches, batches
from model.training.evaluation import evaluate
from model.training.nano import claim, nano_config
from model.training.segmentation import SegmentationStage
from model.training.words import WordStage


def fresh() -> PAM:
    tokenizer = load_tokenizer(NANO / TOKENIZER)
    torch.manual_seed(0)
    return PAM(nano_config(len(tokenizer)), tokenizer).train()


def run(state: Path, steps: int = 8, fail_at: int | None = None) -> dict[str, torch.Tensor]:
    """A very short stage one; `fail_at` plays a power cut in the middle of that step."""
    stage = SegmentationStage(fresh().sam)

    def loss(stage, batch, step):
        if step == fail_at:
            raise KeyboardInterrupt
        return stage(batch, step / steps)

    loop.train(stage, partial(batches, SceneBatches(3, steps, 1, 2, 256, 0.8), workers=0), loss, steps, state)
    return stage.state_dict()


def test_a_killed_run_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Resuming gives the very weights of an undisturbed run."""
    monkeypatch.setattr(loop, "SAVE_EVERY", 3)
    undisturbed = run(tmp_path / "one.pt")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "two.pt", fail_at=5)
    resumed = run(tmp_path / "two.pt")
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)


def test_both_stages_learn(tmp_path: Path):
    """Their losses fall within a few steps on the same scenes."""
    pam = fresh()
    scenes = SceneBatches(5, 1, 2, 3, 256, 1.0)
    batch = scenes[0]
    for stage, loss in (
        (SegmentationStage(pam.sam), lambda s, b, i: s(b, 0.5)),
        (WordStage(pam, 0), lambda s, b, i: s(b, 0)),
    ):
        state = tmp_path / f"{type(stage).__name__}.pt"
        before = float(loss(stage, batch, 0)[0].detach())
        loop.train(stage, lambda start: [batch] * (12 - start), loss, 12, state)
        pam.train()
        optimised = torch.load(state, weights_only=True)["stage"]
        stage.load_state_dict(optimised)
        assert float(loss(stage, batch, 0)[0].detach()) < 0.95 * before


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
    claim(tmp_path, {"seed": 0})
    claim(tmp_path, {"seed": 0})
    with pytest.raises(typer.BadParameter, match="holds a run with {'seed': 0}"):
        claim(tmp_path, {"seed": 1})
