"""A set of reference numbers: the official code's results, and the weights and inputs that they were made from.

The reference is what the official repository (commit 2fc36d3) computed on a CPU in float32, with weights that are made
from their names; the README beside the public set says how. `PAM_PARITY_DIR` names another set of the same format.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from model.checkpoints import NANO, TOKENIZER, load_tokenizer, to_official
from model.config import PAMConfig, PerceiverConfig, SamConfig
from model.pam import PAM
from model.prompt import Box, Point, Prompt

DEFAULT = Path(__file__).parents[2] / "data" / "parity"
CHOSEN = Path(os.environ.get("PAM_PARITY_DIR") or DEFAULT)
if not (CHOSEN / "case.json").is_file():
    raise FileNotFoundError(f"PAM_PARITY_DIR is {CHOSEN}, which holds no case.json: it is no set of reference numbers")
PLACEHOLDER_ID = -200
TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
}


@dataclass(frozen=True)
class ReferenceSet:
    """A folder of reference numbers."""

    folder: Path

    @cached_property
    def case(self) -> dict[str, Any]:
        """What varies from one set to another: salt, seeds, towers, biases."""
        return self.json("case.json")

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def arrays(self, name: str, prefix: str = "") -> dict[str, np.ndarray]:
        """The arrays of a file whose names begin with `prefix`, without it."""
        with np.load(self.folder / name) as file:
            return {key[len(prefix) :]: file[key] for key in file if key.startswith(prefix)}

    def image(self) -> np.ndarray:
        return picture(self.folder / "image_prompt.png")

    def frames(self, count: int) -> list[np.ndarray]:
        """The first frames of the clip."""
        paths = sorted((self.folder / "video_frames").iterdir())[:count]
        assert len(paths) == count
        return [picture(path) for path in paths]

    def weight(self, name: str, shape: Iterable[int], object_score_bias: float) -> torch.Tensor:
        """The weight of that official name."""
        shape = tuple(shape)
        seed = zlib.crc32((name + self.case["salt"]).encode()) & 0xFFFFFFFF
        z = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
        if name.endswith("positional_encoding_gaussian_matrix"):
            return torch.from_numpy(z)
        if len(shape) >= 2:
            sharp = name.startswith("model.layers.") and name.endswith(("q_proj.weight", "k_proj.weight"))
            return torch.from_numpy(z * np.float32((2 if sharp else 1) / math.sqrt(math.prod(shape[1:]))))
        if name.endswith((".weight", ".gamma")):
            return torch.from_numpy(1 + np.float32(0.02) * z)
        if name.endswith("pred_obj_score_head.layers.2.bias"):
            return torch.from_numpy(np.float32(object_score_bias) + np.float32(0.02) * z)
        return torch.from_numpy(np.float32(0.02) * z)

    def fill(self, module: torch.nn.Module, prefix: str = "", object_score_bias: float | None = None) -> None:
        """Give every parameter and buffer of a module the set's weights; `prefix` is the module's place in PAM."""
        bias = self.case["object_score_bias"] if object_score_bias is None else object_score_bias
        state = module.state_dict()
        module.load_state_dict({n: self.weight(to_official(prefix + n), t.shape, bias) for n, t in state.items()})

    def pam(self, tower: str, object_score_bias: float | None = None) -> PAM:
        """A PAM with that vision tower ("hiera_t") and the tiny language model, filled."""
        config = PAMConfig("parity", SamConfig(f"sam2.1_{tower}"), PerceiverConfig(), TINY)
        pam = PAM(config, load_tokenizer(NANO / TOKENIZER)).eval().requires_grad_(False)
        self.fill(pam, object_score_bias=object_score_bias)
        return pam


def holding(name: str) -> ReferenceSet:
    """The chosen set, or the default one where the chosen one lacks that file."""
    return ReferenceSet(CHOSEN if (CHOSEN / name).exists() else DEFAULT)


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def as_prompt(facts: dict[str, Any]) -> Prompt:
    """What stands under `visual_prompt` and `vp_labels`."""
    if facts["vp_labels"] is None:
        return Prompt(box=Box(*facts["visual_prompt"]))
    clicks = zip(facts["visual_prompt"], facts["vp_labels"], strict=True)
    return Prompt(tuple(Point(x, y, bool(sign)) for (x, y), sign in clicks))


def split_ids(ids: Iterable[int]) -> tuple[list[int], list[int]]:
    """Token ids before and after the image placeholder."""
    ids = [int(i) for i in ids]
    place = ids.index(PLACEHOLDER_ID)
    return ids[:place], ids[place + 1 :]


def close(ours: torch.Tensor | np.ndarray | list[float], theirs: np.ndarray, limit: float) -> None:
    """Largest absolute difference at most `limit`."""
    np.testing.assert_allclose(
        np.asarray(ours, np.float64), np.asarray(theirs, np.float64), rtol=0, atol=limit, equal_nan=False
    )


def close_sums(ours: torch.Tensor, theirs: np.ndarray, limit: float) -> None:
    """Largest difference at most `limit` of the largest sum."""
    close(ours, theirs, limit * float(np.abs(theirs).max()))


def close_mean(ours: torch.Tensor, theirs: np.ndarray, limit: float) -> None:
    """Mean absolute difference below `limit`."""
    difference = np.abs(np.asarray(ours, np.float64) - theirs.astype(np.float64)).mean()
    assert difference < limit, f"mean absolute difference {difference}"
