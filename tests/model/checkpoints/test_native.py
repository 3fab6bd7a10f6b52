"""Checkpoints: what is written is read back, and what does not fit is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import model
from model import PAM, CheckpointError, Point, Prompt
from model.checkpoints import CONFIG, NANO, TOKENIZER, WEIGHTS, native, read, save, verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of nano to damage."""
    return Path(shutil.copytree(NANO, tmp_path / "nano"))


def test_what_is_saved_is_loaded(nano: PAM, coffee: np.ndarray, tmp_path: Path):
    """Same mask, same words, same file."""
    save(nano, tmp_path / "copy", {})
    copy = model.load(tmp_path / "copy")
    prompt = Prompt((Point(300, 170),))
    ours, theirs = (pam.perceive(pam.encode(coffee), prompt) for pam in (nano, copy))
    assert np.array_equal(ours.mask, theirs.mask)
    assert ours.words == theirs.words
    assert copy.version == nano.version


def test_nano_fits_the_repository():
    """The issue's bound: 10 MB, and its configuration and figures beside it."""
    assert sum(file.stat().st_size for file in NANO.iterdir()) <= 10_000_000
    about = json.loads((NANO / CONFIG).read_text())["about"]
    assert {"command", "seed", "data", "figures"} <= set(about)


def rename(old: str, new: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        tensors[new] = tensors.pop(old)
        save_file(tensors, folder / WEIGHTS)

    return damage


def reshape(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    tensors["image_newline"] = torch.zeros(7)
    save_file(tensors, folder / WEIGHTS)


def truncate(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def edit_config(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    config["model"]["colour"] = "red"
    (folder / CONFIG).write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / TOKENIZER).unlink(), "it has no tokenizer.json"),
        (lambda folder: (folder / CONFIG).write_text("{"), "config.json cannot be read"),
        (edit_config, "configuration cannot be read.*colour"),
        (lambda folder: (folder / TOKENIZER).write_text("{}"), "tokenizer.json is damaged"),
        (truncate, "model.safetensors is damaged"),
        (reshape, r"model.safetensors: tensor 'image_newline' is \(7,\), nano needs \(160,\)"),
        (
            rename("image_newline", "image_oldline"),
            r"'image_newline', \(160,\), is missing for nano \(2 such tensors in all\)",
        ),
    ],
)
def test_a_damaged_checkpoint_is_refused(folder: Path, damage: Callable[[Path], None], says: str):
    """The error names the file or the tensor."""
    damage(folder)
    with pytest.raises(CheckpointError, match=says):
        model.load(folder)


def test_a_missing_tensor_is_named(folder: Path):
    """A checkpoint that lacks a part never loads half."""
    tensors = load_file(folder / WEIGHTS)
    del tensors["perceiver.proj.bias"]
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"'perceiver.proj.bias', \(384,\), is missing for nano"):
        model.load(folder)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"a": (2, 3)}, r"'b' never came \(1 in all\)"),
        ({"a": (3, 2), "b": (4,)}, r"'a' came as \(3, 2\), \(2, 3\) was awaited"),
        ({"a": (2, 3), "b": (4,), "c": (1,)}, r"'c' came as \(1,\), none was awaited"),
        ({"a": (6,), "b": (4,)}, r"'a' came as \(6,\)"),
    ],
)
def test_only_what_was_announced_is_written(tensors: dict[str, tuple], says: str, nano: PAM, tmp_path: Path):
    """A tensor that is missing would be zeros, and one of another shape would lie over its neighbour."""
    stream = [(name, torch.ones(shape)) for name, shape in tensors.items()]
    with pytest.raises(CheckpointError, match=says):
        native.write(tmp_path / "out", nano.config, "{}", {"a": (2, 3), "b": (4,)}, stream, torch.float32, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stuck", [False, True])
def test_a_checkpoint_that_cannot_be_replaced(folder: Path, nano: PAM, stuck: bool, monkeypatch: pytest.MonkeyPatch):
    """The old one is put back where it was; and where not even that works, it stays, and the message says where."""
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if target == folder and (stuck or path.parent == folder.parent):
            raise OSError(18, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(CheckpointError) as caught:
        save(nano, folder, {"second": True})
    (left,) = folder.parent.iterdir()
    if stuck:
        left = left / folder.name
        assert str(left) in str(caught.value) and "move it by hand" in str(caught.value)
    else:
        assert left == folder and "cannot be written: Invalid cross-device link" in str(caught.value)
    assert "second" not in json.loads((left / CONFIG).read_text())["about"]
    assert verify(read(left), lambda count: None).problems == ()


@pytest.mark.parametrize("value", [7, "abc", "Z" * 64])
def test_a_fingerprint_that_is_none(folder: Path, value: object):
    """It ends up in the version that predictions carry."""
    data = json.loads((folder / CONFIG).read_text()) | {"fingerprint": value}
    (folder / CONFIG).write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match="config.json: fingerprint is .*: it must be 64 hex digits"):
        read(folder)


def test_no_folder_at_all(tmp_path: Path):
    """A wrong path is not taken for a download."""
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        model.load(tmp_path / "nowhere")
