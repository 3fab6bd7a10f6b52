"""The published checkpoints' key lists: every key finds its place with its shape."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch

from model.checkpoints import NANO, TOKENIZER, load_tokenizer
from model.checkpoints.files import Files
from model.checkpoints.loading import misfits, parameters_on_meta
from model.checkpoints.official import EMBEDDING, HEAD, PREFIXES, from_official, renamed, to_config, to_official
from model.checkpoints.reading import Checkpoint
from model.checkpoints.tensors import Entry
from model.errors import CheckpointError
from model.pam import PAM

DEFAULT = Path(__file__).parents[2] / "data" / "parity"
FOLDER = Path(os.environ.get("PAM_PARITY_DIR", DEFAULT))


@pytest.fixture(params=["pam_3b", "pam_1_5b"], scope="module")
def manifest(request: pytest.FixtureRequest) -> dict:
    """A published checkpoint's configuration and keys; sets that lack them take the default set's."""
    name = f"manifest_{request.param}.json"
    return json.loads((FOLDER / name if (FOLDER / name).is_file() else DEFAULT / name).read_text())


@pytest.fixture(scope="module")
def described(manifest: dict) -> tuple[Checkpoint, PAM]:
    """The manifest read as a checkpoint, and the model of its configuration, which takes no memory."""
    folder = Path("published")
    entries = {
        key: Entry(folder / "model.safetensors", key, tuple(facts["shape"]), torch.bfloat16)
        for key, facts in manifest["keys"].items()
    }
    tensors = renamed(entries)
    tied = manifest["lm_head_shares_storage_with_embed_tokens"]
    config = to_config(
        Files(folder, (), None, {}),
        manifest["config"],
        manifest["vision_tower_config"],
        tied,
        tensors[EMBEDDING].shape[0],
    )
    if tied:
        assert tensors.pop(HEAD).shape == tensors[EMBEDDING].shape
    with parameters_on_meta():
        pam = PAM(config, load_tokenizer(NANO / TOKENIZER))
    return Checkpoint("published", folder, False, config, tensors, None), pam


def test_every_key_finds_its_place(manifest: dict, described: tuple[Checkpoint, PAM]):
    """None missing, none left over, every shape right; the head is the embedding, as the manifest says."""
    checkpoint, pam = described
    assert misfits(checkpoint, pam) == []
    assert len(checkpoint.tensors) == manifest["n_keys"] - len(manifest["declared_tied_keys"])
    assert {to_official(name) for name in pam.state_dict()} == set(manifest["keys"])
    assert pam.language.lm_head.weight is pam.language.model.embed_tokens.weight
    assert all(parameter.is_meta for parameter in pam.parameters())


def test_a_wrong_key_or_shape_is_seen(described: tuple[Checkpoint, PAM]):
    """The check above can fail: one key away, one too much, one of another shape."""
    checkpoint, pam = described
    name, entry = "image_newline", checkpoint.tensors["image_newline"]
    rest = {n: e for n, e in checkpoint.tensors.items() if n != name}
    for tensors, says in (
        (rest, r"'model.image_newline', \(\d+,\), is missing"),
        ({**checkpoint.tensors, "perceiver.extra": entry}, "has no place"),
        ({**rest, name: Entry(entry.file, entry.key, (7,), entry.dtype)}, r"'model.image_newline' is \(7,\), .* needs"),
    ):
        other = Checkpoint("published", checkpoint.folder, False, checkpoint.config, tensors, None)
        (problem,) = misfits(other, pam)
        assert re.search(says, problem)


def test_the_tower_is_a_sam_checkpoint(manifest: dict, described: tuple[Checkpoint, PAM]):
    """Without its prefix it has the keys and shapes of SAM 2.1's own file, group by group as the manifest counts."""
    _, pam = described
    prefix = manifest["vision_tower_prefix"]
    tower = {key.removeprefix(prefix) for key in manifest["keys"] if key.startswith(prefix)}
    assert set(pam.sam.state_dict()) == tower
    assert len(tower) == manifest["groups"]["vision_tower"]["tensors"]


def test_names_go_both_ways(manifest: dict):
    """Published name to ours and back, and no two names fall together."""
    ours = {from_official(key) for key in manifest["keys"]}
    assert len(ours) == len(manifest["keys"])
    assert {to_official(name) for name in ours} == set(manifest["keys"])
    assert all(any(key.startswith(theirs) for theirs, _ in PREFIXES) for key in manifest["keys"])


@pytest.mark.parametrize("name", ["transformer.h.0.attn.weight", "visual.patch_embed.proj.weight"])
def test_a_strangers_name(name: str):
    """Another model's tensors belong nowhere."""
    with pytest.raises(CheckpointError, match="belongs to no part"):
        from_official(name)
