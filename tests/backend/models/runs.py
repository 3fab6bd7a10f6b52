"""Finished trainings, as `pam-studio train` leaves them: a real checkpoint, and a report."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import model
from backend.models import Registry
from model import checkpoints

BASE = checkpoints.read("nano").version(checkpoints.read("nano").recorded or "")
"""The version of nano."""

Fields = Mapping[str, tuple[Sequence[float | None], Sequence[float | None]]]

BETTER: Fields = {"category": ([0.0] * 20 + [1.0] * 20, [0.0] * 4 + [1.0] * 36), "mask": ([0.8] * 40, [0.8] * 40)}
WORSE: Fields = {"category": ([1.0] * 36 + [0.0] * 4, [1.0] * 20 + [0.0] * 20), "mask": ([0.5] * 40, [0.9] * 40)}


@functools.cache
def trained(seed: int) -> tuple[Path, str]:
    """A checkpoint that is nano with slightly other weights, and its version; it stays until the process ends."""
    pam = model.load("nano")
    chance = torch.Generator().manual_seed(seed)
    for name, weights in pam.named_parameters():
        if name.startswith(("perceiver", "language", "semantic_projector")):
            weights.mul_(1 + 0.02 * torch.randn(weights.shape, generator=chance))
    made = Path(tempfile.mkdtemp(prefix="pam-test-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    folder = made / "checkpoint"
    checkpoints.save(pam, folder, {"seed": seed})
    checkpoint = checkpoints.read(folder)
    return folder, checkpoint.version(checkpoint.recorded or "")


def report(version: str, fields: Fields = BETTER, base: str = BASE, regions: int = 40) -> dict[str, Any]:
    scores = {
        name: {"metric": "IoU" if name == "mask" else "accuracy", "before": list(before), "after": list(after)}
        for name, (before, after) in fields.items()
    }
    return {
        "base": base, "version": version, "data": {"path": "data/regions/v0001", "train": 200, "validation": regions},
        "validation": {"regions": regions, "fields": scores},
        "per_class": {"coin": {"regions": 3, "mask": [0.5, 0.75], "category": [0.0, 1.0]}},
    }  # fmt: skip


def run(folder: Path, seed: int = 1, fields: Fields = BETTER, base: str = BASE) -> tuple[Path, str]:
    """A finished training in `folder`, and the version that it made."""
    checkpoint, version = trained(seed)
    folder.mkdir(parents=True)
    shutil.copytree(checkpoint, folder / "checkpoint")
    (folder / "report.json").write_text(json.dumps(report(version, fields, base)))
    (folder / "report.md").write_text("# Trained\n")
    return folder, version


def registry(folder: Path) -> Registry:
    return Registry(folder / "models", "nano", 20)
