"""`pam-studio weights`, as people type it."""

from __future__ import annotations

import json
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner, Result

import model
from backend import cli
from model import CheckpointError
from model.checkpoints import CONFIG, NANO, WEIGHTS, convert, inspection, read, verify
from tests.backend.test_cli import pam_studio
from tests.model.checkpoints import published
from tests.model.checkpoints.published import write


@pytest.fixture
def nano_copy(tmp_path: Path) -> Path:
    """A copy of nano to damage."""
    return Path(shutil.copytree(NANO, tmp_path / "copy"))


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint in the published layout."""
    return write(tmp_path_factory.mktemp("official") / "PAM", "sharded bin", published.tensors())


def weights(*arguments: object) -> Result:
    """Run `pam-studio weights` in this process."""
    return CliRunner().invoke(cli.app, ["weights", *map(str, arguments)], env={"COLUMNS": "160"})


def change(folder: Path, name: str, tensor: Tensor) -> None:
    """Put another tensor into a checkpoint's file."""
    tensors = load_file(folder / WEIGHTS) | {name: tensor}
    save_file(tensors, folder / WEIGHTS)


def test_the_command_as_typed(tmp_path: Path):
    """In a process of its own: help that says what a source is, and one line for what is wrong."""
    help_text = pam_studio("weights", "--help").stdout
    assert all(word in help_text for word in ("show", "convert", "verify", "Perceive-Anything/PAM-3B"))
    result = pam_studio("weights", "verify", tmp_path / "nowhere")
    assert result.returncode == 1
    assert "nowhere is no checkpoint" in result.stderr and "Traceback" not in result.stderr


def test_show(official: Path, nano_copy: Path):
    """Parts add up to the whole, the version is the model's, and the table says the same as the JSON."""
    facts = json.loads(weights("show", official, "--json").stdout)
    tensors = published.tensors()
    assert (
        facts["parameters"] == sum(t.numel() for t in tensors.values()) == sum(p["parameters"] for p in facts["parts"])
    )
    assert facts["bytes"] == sum(t.nbytes for t in tensors.values()) == sum(p["bytes"] for p in facts["parts"])
    assert facts["version"] == model.load(official).version
    assert facts["tower"] == "sam2.1_hiera_t" and facts["format"] == "official"
    assert facts["language"]["hidden_size"] == 64
    assert facts["sam_from"] == [str(official / "pytorch_model-00001-of-00002.bin")]
    table = weights("show", nano_copy).stdout
    assert json.loads(weights("show", nano_copy, "--json").stdout)["version"] in table
    assert "language" in table and "float16" in table and str(nano_copy / WEIGHTS) in table


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_convert(dtype: str, official: Path, tmp_path: Path):
    """What comes out loads to the same model, rounded once, and passes its own verification."""
    out = tmp_path / "made" / "pam"
    assert weights("convert", official, out, "--dtype", dtype).exit_code == 0
    assert {file.name for file in out.iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}
    ours, theirs = model.load(out).state_dict(), model.load(official).state_dict()
    assert all(torch.equal(ours[name], theirs[name].to(getattr(torch, dtype)).float()) for name in theirs)
    result = weights("verify", out)
    assert result.exit_code == 0 and "is in order" in result.stdout
    assert list(tmp_path.joinpath("made").iterdir()) == [out]


