"""The training loop that all stages share: schedule by steps, moving average, exact resumption."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.training.clip_data import ClipBatch
from model.training.data import SceneBatch
from model.training.precision import fast_dtype

LEARNING_RATE, WEIGHT_DECAY, AVERAGE, CLIP = 1e-3, 0.05, 0.995, 1.0
WARM_UP, COOL_DOWN = 60, 0.35
"""Steps in which the learning rate rises, and the share of all steps in which it falls again."""

SAVE_EVERY, SHOW_EVERY = 100, 50

console = Console()


def train(
    stage: nn.Module, batches: Callable[[int], Iterable[SceneBatch | ClipBatch]], steps: int, state: Path
) -> tuple[list[dict], float]:
    """Train `stage` in place for `steps` steps; afterwards it holds the moving average of its weights.

    stage:   takes a batch and the share of the steps done, 0..1, and gives the loss and the figures to show.
    batches: gives the batches from a step on.
    state:   where progress is kept; a run that was killed goes on from there and ends the same.
    Returns the history, one row for each SHOW_EVERY steps, and the seconds that all runs together took.
    """
    device = next(stage.parameters()).device
    dtype = fast_dtype(device)
    average = AveragedModel(stage, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE))
    optimizer = torch.optim.AdamW(
        [p for p in stage.parameters() if p.requires_grad],
        LEARNING_RATE,
        betas=(0.9, 0.98),
        weight_decay=WEIGHT_DECAY,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    start, history, spent = 0, [], 0.0
    if state.exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        stage.load_state_dict(saved["stage"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        start, history, spent = saved["step"], saved["history"], saved["seconds"]
        console.print(f"going on from step {start} of {steps}")
    shown: dict[str, float] = {}
    began = time.monotonic() - spent
    for step, batch in enumerate(batches(start), start):
        # The plain attention: at a few hundred cells it is faster on a CPU than the fused one, backward above all.
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32), sdpa_kernel(SDPBackend.MATH):
            value, figures = stage(batch.to(device), step / steps)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(stage.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        average.update_parameters(stage)
        shown = {k: figures[k] if not shown else 0.95 * shown[k] + 0.05 * figures[k] for k in figures}
        if (step + 1) % SHOW_EVERY == 0 or step + 1 == steps:
            history.append({"step": step + 1, **shown})
            left = (time.monotonic() - began) / (step + 1) * (steps - step - 1)
            told = " ".join(f"{k} {v:.3f}" for k, v in shown.items())
            console.print(f"step {step + 1}/{steps}, {left / 60:.0f} min left: {told}")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            spent = time.monotonic() - began
            parts: dict[str, Any] = {"stage": stage, "average": average, "optimizer": optimizer, "schedule": schedule}
            _keep(state, {name: part.state_dict() for name, part in parts.items()}, step + 1, history, spent)
    stage.load_state_dict(average.module.state_dict())
    return history, spent


def _rate(step: int, steps: int) -> float:
    # Level in between: until it begins to fall, a run may still be made longer or shorter.
    left = (steps - step) / max(1.0, COOL_DOWN * steps)
    return min(1.0, (step + 1) / min(WARM_UP, max(1, steps // 20)), max(0.02, left))


def _keep(state: Path, parts: dict[str, Any], step: int, history: list[dict], seconds: float) -> None:
    state.parent.mkdir(parents=True, exist_ok=True)
    half = state.with_suffix(".tmp")
    torch.save({**parts, "step": step, "history": history, "seconds": seconds}, half)
    os.replace(half, state)
