"""What matrices are multiplied in while a model learns; weights, their averages and optimisers stay float32."""

from __future__ import annotations

import torch

_CPU_FEATURES = ("avx512_bf16", "amx_bf16")
"""Of which one makes a processor multiply bfloat16 faster than float32. Where both are missing, as on most laptops,
PyTorch emulates it: a 512 x 512 product took fifty times as long on a processor that ends at AVX2."""


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it in hardware, else float32."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        features = torch.cpu.get_capabilities()
        fast = any(features.get(feature, False) for feature in _CPU_FEATURES)
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32