def test_convert_replaces_only_when_told(nano_copy: Path, tmp_path: Path):
    """And never a folder of other things."""
    out = tmp_path / "out"
    assert weights("convert", nano_copy, out).exit_code == 0
    before = (out / WEIGHTS).read_bytes()
    result = weights("convert", nano_copy, out, "--dtype", "float32")
    assert isinstance(result.exception, CheckpointError) and "--force to replace it" in str(result.exception)
    assert (out / WEIGHTS).read_bytes() == before
    assert weights("convert", nano_copy, out, "--dtype", "float32", "--force").exit_code == 0
    assert len((out / WEIGHTS).read_bytes()) > len(before)
    (out / "thesis.txt").write_text("mine")
    result = weights("convert", nano_copy, out, "--force")
    assert "is no checkpoint in PAM Studio's format" in str(result.exception)
    assert (out / "thesis.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "out"]


def test_convert_in_place(nano_copy: Path):
    """A checkpoint may take its own place: it is read to the end before it goes."""
    assert weights("convert", nano_copy, nano_copy, "--dtype", "float32", "--force").exit_code == 0
    ours, theirs = model.load(nano_copy).state_dict(), model.load("nano").state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file of this process may grow over a megabyte; the kernel refuses as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up(tmp_path: Path, small_disk: None):
    """A clear error and no half checkpoint."""
    with pytest.raises(CheckpointError, match=f"{tmp_path / 'out'} cannot be written: File too large"):
        convert(read("nano"), tmp_path / "out", torch.bfloat16, False, lambda count: None)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_survives_a_full_disk(nano_copy: Path, small_disk: None):
    """The old checkpoint goes only when the new one is complete."""
    with pytest.raises(CheckpointError, match="cannot be written"):
        convert(read("nano"), nano_copy, torch.float32, True, lambda count: None)
    assert list(nano_copy.parent.iterdir()) == [nano_copy]
    assert verify(read(nano_copy), lambda count: None).problems == ()


def test_too_little_room_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before gigabytes are written."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(inspection.shutil, "disk_usage", lambda path: type(usage)(1 << 30, 1 << 30, 1000))
    result = weights("convert", "nano", tmp_path / "out")
    assert "needs 0.01 GB, and its disk has 0.00 GB free" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_does_not_fit(nano_copy: Path, tmp_path: Path):
    """float16 ends at 65504; infinity would be a silent loss."""
    change(nano_copy, "image_newline", torch.full((160,), 1e6))
    result = weights("convert", nano_copy, tmp_path / "out", "--dtype", "float16")
    assert "'image_newline' holds 1e+06, which torch.float16 cannot" in str(result.exception)
    assert not (tmp_path / "out").exists()
    assert weights("convert", nano_copy, tmp_path / "out", "--dtype", "bfloat16").exit_code == 0


@pytest.mark.parametrize(
    ("name", "tensor", "says"),
    [
        ("image_newline", torch.zeros(7), "'image_newline' is (7,), nano needs (160,)"),
        ("colour", torch.zeros(7), "'colour', (7,), has no place in nano"),
        ("image_newline", torch.tensor([torch.nan] * 3 + [0.0] * 157), "'image_newline' holds 3 values that are not"),
        ("image_newline", torch.zeros(160), "records the hash"),
    ],
)
def test_verify_finds(name: str, tensor: Tensor, says: str, tmp_path: Path):
    """Wrong shapes, strangers, NaN, and values that are not those that were written."""
    convert(read("nano"), tmp_path / "copy", torch.float16, False, lambda count: None)
    change(tmp_path / "copy", name, tensor)
    result = weights("verify", tmp_path / "copy")
    assert result.exit_code == 1
    assert says in result.stdout
    assert "problem(s)" in result.stderr


def test_verify_holds_downloads_against_the_hub(nano_copy: Path, tmp_path: Path):
    """The hub's cache names a file by its hash: another content under that name is told."""
    blob = tmp_path / ("a" * 64)
    (nano_copy / WEIGHTS).rename(blob)
    (nano_copy / WEIGHTS).symlink_to(blob)
    result = weights("verify", nano_copy)
    assert result.exit_code == 1 and f"the hub's {blob.name}: delete {blob} and fetch it anew" in result.stdout
    right = tmp_path / inspection._sha256(blob)
    blob.rename(right)
    (nano_copy / WEIGHTS).unlink()
    (nano_copy / WEIGHTS).symlink_to(right)
    assert weights("verify", nano_copy).exit_code == 0


def test_verify_lists_all_problems(nano_copy: Path):
    """Not only the first."""
    change(nano_copy, "image_newline", torch.zeros(7))
    change(nano_copy, "frame_newline", torch.zeros(8))
    result = weights("verify", nano_copy)
    assert result.stdout.count("nano needs (160,)") == 2
    assert json.loads((nano_copy / CONFIG).read_text())["model"]["name"] == "nano"
