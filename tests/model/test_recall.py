"""Memory attention by our own forward."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from model.config import SamConfig
from model.recall import recall
from model.sam import build_sam

SIDE, FRAMES, POINTERS = 6, 3, 8


@pytest.fixture(scope="module")
def memory_attention() -> Any:
    """Of a published size, with weights drawn at random."""
    torch.manual_seed(0)
    return build_sam(SamConfig("sam2.1_hiera_t")).memory_attention


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_it_is_sam2s(memory_attention: Any, dtype: torch.dtype):
    """All layers of a published size, several objects on one frame, pointers without a place; inputs are left alone."""
    torch.manual_seed(0)
    attention = copy.deepcopy(memory_attention).to(dtype)
    frame, position = (torch.randn(1, SIDE**2, 256, dtype=dtype) for _ in range(2))
    memory = torch.randn(2, FRAMES * SIDE**2 + POINTERS, 64, dtype=dtype)
    places = torch.randn(1, FRAMES * SIDE**2 + POINTERS, 64, dtype=dtype)
    given = [each.clone() for each in (frame, position, memory, places)]
    ours = recall(attention, *given, POINTERS)
    theirs = attention(
        curr=frame.transpose(0, 1).expand(-1, 2, -1),
        curr_pos=position.transpose(0, 1).expand(-1, 2, -1),
        memory=memory.transpose(0, 1),
        memory_pos=places.transpose(0, 1).expand(-1, 2, -1),
        num_obj_ptr_tokens=POINTERS,
    )
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(ours, theirs.transpose(0, 1), rtol=0, atol=tolerance)
    assert not torch.allclose(ours[0], ours[1], atol=0.1)
    for each, before in zip(given, (frame, position, memory, places), strict=True):
        assert torch.equal(each, before)
