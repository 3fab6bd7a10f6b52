"""`pam-studio train` as a job runs it: exit codes, messages, and what it prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from backend.cli import app
from tests.backend.dataset.formats.samples import photographs, write

ROOT = Path(__file__).parents[2]


def train(*arguments: object) -> tuple[int, str]:
    """Exit code and all that was printed."""
    ended = CliRunner().invoke(app, ["train", *map(str, arguments)], catch_exceptions=False, env={"COLUMNS": "200"})
    return ended.exit_code, ended.output


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path):
    """With exit code 2 and one message that says what and why."""
    (tmp_path / "a.jsonl").write_text("{}\n")
    for data, says in (
        (tmp_path / "none", "no such file"),
        (tmp_path, "no data set"),
        (tmp_path / "a.jsonl", "no region"),
    ):
        code, told = train("--data", data, "--out", tmp_path / "run")
        assert code == 2 and says in told and "Traceback" not in told


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="refused only where there are no GPUs to share")
def test_sharing_needs_gpus(tmp_path: Path):
    """It is refused, not done without."""
    code, told = train("--data", tmp_path, "--out", tmp_path / "run", "--sharded")
    assert code == 2 and "several GPUs" in told


@pytest.mark.parametrize(
    ("option", "value"),
    [("--steps", 0), ("--rehearse", 2), ("--device", "tpu"), ("--precision", "int4"), ("--rank", -1), ("--threads", 0)],
)
def test_options_are_checked(tmp_path: Path, option: str, value: object):
    """Before anything is loaded."""
    code, told = train("--data", tmp_path, "--out", tmp_path / "run", option, value)
    assert code == 2 and option in told
    assert not (tmp_path / "run").exists()


def test_a_run_prints_what_it_brought(tmp_path: Path):
    """A table of before and after; another seed in the same folder is refused, the same options are done already."""
    write(tmp_path / "v0001", photographs(), ["pam_jsonl", "coco"])
    arguments = (
        "--data", tmp_path / "v0001", "--out", tmp_path / "run", "--steps", 1, "--batch", 1, "--rehearse", 0,
        "--device", "cpu", "--judged", 1,
    )  # fmt: skip
    code, told = train(*arguments)
    assert code == 0, told
    assert "words: 1 of 3" in told and "rouge-l" in told and "checkpoint" in told
    assert "before → after, by class" in told and "cup" in told
    assert f"pam-studio models consider {tmp_path / 'run'}" in told
    code, told = train(*arguments, "--seed", 1)
    assert code == 2 and "another run (seed 0, not 1)" in told
    code, told = train(*arguments)
    assert code == 0 and "is done already" in told and "rouge-l" in told


def test_a_run_without_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As the README has it: it goes where the same command finds it again, under the version that `latest` leads to."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data" / "regions" / "v0001", photographs(), ["pam_jsonl", "coco"])
    (tmp_path / "data" / "regions" / "latest").symlink_to("v0001")
    arguments = ("--data", "data/regions/latest", "--base", "nano", "--steps", 1, "--batch", 1, "--rehearse", 0)
    code, told = train(*arguments, "--device", "cpu", "--judged", 1)
    assert code == 0 and "data/training/v0001-nano/checkpoint" in told, told
    assert (tmp_path / "data" / "training" / "v0001-nano" / "report.json").is_file()


def test_help_does_not_wait_for_pytorch():
    """Nothing that brings it in is imported before the options are read."""
    code = "import sys, backend.cli; sys.exit('torch' in sys.modules or 'accelerate' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0
