"""Checkpoints as the makers of PAM publish them: their names, their config.json, and where SAM 2.1 comes from."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from model.checkpoints.files import Files
from model.checkpoints.tensors import Entry, entries, values
from model.config import LANGUAGE_FIELDS, PAMConfig, SamConfig, check_language
from model.errors import CheckpointError

log = logging.getLogger(__name__)

Fetch = Callable[[str], Path]

TOWER = "model.vision_tower.sam2_model_predictor."
EMBEDDING, HEAD = "language.model.embed_tokens.weight", "language.lm_head.weight"

PREFIXES = (
    # Order matters: "model." is the prefix of all the others.
    (TOWER, "sam."),
    ("model.vision_resampler.", "perceiver."),
    ("model.mm_projector_img.", "image_projector."),
    ("model.mm_projector_semT.", "semantic_projector."),
    ("model.image_newline", "image_newline"),
    ("model.semT_newline", "semantic_newline"),
    ("model.frame_newline", "frame_newline"),
    ("model.", "language.model."),
    ("lm_head.", "language.lm_head."),
)
"""Names of the published checkpoints' tensors and of ours."""

TOWERS = {
    "tiny": ("sam2.1_hiera_t", 12),
    "small": ("sam2.1_hiera_s", 16),
    "base_plus": ("sam2.1_hiera_b+", 24),
    "large": ("sam2.1_hiera_l", 48),
}
"""SAM 2.1 by the size in its file's name: its configuration in the `sam2` package, and its encoder's blocks."""

KNOWN_SIZES = {2048: "3b", 1536: "1.5b"}
"""The published models by the width of their language model."""


def from_official(key: str) -> str:
    """Our name of a tensor of the published checkpoints. Raises CheckpointError for one that PAM does not have."""
    for theirs, ours in PREFIXES:
        if key.startswith(theirs):
            return ours + key[len(theirs) :]
    raise CheckpointError(f"tensor {key!r} belongs to no part of PAM")


def to_official(name: str) -> str:
    """The published checkpoints' name of one of our tensors; the inverse of `from_official`."""
    for theirs, ours in PREFIXES:
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    raise CheckpointError(f"tensor {name!r} belongs to no part of PAM")


def renamed(theirs: Mapping[str, Entry]) -> dict[str, Entry]:
    """A published checkpoint's tensors under our names. Raises CheckpointError for a stranger among them."""
    ours = {}
    for key, entry in theirs.items():
        try:
            ours[from_official(key)] = entry
        except CheckpointError as error:
            raise CheckpointError(f"{entry.file}: {error}") from error
    return ours


def with_sam(
    found: Files, tensors: dict[str, Entry], config: Mapping[str, Any], fetch: Fetch | None
) -> tuple[dict[str, Entry], str]:
    """The tensors with SAM 2.1's among them, and the name of sam2's configuration for it.

    A file beside the checkpoint counts before what is inside, as in the official loader; both agree, since SAM 2.1 is
    frozen in PAM's training, but the file has the greater precision.

    fetch: gets SAM 2.1's checkpoint of a published name from elsewhere, or None where there is no elsewhere.
    Raises CheckpointError when it is nowhere.
    """
    inside = {name for name in tensors if name.startswith("sam.")}
    size = _size(inside, config)
    wanted = f"sam2.1_hiera_{size}.pt"
    beside = found.sam.get(wanted)
    if beside is None and not inside:
        if fetch is None:
            others = f" (there is {', '.join(sorted(found.sam))})" if found.sam else ""
            raise CheckpointError(
                f"{found.folder} holds no SAM 2.1, neither inside nor as {wanted} beside{others}: fetch it from "
                f"https://huggingface.co/facebook/sam2.1-hiera-{size.replace('_', '-')}"
            )
        beside = fetch(wanted)
    if beside is not None:
        if inside:
            log.info("SAM 2.1 is taken from %s, in place of the %d tensors inside the checkpoint", beside, len(inside))
        tensors = {name: entry for name, entry in tensors.items() if name not in inside}
        tensors |= {f"sam.{key}": entry for key, entry in entries(beside).items()}
    return tensors, TOWERS[size][0]


