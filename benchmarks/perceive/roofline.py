"""How near decoding comes to what the memory allows: each step must read every weight once."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.perceive.measure import settle

REPEATS = 7
FEATURES = 4096


def bandwidth(device: torch.device, budget: int) -> dict[str, float]:
    """Bytes per second that this device reads, with the threads torch has now: by copy, by sum and by matrix-vector.

    budget: bytes that may be taken for it; they should be many times what caches hold.
    """
    rows = max(1, budget // 2 // (4 * FEATURES))
    source = torch.ones(rows, FEATURES, device=device)
    target = torch.empty_like(source)
    vector = torch.ones(FEATURES, device=device)
    size = source.numel() * source.element_size()
    return {
        "copy": 2 * size / _best(device, lambda: target.copy_(source)),
        "sum": size / _best(device, lambda: source.sum()),
        "matrix-vector": size / _best(device, lambda: torch.mv(source, vector)),
    }


def _best(device: torch.device, work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        settle(device)
        began = time.perf_counter()
        work()
        settle(device)
        times.append(time.perf_counter() - began)
    return min(times)


def weights_per_step(language: nn.Module) -> int:
    """Bytes of weights that one step of a Qwen2 language model reads: all but the table of embeddings, unless tied."""
    parts = (language.model.layers, language.model.norm, language.lm_head)  # type: ignore[union-attr]
    held = {id(p): p for part in parts for p in part.parameters()}  # type: ignore[union-attr]
    return sum(p.numel() * p.element_size() for p in held.values())
