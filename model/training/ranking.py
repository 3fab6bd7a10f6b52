"""How a ranker of proposals learns which masks to believe (see model/proposals/ranker.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from torch import Tensor

from model import proposals
from model.prompt import Prompt
from model.proposals import ranker
from model.proposals.steps import settle
from model.proposals.traits import plausibility
from model.proposals.working import Judge, View

LISTWISE = 0.3
"""Weight of the choice within a prompt beside that of the expected IoU."""

TEMPERATURE = 0.35
"""In log-odds of IoU: from .02 to .04 is as much worth as from .90 to .95, since either halves what is left to do."""

TUNING_STEPS, RATE, ANCHOR = 600, 3e-3, 1e-3
"""Of tuning: steps, learning rate at first, and how strongly the weights are held to where they were."""

AT_ONCE = 32
"""Prompts in a step."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What one prompt left to choose from: traits, float32 (k, t), and true IoU, float32 (k,)."""

    traits: np.ndarray
    ious: np.ndarray


@dataclass(eq=False)
class _Recorder:
    """A judge that knows the truth, bool (H, W), and writes down every choice that it passes on."""

    truth: np.ndarray
    judge: Judge
    choices: list[Choice] = field(default_factory=list)

    def __call__(self, view: View, masks: Sequence[np.ndarray], traits: np.ndarray) -> np.ndarray:
        self.choices.append(Choice(traits, true_ious(view, masks, self.truth)))
        return self.judge(view, masks, traits)


def true_ious(view: View, masks: Sequence[np.ndarray], truth: np.ndarray) -> np.ndarray:
    """float32 (k,): IoU of masks of a view, bool (h, w), with the true one, bool (H, W) of the original."""
    x0, y0, x1, y1 = view.window
    height, width = view.shape
    crop = truth[y0:y1, x0:x1].astype(np.uint8) * 255
    seen = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA) > 127
    return np.array([(mask & seen).sum() / max(1, (mask | seen).sum()) for mask in masks], np.float32)


def record(image: np.ndarray, truth: np.ndarray, prompts: Iterable[Prompt], judge: Judge) -> list[Choice]:
    """What prompts that mean `truth`, bool (H, W), leave to choose from on uint8 (H, W, 3), if `judge` chooses."""
    recorder = _Recorder(truth, judge)
    working = proposals.prepare(image, recorder)
    for prompt in prompts:
        working.recent.clear()
        settle(working, prompt)
    return recorder.choices


def padded(choices: Sequence[Choice]) -> tuple[Tensor, Tensor]:
    """Traits, float32 (N, k, t), and IoUs, float32 (N, k), -1 where a prompt had fewer masks to choose from."""
    longest = max(len(c.ious) for c in choices)
    x = torch.zeros(len(choices), longest, choices[0].traits.shape[1])
    y = torch.full((len(choices), longest), -1.0)
    for i, c in enumerate(choices):
        x[i, : len(c.ious)], y[i, : len(c.ious)] = torch.from_numpy(c.traits), torch.from_numpy(c.ious)
    return x, y


def loss(logits: Tensor, ious: Tensor, prior: Tensor | float = 0.0) -> Tensor:
    """Of expected IoUs, log-odds (..., B, k), and the choices they lead to, against the true ones, (B, k), -1 for none.

    prior: (B, k), what is added to the log-odds of a mask before one is chosen.
    """
    there = ious >= 0
    wanted = ious.clamp(min=0).expand_as(logits)
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    expected = (each * there).sum(-1) / there.sum(-1)
    worth = (torch.logit(ious.clamp(0.003, 0.985)) / TEMPERATURE).masked_fill(~there, -1e4).softmax(-1)
    chosen = (2 * (logits + prior)).masked_fill(~there, -1e4).log_softmax(-1).masked_fill(~there, 0)
    return (expected - LISTWISE * (worth * chosen).sum(-1)).mean()


def tune(
    weights: Mapping[str, np.ndarray],
    choices: Sequence[Choice],
    seed: int,
    on_step: Callable[[int], None] = lambda done: None,
) -> dict[str, np.ndarray]:
    """The ranker with these weights (see ranker.TENSORS) after it has learned from some more choices.

    It learns beside what speaks for a mask anyway (traits.plausibility), as that has its say whenever it is asked.
    """
    x, y = padded(choices)
    prior = torch.stack([torch.from_numpy(plausibility(row)).float() for row in x.numpy()])
    x = (x - torch.from_numpy(weights["mean"])) / torch.from_numpy(weights["deviation"])
    names = [name for name in ranker.TENSORS if name not in ("mean", "deviation")]
    before = {name: torch.from_numpy(np.asarray(weights[name], np.float32)) for name in names}
    now = {name: value.clone().requires_grad_(True) for name, value in before.items()}
    optimizer = torch.optim.Adam(now.values(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, TUNING_STEPS)
    generator = torch.Generator().manual_seed(seed)
    for step in range(TUNING_STEPS):
        some = torch.randint(len(x), (AT_ONCE,), generator=generator)
        seen = x[some] + 0.05 * torch.randn(x[some].shape, generator=generator)
        held = sum(((now[name] - before[name]) ** 2).sum() for name in names)
        value = loss(_logits(now, seen), y[some], prior[some]) + ANCHOR * held
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        on_step(step + 1)
    return {**weights, **{name: value.detach().numpy() for name, value in now.items()}}


def _logits(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Log-odds (networks, B, k) of traits (B, k, t)."""
    hidden = x.flatten(0, 1)
    for layer in range(ranker.LAYERS):
        hidden = hidden.relu() if layer else hidden
        hidden = hidden @ weights[f"weight {layer}"] + weights[f"bias {layer}"][:, None]
    return hidden[..., 0].unflatten(1, x.shape[:2])
