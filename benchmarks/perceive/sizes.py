"""PAMs of the published sizes with random weights: as fast and as large as the real ones, and nothing to download."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import torch

from model import PAM
from model.checkpoints import NANO, TOKENIZER, load_tokenizer, read
from model.checkpoints.loading import parameters_on_meta
from model.checkpoints.official import EMBEDDING, HEAD
from model.config import PAMConfig

ENCODER_BYTES, LIBRARY_BYTES = 1 << 30, 1 << 30
"""What SAM 2.1 large takes beside its weights for 1024 x 1024 pixels in float32, as measured, rounded up."""


def _qwen(hidden: int, mlp: int, layers: int, heads: int) -> dict[str, object]:
    """Arguments of Qwen2Config that the published Qwen2.5 models of this family share, and those that set the size."""
    return {
        "vocab_size": 151936,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "rope_theta": 1e6,
        "tie_word_embeddings": True,
    }


def configuration(size: str, proposals: bool | None = None) -> PAMConfig:
    """The sizes by name: nano, 1.5b and 3b as published; large-tower is SAM 2.1 large with nano's language model.

    proposals: None for what a network without training can do without: no proposals.
    """
    nano = read(NANO).config
    tiny = {**nano.language, "max_position_embeddings": 4096}
    configurations = {
        "nano": nano,
        "large-tower": PAMConfig("large-tower", language=tiny),
        "1.5b": PAMConfig("1.5b", language=_qwen(1536, 8960, 28, 12)),
        "3b": PAMConfig("3b", language=_qwen(2048, 11008, 36, 16)),
    }
    return replace(configurations[size], proposals=bool(proposals))


def outline(config: PAMConfig, seed: int = 0) -> PAM:
    """A PAM of these sizes whose weights take no memory yet. Its tokenizer is nano's, whose ids every size has."""
    torch.manual_seed(seed)  # some buffers are drawn as they are made
    with parameters_on_meta():
        return PAM(config, load_tokenizer(NANO / TOKENIZER), version=f"random-{config.name}")


def needed_bytes(pam: PAM, dtype: torch.dtype) -> int:
    """Bytes that a PAM will take in `dtype`: its weights, the work itself, and the libraries."""
    weights = sum(p.numel() for p in pam.parameters()) * dtype.itemsize
    return weights + int((pam.image_size / 1024) ** 2 * ENCODER_BYTES * dtype.itemsize / 4) + LIBRARY_BYTES


def fill(pam: PAM, device: torch.device, dtype: torch.dtype, seed: int = 0) -> PAM:
    """Give an outline random weights, made where they stay: one after another, none held twice.

    Their scale keeps activations near one in every layer, as trained weights do.
    """
    generator = torch.Generator(device).manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for name, outlined in pam.state_dict().items():
        if name == HEAD and pam.language.config.tie_word_embeddings:
            tensors[name] = tensors[EMBEDDING]
        elif not outlined.is_meta:
            tensors[name] = outlined.to(device, dtype)
        else:
            weight = torch.empty(outlined.shape, device=device, dtype=dtype)
            scale = 1 / math.sqrt(math.prod(weight.shape[1:])) if weight.ndim >= 2 else 0.02
            middle = float(weight.ndim < 2 and name.endswith((".weight", ".gamma")))
            tensors[name] = weight.normal_(middle, scale, generator=generator)
    pam.load_state_dict(tensors, assign=True)
    pam.language.tie_weights()
    return pam.to(device).eval().requires_grad_(False)


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be taken: of the GPU, or of this machine and its control group; None where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        meminfo = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    if found is None:
        return None
    free = 1024 * int(found.group(1))
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            free = min(free, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):
            continue  # no such control group, or "max": no limit
    return free
