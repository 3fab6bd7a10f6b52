"""A small version of a data set on real photographs, as an export writes it, and a run on it that takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model.training.finetune.loop import Pace
from model.training.finetune.run import Options
from tests.backend.dataset.formats.samples import photographs, write


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Two threads on a busy machine can take thirty times as long as one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five regions on three photographs to train on, one on another to validate with."""
    folder = tmp_path_factory.mktemp("dataset") / "v0001"
    write(folder, photographs(), ["pam_jsonl", "coco"])
    return folder


@pytest.fixture
def options(version: Path, tmp_path: Path) -> Callable[..., Options]:
    """A run of a few small steps; what a test names is otherwise."""
    few = Options(
        data=version, base="nano", out=tmp_path / "run", steps=4, batch=2, rehearse=0.0, judged=1, device="cpu",
        precision="float32", pace=Pace(at_once=2, save_every=1, show_every=2),
    )  # fmt: skip
    return lambda **others: replace(few, **others)
