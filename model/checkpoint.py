"""PAM Studio's checkpoints: a folder with config.json, model.safetensors and tokenizer.json."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from model.config import PAMConfig
from model.errors import CheckpointError
from model.pam import PAM

NANO = Path(__file__).parent / "nano"
CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"

OFFICIAL_PREFIXES = (
    # Order matters: "model." is the prefix of all the others.
    ("model.vision_tower.sam2_model_predictor.", "sam."),
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


def from_official(key: str) -> str:
    """Our name of a tensor of the published checkpoints. Raises CheckpointError for one that PAM does not have."""
    for theirs, ours in OFFICIAL_PREFIXES:
        if key.startswith(theirs):
            return ours + key[len(theirs) :]
    raise CheckpointError(f"tensor {key!r} belongs to no part of PAM")


def load(name_or_folder: str | Path = "nano", device: str = "cpu", threads: int | None = None) -> PAM:
    """A PAM ready to use.

    name_or_folder: "nano", the model that comes with the package, or a folder as `save` writes it.
    threads: CPU threads of the whole process, or None to leave them as they are.
    Raises CheckpointError when the folder is not a checkpoint or does not fit its own configuration.
    """
    if threads is not None:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    folder = NANO if str(name_or_folder) == "nano" else Path(name_or_folder)
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} is no checkpoint: it has no {name}")
    config = PAMConfig.from_dict(read_json(folder / CONFIG))
    try:
        tensors = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder / WEIGHTS} is damaged: {error}") from error
    tokenizer = load_tokenizer(folder / TOKENIZER)
    try:
        pam = PAM(config, tokenizer, version=f"pam-{config.name}-{fingerprint(folder)}")
    except Exception as error:  # Hydra, sam2 and transformers each raise their own kinds for sizes that do not fit
        raise CheckpointError(f"{folder / CONFIG}: no model can be built from it: {error}") from error
    fill(pam, tensors, folder / WEIGHTS)
    try:
        return pam.to(device).eval().requires_grad_(False)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was compiled for the device
        raise CheckpointError(f"device {device!r} cannot be used: {error}") from error


def fill(pam: PAM, tensors: dict[str, torch.Tensor], source: Path) -> None:
    """Copy weights into a PAM, in its dtype. Raises CheckpointError that names the first tensor that does not fit."""
    expected = pam.state_dict()
    tied = bool(pam.language.config.tie_word_embeddings)
    for name, tensor in tensors.items():
        if name not in expected:
            raise CheckpointError(f"{source}: tensor {name!r} has no place in {pam.config.name}")
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{source}: tensor {name!r} is {tuple(tensor.shape)}, "
                f"{pam.config.name} needs {tuple(expected[name].shape)}"
            )
    missing = [n for n in expected if n not in tensors and not (tied and n == "language.lm_head.weight")]
    if missing:
        raise CheckpointError(f"{source}: tensor {missing[0]!r} is missing ({len(missing)} in all)")
    pam.load_state_dict(tensors, strict=False)


def save(pam: PAM, folder: Path, about: dict[str, Any]) -> None:
    """Write a checkpoint, weights in float16; `about` goes into config.json beside the model's configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    tied = bool(pam.language.config.tie_word_embeddings)
    tensors = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in pam.state_dict().items()
        if not (tied and name == "language.lm_head.weight")
    }
    save_file(tensors, folder / WEIGHTS)
    pam.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
    text = json.dumps({"model": pam.config.to_dict(), "about": about}, indent=2, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n")


def load_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """A tokenizer from its JSON file."""
    try:
        return PreTrainedTokenizerFast(tokenizer_file=str(path), pad_token="<|endoftext|>", eos_token="<|im_end|>")
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(f"{path} is damaged: {error}") from error


def read_json(path: Path) -> Any:
    """The JSON in a file. Raises CheckpointError when it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def fingerprint(folder: Path) -> str:
    """Eight hex digits that change whenever the weights do."""
    digest = hashlib.sha256()
    with (folder / WEIGHTS).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:8]
