"""Small checkpoints as the makers of PAM would publish them: every layout, random weights, SAM 2.1 tiny."""

from __future__ import annotations

import json
import math
import shutil
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from model.checkpoints import CONFIG, NANO, TOKENIZER, load_tokenizer, to_official
from model.checkpoints.loading import parameters_on_meta
from model.config import PAMConfig, SamConfig
from model.pam import PAM

TOWER = "model.vision_tower.sam2_model_predictor."
SAM_FILE = "sam2.1_hiera_tiny.pt"
OFFICIAL_CONFIG = {
    "architectures": ["LlavaQwenForCausalLM"],
    "model_type": "llava_qwen",
    "mm_vision_tower": "sam2.1_hiera_t",
    "mm_projector_type": "mlp2x_gelu",
    "mm_hidden_size": 256,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 692,
    "rope_theta": 1000000.0,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "use_cache": True,
}
LANGUAGE = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")


@cache
def tensors() -> dict[str, Tensor]:
    """float16, by the official names, the output head untied; scaled so that a model with them runs."""
    language = {name: OFFICIAL_CONFIG[name] for name in LANGUAGE} | {"vocab_size": 692, "tie_word_embeddings": False}
    with parameters_on_meta():
        pam = PAM(PAMConfig("small", SamConfig("sam2.1_hiera_t"), language=language), load_tokenizer(NANO / TOKENIZER))
    random = torch.Generator().manual_seed(5)
    made = {}
    for name, tensor in pam.state_dict().items():
        gain = 1 / math.sqrt(math.prod(tensor.shape[1:])) if tensor.ndim > 1 else 0.1
        made[to_official(name)] = (torch.randn(tensor.shape, generator=random) * gain).half()
    return made


def write(folder: Path, form: str, weights: dict[str, Tensor], config: dict[str, object] | None = None) -> Path:
    """A checkpoint of these weights; form: safetensors or bin, or "sharded " and one of them, in two shards."""
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps(OFFICIAL_CONFIG | (config or {})))
    shutil.copy(NANO / TOKENIZER, folder)
    suffix = form.removeprefix("sharded ")
    stem = {"safetensors": "model", "bin": "pytorch_model"}[suffix]
    if suffix == form:
        _save(weights, folder / f"{stem}.{suffix}")
        return folder
    index = {}
    for number, tower in ((1, True), (2, False)):
        shard = {key: tensor for key, tensor in weights.items() if key.startswith(TOWER) == tower}
        name = f"{stem}-{number:05}-of-00002.{suffix}"
        _save(shard, folder / name)
        index |= dict.fromkeys(shard, name)
    size = sum(tensor.nbytes for tensor in weights.values())
    text = json.dumps({"metadata": {"total_size": size}, "weight_map": index})
    (folder / f"{stem}.{suffix}.index.json").write_text(text)
    return folder


def split(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Without SAM 2.1, and SAM 2.1 alone under its own names."""
    rest = {key: tensor for key, tensor in weights.items() if not key.startswith(TOWER)}
    return rest, {key.removeprefix(TOWER): tensor for key, tensor in weights.items() if key.startswith(TOWER)}


def _save(weights: dict[str, Tensor], path: Path) -> None:
    if path.suffix == ".bin":
        torch.save(weights, path)
    else:
        save_file({key: tensor.clone() for key, tensor in weights.items()}, path, metadata={"format": "pt"})
