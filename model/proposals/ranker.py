"""Which of many masks to believe: small networks that have seen which traits good masks have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

WEIGHTS = Path(__file__).with_name("ranker.npz")
"""Written by `python -m benchmarks.segment.learn`."""

LAYERS = 3

TENSORS = ("mean", "deviation", *(f"{kind} {layer}" for layer in range(LAYERS) for kind in ("weight", "bias")))
"""What the file holds."""


def judge(view: Any, masks: Sequence[np.ndarray], traits: np.ndarray) -> np.ndarray:
    """float64 (k,), 0..1: the IoU to expect of masks with these traits, float32 (k, len(traits.NAMES)).

    The mean opinion of several networks that differ in their first weights only: one alone is right by luck.
    """
    return expected(stored(), traits)


def expected(weights: Mapping[str, np.ndarray], traits: np.ndarray) -> np.ndarray:
    """What `judge` says, by these weights, see TENSORS."""
    x = (traits - weights["mean"]) / weights["deviation"]
    for layer in range(LAYERS):
        x = np.maximum(x, 0) if layer else x
        x = x @ weights[f"weight {layer}"] + weights[f"bias {layer}"][:, None]
    return (1 / (1 + np.exp(-x[..., 0].astype(np.float64)))).mean(axis=0)


@cache
def stored() -> dict[str, np.ndarray]:
    """The weights that come with the package; not to be changed."""
    with np.load(WEIGHTS) as file:
        return {name: file[name] for name in file.files}


class OwnRanker(nn.Module):
    """A ranker of a model's own, which has learned from corrected masks; part of its checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        for name in TENSORS:
            like = torch.from_numpy(stored()[name])
            self.register_parameter(name.replace(" ", "_"), nn.Parameter(like.clone(), requires_grad=False))

    def judge(self, view: Any, masks: Sequence[np.ndarray], traits: np.ndarray) -> np.ndarray:
        """As the function of that name."""
        return expected({name: self.tensor(name).float().cpu().numpy() for name in TENSORS}, traits)

    def tensor(self, name: str) -> torch.Tensor:
        """The weights of a name in TENSORS."""
        return self.get_parameter(name.replace(" ", "_")).detach()
