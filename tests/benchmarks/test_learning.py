"""benchmarks/learning: it runs to its end, figures and picture included, and corrections show in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks import learning


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three things of each class, two of which may be corrected, one photograph beside the coins, a small index; one
    thread, set back since it is the whole process's."""
    monkeypatch.setattr(learning, "EACH", 3)
    monkeypatch.setattr(learning, "MOST_SHOTS", 2)
    monkeypatch.setattr(learning, "SHOTS", (0, 1, 2))
    monkeypatch.setattr(learning, "PHOTOGRAPHS", ("chelsea",))
    monkeypatch.setattr(learning.look_up, "__defaults__", (500, 3))
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_curves_of_what_memory_learns(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Nothing is named before the first correction, more is after it, and the spread over two seeds is there."""
    learning.main(tmp_path / "out", seeds=2)
    found = json.loads((tmp_path / "out" / "learning.json").read_text())
    alone, coins = found["drawn"]["memory alone"], found["photographs"]["coins called so"]
    assert alone["0"] == [0.0] * 2 * learning.DRAWS and coins["0"] == [0.0, 0.0]
    assert min(alone["2"]) > 0.2 and min(coins["1"]) > 0.5
    width, height = Image.open(tmp_path / "out" / "learning.png").size
    assert width > 1000 and height > 400
    assert "| memory alone |" in capsys.readouterr().out
