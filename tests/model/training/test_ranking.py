"""A ranker learns from corrected masks what a project's masks look like, and goes with the model's checkpoint."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import model
from benchmarks.drawn_domain import draw_cells
from model import proposals
from model.checkpoints import save
from model.prompt import Point, Prompt
from model.proposals import ranker
from model.training.finetune import rankers
from model.training.ranking import Choice, record, tune


def middle(mask: np.ndarray) -> Prompt:
    depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return Prompt((Point(float(x), float(y)),))


def cell(seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    image, masks = draw_cells(seed, index)
    return image, masks[index % len(masks)]


@pytest.fixture(scope="module")
def choices() -> list[Choice]:
    found = []
    for index in range(8):
        image, mask = cell(1, index)
        found += record(image, mask, [middle(mask)], proposals.judge)
    return found


@pytest.fixture(scope="module")
def tuned(choices: list[Choice]) -> dict[str, np.ndarray]:
    return tune(ranker.stored(), choices, seed=0)


def test_whole_cells_are_shown_after_some_were_corrected(tuned: dict[str, np.ndarray]):
    """A click on the nucleus means the nucleus at first, and the cell after eight corrections of other cells."""

    def overlap(judge: object, index: int) -> float:
        image, mask = cell(2, index)
        shown = proposals.propose(proposals.prepare(image, judge), middle(mask), 1)[0].mask  # type: ignore[arg-type]
        return float((shown & mask).sum() / (shown | mask).sum())

    before = [overlap(proposals.judge, index) for index in range(6)]
    after = [overlap(lambda view, masks, traits: ranker.expected(tuned, traits), index) for index in range(6)]
    assert np.mean(after) > np.mean(before) + 0.2 and np.mean(after) > 0.85


def test_the_same_seed_gives_the_same_ranker(choices: list[Choice], tuned: dict[str, np.ndarray]):
    """And the one that comes with the package stays as it is."""
    before = {name: value.copy() for name, value in ranker.stored().items()}
    again = tune(ranker.stored(), choices, seed=0)
    assert all(np.array_equal(again[name], tuned[name]) for name in ranker.TENSORS)
    assert all(np.array_equal(before[name], ranker.stored()[name]) for name in ranker.TENSORS)


def test_a_ranker_goes_with_the_checkpoint(tuned: dict[str, np.ndarray], tmp_path: Path):
    """Saved and loaded it judges the same within float16; the version tells the two models apart."""
    import torch

    pam = model.load("nano", threads=1)
    rankers.give(pam, {name: torch.from_numpy(np.asarray(tuned[name])) for name in ranker.TENSORS})
    save(pam, tmp_path / "own", {})
    loaded = model.load(tmp_path / "own", threads=1)
    assert loaded.config.ranker and loaded.version != model.load("nano").version
    traits = np.random.default_rng(0).normal(0, 2, (40, len(tuned["mean"]))).astype(np.float32)
    own = loaded.ranker.judge(None, [], traits)
    assert np.abs(own - ranker.expected(tuned, traits)).max() < 0.02
    assert np.abs(own - ranker.expected(ranker.stored(), traits)).max() > 0.05
    image, mask = cell(3, 0)
    assert loaded.segment(loaded.encode(image), middle(mask)).mask.any()
