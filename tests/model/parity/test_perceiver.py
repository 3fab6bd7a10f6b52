"""The semantic perceiver alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.config import PerceiverConfig
from model.perceiver import FULL, QUARTER, SemanticPerceiver
from tests.model.parity.reference import close, holding

REFERENCE = holding("semantic_perceiver.npz")


@pytest.fixture(scope="module")
def perceiver() -> SemanticPerceiver:
    module = SemanticPerceiver(256, PerceiverConfig()).eval()
    REFERENCE.fill(module, "perceiver.")
    return module


@pytest.mark.parametrize(("name", "neighbourhood"), [("half", FULL), ("quarter", QUARTER)])
def test_both_pixel_shuffle_factors(perceiver: SemanticPerceiver, name: str, neighbourhood: int):
    """Tokens, their order, and the first block without a residual."""
    expected = REFERENCE.arrays("semantic_perceiver.npz", f"{name}_")
    seeds = REFERENCE.case["perceiver_input_seeds"]
    image, tokens = (
        torch.from_numpy(np.random.RandomState(seed).standard_normal(shape).astype(np.float32))
        for seed, shape in zip(seeds, ((2, 256, 64, 64), (2, 2, 256)), strict=True)
    )
    with torch.inference_mode():
        image_tokens, semantic = perceiver(image, tokens, neighbourhood)
    assert tuple(image_tokens.shape) == tuple(expected["image_tokens_shape"])
    close(semantic, expected["sem_tokens"], 5e-5)
    close(image_tokens[:, expected["rows"]], expected["image_tokens_rows"], 5e-5)
    close(image_tokens.sum(-1), expected["image_tokens_row_sums"], 1e-3)
    close(image_tokens.norm(dim=-1), expected["image_tokens_row_l2"], 1e-3)
