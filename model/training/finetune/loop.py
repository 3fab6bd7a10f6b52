"""The loop that fine-tuning runs in: by steps, over any number of processes, resumable to the same result."""

from __future__ import annotations

import math
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from model.errors import TrainingError
from model.training.finetune.items import Item
from model.training.finetune.state import load_state, save_state
from model.training.finetune.steps import Items

BETAS, WEIGHT_DECAY, CLIP = (0.9, 0.98), 0.01, 1.0
WARM_UP = 0.05
"""Share of the steps in which the learning rate rises; then it falls, as half a cosine, to zero."""

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)


class Stopped(Exception):
    """A signal asked the run to end; its state is saved. signum: which."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


Sums = dict[str, tuple[Tensor, float]]
"""What to show of a batch: name to a sum and what it is a sum of; their quotient is the figure."""


@dataclass(frozen=True)
class Stage:
    """One thing that is learned.

    count: what of a process's items there is to learn, by kind. loss: the model, some of these items, and the weight
    of each kind, to a loss whose sum over all items of all processes is the batch's; and what to show.
    """

    name: str
    model: nn.Module
    rate: float
    count: Callable[[Sequence[Item]], Mapping[str, float]]
    loss: Callable[[nn.Module, Sequence[Item], Mapping[str, float]], tuple[Tensor, Sums]]
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Pace:
    """How a stage is run: items that are computed at once by a process, steps between two saved and two shown states,
    and processes that make items, without which a thread does."""

    at_once: int = 24
    save_every: int = 25
    show_every: int = 10
    workers: int = 0


@dataclass
class _Tally:
    """Figures since they were last shown."""

    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    of: dict[str, float] = field(default_factory=lambda: defaultdict(float))


def train(
    accelerator: Accelerator,
    stage: Stage,
    items: Items,
    pace: Pace,
    out: Path,
    on_step: Callable[[int], None],
) -> list[dict[str, float]]:
    """Train a stage to its end, from where it was left; the history, one row for every `show_every` steps.

    out: the run's folder. on_step: told how many steps are done. Raises Stopped after SIGTERM or SIGINT.
    """
    steps, path = len(items), out / f"{stage.name}.pt"
    saved = load_state(path)
    if saved is not None and saved["step"] >= steps:
        return saved["history"]
    learned = [p for p in stage.model.parameters() if p.requires_grad]
    model, optimizer = accelerator.prepare(
        stage.model, torch.optim.AdamW(learned, stage.rate, betas=BETAS, weight_decay=WEIGHT_DECAY)
    )
    start, history, spent, tally = 0, [], 0.0, _Tally()
    if saved is not None:
        _restore(accelerator, model, optimizer, saved)
        start, history, spent = saved["step"], saved["history"], saved["seconds"]
        if accelerator.is_main_process:
            tally = _Tally(*(defaultdict(float, part) for part in saved["tally"]))
    began = time.monotonic() - spent
    loader = (
        DataLoader(items, batch_size=None, sampler=range(start, steps), num_workers=pace.workers)
        if pace.workers
        else _ahead(items, range(start, steps))
    )
    writer = (
        SummaryWriter(str(out / "tensorboard" / stage.name), purge_step=start) if accelerator.is_main_process else None
    )
    with _listening() as heard:
        for done, mine in enumerate(loader, start + 1):
            for group in optimizer.param_groups:
                group["lr"] = stage.rate * _share(done - 1, steps)
            torch.manual_seed(1_000_003 * items.plan.seed + done)
            stopped = _step(accelerator, stage, model, optimizer, mine, pace.at_once, tally, heard)
            if done % pace.show_every == 0 or done == steps:
                row = {"step": done, **_shown(accelerator, tally)}
                history.append(row)
                if writer:
                    for name, value in row.items():
                        writer.add_scalar(name, value, done)
                tally = _Tally()
            if stopped or done % pace.save_every == 0 or done == steps:
                rest = {
                    "history": history,
                    "tally": _summed_up(accelerator, tally),
                    "seconds": time.monotonic() - began,
                }
                if writer:
                    writer.flush()  # what is not gone through again must be on the disk
                _save(accelerator, path, model, optimizer, {"step": done, **rest})
            if accelerator.is_main_process:
                on_step(done)
            if stopped:
                raise Stopped(stopped)
    if writer:
        writer.close()
    return history


def _ahead(items: Items, steps: range) -> Iterator[list[Item]]:
    """The items of each step, made by a thread while the step before is computed."""
    with ThreadPoolExecutor(1) as pool:
        following = None
        for step in steps:
            ready = following or pool.submit(items.__getitem__, step)
            following = pool.submit(items.__getitem__, step + 1) if step + 1 in steps else None
            yield ready.result()


def _step(
    accelerator: Accelerator,
    stage: Stage,
    model: nn.Module,
    optimizer: Any,
    mine: list[Item],
    at_once: int,
    tally: _Tally,
    heard: list[int],
) -> int:
    """One step of the optimiser; the number of the signal that some process has heard, 0 if none."""
    world, counts = accelerator.num_processes, stage.count(mine)
    local = [float(counts.get(kind, 0)) for kind in stage.kinds] + [float(max(heard, default=0))]
    *total, signum = _summed(accelerator, local)
    present = sum(count > 0 for count in total)
    # The gradients of the processes are averaged, and the loss is a sum over all of them.
    weights = {k: world / (present * n) for k, n in zip(stage.kinds, total, strict=True) if n}
    chunks = [mine[i : i + at_once] for i in range(0, len(mine), at_once)]
    for number, chunk in enumerate(chunks, 1):
        with nullcontext() if number == len(chunks) else accelerator.no_sync(model):
            half = accelerator.device.type == "cpu" and accelerator.mixed_precision == "bf16"
            with accelerator.autocast(), sdpa_kernel(SDPBackend.MATH) if half else nullcontext():
                loss, sums = stage.loss(model, chunk, weights)
            accelerator.backward(loss)
        for name, (value, of) in sums.items():
            tally.sums[name] += float(value)
            tally.of[name] += of
    norm = accelerator.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], CLIP)
    if norm is not None and not math.isfinite(float(norm)):
        raise TrainingError(f"the gradients of {stage.name} are no numbers: lower --rate, or take --precision float32")
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return int(signum / max(1, sum(_summed(accelerator, [float(bool(heard))])))) if signum else 0


def _shown(accelerator: Accelerator, tally: _Tally) -> dict[str, float]:
    sums, of = _summed_up(accelerator, tally)
    return {name: value / of[name] for name, value in sums.items()}


def _summed_up(accelerator: Accelerator, tally: _Tally) -> tuple[dict[str, float], dict[str, float]]:
    """The figures of all processes: sums, and what they are sums of."""
    names = sorted(tally.sums)
    if accelerator.num_processes > 1:
        gathered: list[list[str]] = [[] for _ in range(accelerator.num_processes)]
        torch.distributed.all_gather_object(gathered, names)
        names = sorted({name for each in gathered for name in each})
    values = _summed(accelerator, [tally.sums.get(n, 0.0) for n in names] + [tally.of.get(n, 0.0) for n in names])
    return dict(zip(names, values, strict=False)), dict(zip(names, values[len(names) :], strict=True))


def _summed(accelerator: Accelerator, values: list[float]) -> list[float]:
    if accelerator.num_processes == 1:
        return values
    total = torch.tensor(values, dtype=torch.float64, device=accelerator.device)
    return accelerator.reduce(total, "sum").tolist()


def _share(step: int, steps: int) -> float:
    rise = max(1, round(WARM_UP * steps))
    return min((step + 1) / rise, 0.5 * (1 + math.cos(math.pi * step / steps)))


def _save(accelerator: Accelerator, path: Path, model: nn.Module, optimizer: Any, rest: Mapping[str, Any]) -> None:
    weights, moments = get_state_dict(model, optimizer.optimizer, options=WHOLE)
    if accelerator.is_main_process:
        save_state(path, {"weights": weights, "optimizer": moments, **rest})
    accelerator.wait_for_everyone()


def _restore(accelerator: Accelerator, model: nn.Module, optimizer: Any, saved: Mapping[str, Any]) -> None:
    options = StateDictOptions(full_state_dict=True, ignore_frozen_params=True, strict=False)
    set_state_dict(
        model,
        optimizer.optimizer,
        model_state_dict=saved["weights"],
        optim_state_dict=saved["optimizer"],
        options=options,
    )


@contextmanager
def _listening() -> Iterator[list[int]]:
    """The signals that asked for an end, heard between two steps."""
    heard: list[int] = []

    def hear(signum: int, frame: FrameType | None) -> None:
        heard.append(signum)

    before = {one: signal.signal(one, hear) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield heard
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
