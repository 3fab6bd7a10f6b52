"""benchmarks/perceive: it runs, its figures fit together, and both procedures say the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from benchmarks.perceive import procedure, report, roofline, sizes
from benchmarks.perceive.__main__ import app, check_memory
from benchmarks.perceive.measure import PHASES, Peak, Run, peak_memory
from model import CheckpointError, load

TOKENS = 4


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch):
    """A bandwidth of little memory, which is quick and wrong; one thread, set back since it is the whole process's."""
    monkeypatch.setitem(procedure.BANDWIDTH_BYTES, "cpu", 8 << 20)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "photograph.png"
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).resize((192, 144)).save(path)
    return path


@pytest.mark.parametrize("model", [["--weights", "nano"], ["--random-weights", "--size", "nano"]], ids=" ".join)
def test_measures_both_procedures(model: list[str], photograph: Path, tmp_path: Path):
    """A whole run: every figure is there, answers are the same token for token, and there is a picture to look at."""
    out = tmp_path / "out"
    options = ["--rounds", "1", "--new-tokens", str(TOKENS), "--regions", "2", "--image", str(photograph)]
    run = CliRunner().invoke(app, [*model, *options, "--out", str(out)])
    assert run.exit_code == 0, run.output
    results = json.loads((out / "perceive.json").read_text())
    assert results["settings"]["new_tokens"] == TOKENS and results["settings"]["dtype"] == "float32"
    times = {
        *PHASES,
        "decode, one step",
        "decode, per token",
        "time to mask",
        "time to first word",
        "time to all fields",
    }
    for side in ("official", "studio"):
        assert set(results["figures"][side]) == times
        assert all(figure["median"] > 0 for figure in results["figures"][side].values())
        [round_] = results["rounds"][side]
        assert [len(ids) for ids in round_["tokens"]] == [TOKENS] * 3
        assert round_["mask"] < round_["first_word"] < round_["fields"]
        assert sum(round_["phases"].values()) == pytest.approx(round_["fields"])
    assert set(results["figures"]["ratio"]) == times
    assert all(comparison["equal"] for comparison in results["tokens"].values()), results["tokens"]
    assert results["second_click"]["second"]["median"] > 0 and results["regions"]["count"] == 2
    assert results["roofline"]["bytes_per_step"] > 0 and set(results["roofline"]["share"]) == {"official", "studio"}
    assert results["memory"] is None or results["memory"]["studio"]["peak"] > 0
    width, height = Image.open(out / "perceive.png").size
    assert width > 1000 and height > 400
    assert "time to all fields" in (out / "perceive.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "say which model"),
        (["--weights", "nano", "--random-weights"], "say which model"),
        (["--weights", "no/such folder"], "no/such folder"),
        (["--random-weights", "--device", "cuda:77"], "cuda:77"),
    ],
)
def test_says_what_is_wrong(options: list[str], message: str):
    """Nothing is measured, nothing is a traceback."""
    run = CliRunner().invoke(app, options)
    assert run.exit_code != 0 and isinstance(run.exception, SystemExit)
    assert message in run.output


def test_what_does_not_fit_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch):
    """The largest size takes no memory until it is known to fit; the message says how much is needed and free."""
    monkeypatch.setattr(sizes, "free_memory", lambda device: 5 << 30)
    outline = sizes.outline(sizes.configuration("3b"))
    assert all(parameter.is_meta for parameter in outline.parameters())
    with pytest.raises(CheckpointError, match=r"3b in float32 needs about 1\d\.\d GiB .* 5\.0 GiB are free on cpu"):
        check_memory(outline, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(("size", "elements"), [("1.5b", 1_777_088_000), ("3b", 3_397_103_616)])
def test_sizes_are_the_published_ones(size: str, elements: int):
    """The language models have as many weights as the published manifests count, tied heads counted twice as there."""
    language = sizes.outline(sizes.configuration(size)).language
    assert sum(tensor.numel() for tensor in language.state_dict().values()) == elements


def test_an_interrupt_keeps_the_rounds_that_are_complete(monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C in the second round: the figures are those of the first."""
    measured, once = procedure.studio.one_by_one, []

    def interrupted(*arguments):
        once.append(1)
        if len(once) == 3:  # the first is the comparison, then one a round
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(procedure.studio, "one_by_one", interrupted)
    task = procedure.Task(np.full((40, 60, 3), 90, np.uint8), rounds=5, new_tokens=2, regions=2)
    results = procedure.measure(load("nano"), task, lambda what: None)
    assert results["interrupted"] and len(results["rounds"]["official"]) == len(results["rounds"]["studio"]) == 1


def test_an_interrupt_before_that_leaves_no_figures():
    """Half a round is no figure."""

    def stop(what: str) -> None:
        raise KeyboardInterrupt

    task = procedure.Task(np.full((40, 60, 3), 90, np.uint8), rounds=1, new_tokens=2, regions=1)
    with pytest.raises(KeyboardInterrupt):
        procedure.measure(load("nano"), task, stop)


def test_ratios_are_taken_round_by_round():
    """A machine that slows down between rounds slows both sides, and leaves the ratio as it was."""

    def run(scale: float, steps: int) -> Run:
        return Run(dict.fromkeys(PHASES, scale), scale, 2 * scale, 3 * scale, steps, [[1, 2, 3]] * 3)

    figures = report.summary([run(4, 6), run(40, 6)], [run(1, 2), run(10, 2)])
    assert figures["ratio"]["time to all fields"] == {"median": 4, "q1": 4, "q3": 4}
    assert figures["studio"]["decode, one step"]["median"] == pytest.approx(5.5 / 2)
    assert figures["studio"]["decode, per token"]["median"] == pytest.approx(5.5 / 6)
    assert figures["official"]["time to mask"] == {"median": 22, "q1": 13, "q3": 31}


def test_agreement_says_where_answers_part():
    """Per answer, the place of the first token that differs; and the share of all tokens that do not."""
    found = report.agreement([[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 9, 9]])
    assert found == {"equal": False, "share": 4 / 6, "first difference": [None, 1]}


def test_weights_of_a_step_are_counted_once_and_without_the_lookup():
    """A tied head is read once; the table that it is tied to is looked up, not read."""
    language = load("nano").language
    held = sum(p.numel() * p.element_size() for p in language.parameters())
    assert roofline.weights_per_step(language) == held


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the resident set's peak is read from Linux's /proc")
def test_peak_memory_sees_what_was_freed_again():
    """64 MiB that a piece of work takes and gives back are its peak; the next piece starts anew."""
    cpu, size = torch.device("cpu"), 64 << 20
    peak = peak_memory(cpu, lambda: torch.ones(size // 4).sum())
    assert isinstance(peak, Peak) and size * 0.9 < peak.peak - peak.before < size * 1.5
    after = peak_memory(cpu, lambda: None)
    assert after is not None and after.peak - after.before < size / 4
