"""Checkpoints by their Hugging Face id: the real client against a hub on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

import model
from model import CheckpointError
from model.checkpoints import read
from tests.model.checkpoints import published
from tests.model.checkpoints.hub_double import Hub, serving
from tests.model.checkpoints.published import split, write

ID = "Perceive-Anything/PAM-small"


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One PAM in a sub-folder, with much that nobody needs; and SAM 2.1 in its makers' repository."""
    root = tmp_path_factory.mktemp("hub")
    rest, sam = split(published.tensors())
    folder = write(root / ID / "PAM-small", "sharded safetensors", published.tensors())
    (folder / "pytorch_model.bin").write_bytes(b"the same once more")
    (folder / "training_args.bin").write_bytes(b"a pickle")
    (root / ID / "README.md").write_text("# PAM")
    write(root / "someone" / "without-sam", "safetensors", rest)
    tiny = root / "facebook" / "sam2.1-hiera-tiny"
    tiny.mkdir(parents=True)
    torch.save({"model": sam}, tiny / published.SAM_FILE)
    (tiny / "model.safetensors").write_bytes(b"transformers' form of it")
    return root


@pytest.fixture
def hub(repositories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The client asks this hub, and keeps what it gets in a cache of its own."""
    with serving(repositories) as hub:
        point_to(hub, tmp_path / "cache", monkeypatch)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits between its tries
        yield hub


def point_to(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT and HF_HUB_CACHE do, which the client reads once."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


@pytest.mark.parametrize("source", [ID, f"{ID}/PAM-small"])
def test_only_what_is_needed_comes(hub: Hub, source: str):
    """The sub-folder is found by itself or named; no second copy of the weights, no pickle, no pictures."""
    pam = model.load(source)
    assert pam.version.startswith("pam-64x2-")
    assert hub.downloads() == {
        f"PAM-small/{name}"
        for name in (
            "config.json",
            "tokenizer.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        )
    }


def test_the_cache_answers_without_a_network(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    """A second use fetches nothing, and one without a network (or with a hub that is down) works too."""
    tensors = read(ID).tensors
    hub.asked.clear()
    assert read(ID).tensors == tensors
    assert hub.downloads() == set()
    hub.broken = True
    assert read(f"{ID}/PAM-small").tensors == tensors
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert read(ID).tensors == tensors
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert read(ID).tensors == tensors


def test_sam_comes_from_its_makers(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    """A repository without SAM 2.1 gets it from where SAM 2.1 is published, and later from the cache."""
    checkpoint = read("someone/without-sam")
    assert published.SAM_FILE in hub.downloads()
    assert {file.name for file in checkpoint.files} == {"model.safetensors", published.SAM_FILE}
    hub.broken = True
    assert read("someone/without-sam").tensors == checkpoint.tensors


def test_a_connection_that_breaks(hub: Hub):
    """The client goes on in the middle of the file."""
    hub.cut_after = 30_000_000
    assert read(ID).tensors
    assert any("bytes=" in line for line in hub.asked)


def test_a_download_that_broke_off(hub: Hub):
    """The message says so, and the next try fetches only the files that were not complete."""
    hub.cut_after = 2_000_000
    with pytest.raises(CheckpointError, match=f"the download of {ID} broke off; try again"):
        read(ID)
    hub.cut_after = None
    hub.asked.clear()
    assert read(ID).tensors
    assert hub.downloads() == {f"PAM-small/model-0000{number}-of-00002.safetensors" for number in (1, 2)}


def test_half_a_download_without_a_network(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    """What is missing is named."""
    hub.cut_after = 2_000_000
    with pytest.raises(CheckpointError):
        read(ID)
    hub.broken = True
    with pytest.raises(CheckpointError, match="safetensors is missing"):
        read(ID)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("someone/nothing", "someone/nothing is neither a folder here nor a repository on http.*set HF_TOKEN"),
        (f"{ID}/elsewhere", f"{ID}/elsewhere is no checkpoint: it has no config.json"),
        ("someone/a--b", "someone/a--b is no Hugging Face id"),
        ("facebook/sam2.1-hiera-tiny", "is no checkpoint: it has no config.json"),
    ],
)
def test_what_is_not_there(hub: Hub, source: str, says: str):
    """Told by its name, with what to do."""
    with pytest.raises(CheckpointError, match=says):
        read(source)


def test_a_gated_repository(hub: Hub):
    """Its terms are to be accepted by a person."""
    hub.gated.add(ID)
    with pytest.raises(
        CheckpointError, match=f"{ID} is gated: accept its terms at {hub.endpoint}/{ID}, and set HF_TOKEN"
    ):
        read(ID)


@pytest.mark.parametrize("offline", [False, True])
def test_no_network_and_no_cache(hub: Hub, offline: bool, monkeypatch: pytest.MonkeyPatch):
    """The message names the id and the remedy."""
    hub.broken = True
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    with pytest.raises(CheckpointError, match=f"cannot be reached, and {ID} is not in the cache: connect, or name a"):
        read(ID)


def test_a_folder_counts_before_an_id(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What is here is not fetched."""
    shutil.copytree(model.checkpoints.NANO, tmp_path / ID)
    monkeypatch.chdir(tmp_path)
    assert model.load(ID).version.startswith("pam-nano-")
    assert hub.asked == []


def test_as_people_configure_it(hub: Hub, tmp_path: Path):
    """A process of its own, with the client's own variables."""
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    code = f"import model; print(model.load({ID!r}).version)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert result.stdout.startswith("pam-64x2-"), result.stderr
    assert (tmp_path / "home" / "hub").is_dir()
