"""The benchmark of closed lists: it runs, and what it writes into a checkpoint is read by the model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import model
from model.checkpoints import NANO
from model.training.shapes import CATEGORIES

ROOT = Path(__file__).parents[2]


def test_figures_picture_and_temperature(tmp_path: Path):
    """Six scenes are too few to say anything, but every output is there and agrees with the others."""
    folder = shutil.copytree(NANO, tmp_path / "nano")
    out, plot = tmp_path / "figures.json", tmp_path / "plot.png"
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.vocabulary", "--model", folder, "--scenes", "6", "--write"]
        + ["--out", out, "--plot", plot],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    figures = json.loads(out.read_text())
    assert json.loads(result.stdout) == figures
    assert figures["regions"] == {"fitted on": 6, "reported on": 6} and figures["labels"] == len(CATEGORIES)
    assert Image.open(plot).size == (960, 480)
    fitted = figures["ranked, with temperature"]["temperature"]
    assert 0.05 <= fitted <= 20
    assert model.load(folder).config.label_temperature == pytest.approx(fitted)


def test_the_shipped_temperature_is_the_measured_one():
    """Nano's configuration holds what the benchmark found, and says how."""
    config = json.loads((NANO / "config.json").read_text())
    measured = config["about"]["vocabulary"]
    assert config["model"]["label_temperature"] == measured["ranked, with temperature"]["temperature"]
    assert measured["command"].startswith("python -m benchmarks.vocabulary")