def _size(inside: set[str], config: Mapping[str, Any]) -> str:
    """Which SAM 2.1 it is: what is inside says so, else the configuration, else it is the one of the published PAMs."""
    blocks = {match[1] for name in inside if (match := re.match(r"sam\.image_encoder\.trunk\.blocks\.(\d+)\.", name))}
    for size, (_, count) in TOWERS.items():
        if len(blocks) == count:
            return size
    named = re.search(r"hiera_(tiny|small|base_plus|large|t|s|b\+|l)(?![a-z])", str(config.get("mm_vision_tower")))
    for size, (base, _) in TOWERS.items():
        if named and named[1] in (size, base.removeprefix("sam2.1_hiera_")):
            return size
    return "large"


def with_head(tensors: dict[str, Entry], tied: bool) -> tuple[dict[str, Entry], bool]:
    """The tensors with the output head as it is: left out where it is the embedding, and whether that is so.

    tied: what the configuration says. A head that differs from the embedding counts for more than the configuration.
    Raises CheckpointError where the two have different shapes.
    """
    embedding, head = tensors.get(EMBEDDING), tensors.get(HEAD)
    if head is None:
        return tensors, tied
    if embedding is None:
        if not tied:
            return tensors, False
        # Of two names for the same storage, whoever saved the file kept this one.
        return {EMBEDDING if name == HEAD else name: entry for name, entry in tensors.items()}, True
    if embedding.shape != head.shape:
        raise CheckpointError(
            f"{head.file}: the embedding {embedding.key!r} is {embedding.shape}, the head {head.key!r} is {head.shape}"
        )
    if tied and _equal(embedding, head):
        return {name: entry for name, entry in tensors.items() if name != HEAD}, True
    return tensors, False


def _equal(one: Entry, other: Entry) -> bool:
    with values(one) as left, values(other) as right:
        return left.dtype == right.dtype and torch.equal(left, right)


def to_config(found: Files, config: Mapping[str, Any], tower: str, tied: bool, vocabulary: int) -> PAMConfig:
    """The sizes of a published checkpoint.

    The official loader changes the number of the embedding's rows after it has read them from its configuration, so
    the tensor counts. Raises CheckpointError where the configuration is none of PAM, or asks for what PAM does not do.
    """
    language = {key: config[key] for key in LANGUAGE_FIELDS if config.get(key) is not None}
    if missing := [key for key in ("hidden_size", "num_hidden_layers") if key not in language]:
        raise CheckpointError(f"{found.config} is no configuration of a PAM: it lacks {' and '.join(missing)}")
    try:
        language |= {"rope_theta": _rope_theta(config), "vocab_size": vocabulary, "tie_word_embeddings": tied}
        _check_attention(config)
        check_language(language)
    except ValueError as error:
        raise CheckpointError(f"{found.config}: {error}") from error
    width = language["hidden_size"]
    name = KNOWN_SIZES.get(width, f"{width}x{language['num_hidden_layers']}")
    return PAMConfig(name, SamConfig(tower), language=language)


def _rope_theta(config: Mapping[str, Any]) -> Any:
    """The base of the rotary positions, which transformers 5 saves under `rope_parameters`, earlier ones by itself.

    Raises ValueError where it stands nowhere, twice, or the positions are scaled.
    """
    for key in ("rope_scaling", "rope_parameters"):
        rope = config.get(key) or {}
        if not isinstance(rope, dict):
            raise ValueError(f"{key} is {rope!r}: it must be an object")
        plain = {"rope_theta": rope.get("rope_theta"), "rope_type": "default", "type": "default"}
        if any(name not in plain or value != plain[name] for name, value in rope.items()):
            raise ValueError(f"{key} is {rope!r}: PAM's rotary positions are not scaled")
    said = [theta for theta in (config.get("rope_theta"), (config.get("rope_parameters") or {}).get("rope_theta"))]
    said = [theta for theta in said if theta is not None]
    if not said or any(theta != said[0] for theta in said):
        raise ValueError(f"rope_theta is {' and '.join(map(repr, said)) or 'missing'}: it must be said, and once")
    return said[0]


def _check_attention(config: Mapping[str, Any]) -> None:
    if config.get("use_sliding_window"):
        raise ValueError("use_sliding_window is set: PAM's language model attends to everything before a token")
    layers = config.get("layer_types") or []
    if not isinstance(layers, list) or any(kind != "full_attention" for kind in layers):
        raise ValueError(f"layer_types is {layers!r}: PAM's language model has full_attention alone")
