"""Objects of real photographs that move over other ones, with known truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path as FilePath

import numpy as np
import pytest
import torch

from benchmarks.moving import Path, clip
from benchmarks.perceive.sizes import configuration, fill, outline
from model import PAM
from model.frames import Frame
from model.prompt import Box, Prompt
from model.tracking import Tracker
from tests.model.tracking.conftest import boxed, iou

FRAMES = 36


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(FilePath("/proc/self/statm").read_text().split()[1]) * 4096


def tracked(nano: PAM, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """IoU where the object is seen, and whether something is found where it is not."""
    tracker = Tracker(nano)
    found, false = [], []
    for i, moving in enumerate(clip(path)):
        prompts = {"it": boxed(moving.truth)} if i == 0 else None
        mask = tracker.step(Frame(i, i / 25, moving.image), prompts).objects["it"].mask
        if moving.truth.any():
            found.append(iou(mask, moving.truth))
        else:
            false.append(bool(mask.any()))
    return np.array(found), np.array(false)


@pytest.mark.parametrize("seed", [0, 4, 5])
def test_an_object_that_moves(nano: PAM, seed: int):
    """It grows, turns and drifts over a background that moves too: the promised mean IoU, from one box."""
    found, _ = tracked(nano, Path(seed, FRAMES))
    assert found.mean() > 0.75
    assert found[-5:].mean() > 0.6


@pytest.mark.parametrize("seed", [3, 4])
def test_an_object_that_leaves_and_comes_back(nano: PAM, seed: int):
    """Nothing is found while it is away, and it is found again."""
    found, false = tracked(nano, Path(seed, 60, "leaves"))
    assert len(false) > 5
    assert false.mean() < 0.2
    assert found[-3:].mean() > 0.6


def test_an_object_that_never_comes_back(nano: PAM):
    """It stays gone."""
    _, false = tracked(nano, Path(4, FRAMES, "gone"))
    assert len(false) > 5
    assert false.mean() < 0.2


def test_an_object_that_is_hidden_for_a_while(nano: PAM):
    """A bar passes before it."""
    found, _ = tracked(nano, Path(4, 48, "occluded"))
    assert found.mean() > 0.6
    assert found[-4:].mean() > 0.7


def test_an_object_that_comes_back_as_it_was_before_it_was_mended(nano: PAM):
    """It turned, and was boxed anew: what it looked like at first is remembered beside what it looked like then."""
    rng = np.random.default_rng(1)
    ground = np.full((96, 128, 3), 90, np.uint8)
    front, back = (
        np.kron(rng.integers(120, 255, (6, 8, 3)), np.ones((4, 4, 1))).astype(np.uint8)  # sides of one thing
        for _ in range(2)
    )
    tracker, seen = Tracker(nano), []
    for i in range(36):
        side = front if i < 4 or i > 18 else back
        image = ground.copy()
        if not 8 <= i <= 18:
            image[40:64, 20 + i : 52 + i] = side
        box = Prompt(box=Box(20 + i, 40, 52 + i, 64))
        found = tracker.step(Frame(i, i / 25, image), {"it": box} if i in (0, 4) else None).objects["it"]
        seen.append(found.visible and iou(found.mask, np.any(image != ground, axis=2)) > 0.5)
    assert all(seen[:8]) and not any(seen[8:19])
    assert all(seen[-5:])


@pytest.fixture(scope="module")
def smallest() -> PAM:
    """As small as SAM 2's memory can be had, with weights drawn at random: what is kept does not depend on them."""
    plain = configuration("nano")
    overrides = (*plain.sam.overrides, "model.image_size=64")
    sized = (each for each in overrides if each != "model.image_size=256")
    sam = replace(plain.sam, overrides=tuple(each.replace("feat_sizes=[16,16]", "feat_sizes=[4,4]") for each in sized))
    config = replace(plain, name="smallest", sam=sam, proposals=False, close_up=0)
    return fill(outline(config), torch.device("cpu"), torch.float32).eval()


@pytest.mark.parametrize("by", ["motion", "memory"])
def test_memory_is_flat(nano: PAM, smallest: PAM, by: str):
    """2,000 frames take no more than 200 did, by SAM 2's memory and with corrections; by motion, which keeps less, half
    as many."""
    count = 2000 if by == "memory" else 1000
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (96, 128, 3)).astype(np.uint8)
    thing = rng.integers(120, 255, (24, 30, 3)).astype(np.uint8)
    tracker, held = Tracker(nano if by == "motion" else smallest), {}
    for i in range(count + 1):
        image = ground.copy()
        x, y = int(49 + 40 * np.sin(i / 30)), int(36 + 30 * np.cos(i / 40))
        image[y : y + 24, x : x + 30] = thing
        box = Prompt(box=Box(x, y, x + 30, y + 24))
        mended = by == "memory" and i % 100 == 50
        prompts = {"it": box} if i == 0 or mended else None
        tracker.step(Frame(i, i / 25, image), prompts)
        if i in (200, count):
            held[i] = resident()
    assert held[count] - held[200] < 24 << 20
