"""What memory adds to a frame: SAM 2's memory attention, many objects on one frame.

Our own forward over sam2's modules, batch first. Until memory is looked at, all objects see the same frame, so that
part is computed once; keys are turned in place (rotary position), and summed with their places once for all layers.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CURRENT_POSITION = 0.1
"""Weight of the position that the frame itself is given, as in sam2."""


def recall(attention: Any, frame: Tensor, position: Tensor, memory: Tensor, places: Tensor, pointers: int) -> Tensor:
    """The frame as each of B objects' memory shows it, float (B, h*w, C).

    frame, position: float (1, h*w, C), features and their position encoding.
    memory:          float (B, N*h*w + pointers, M): N remembered frames, then tokens of pointers, which have no place
                     on a grid.
    places:          float (1 or B, N*h*w + pointers, M), position and age of each.
    """
    seen = frame + CURRENT_POSITION * position if attention.pos_enc_at_input else frame
    keys = memory + places
    for layer in attention.layers:
        normed = layer.norm1(seen)
        query = normed + position if layer.pos_enc_at_attn else normed
        seen = seen + _attend(layer.self_attn, query, query, normed, 0)
        # From here on the objects differ.
        normed = layer.norm2(seen)
        query = normed + position if layer.pos_enc_at_cross_attn_queries else normed
        key = keys if layer.pos_enc_at_cross_attn_keys else memory
        seen = seen + _attend(layer.cross_attn_image, query.expand(len(memory), -1, -1), key, memory, pointers)
        seen = seen + layer.linear2(layer.activation(layer.linear1(layer.norm3(seen))))
    return attention.norm(seen)


def _attend(attention: Any, query: Tensor, key: Tensor, value: Tensor, unplaced: int) -> Tensor:
    """Attention with rotary positions; the last `unplaced` keys have none."""
    heads = attention.num_heads
    q, k, v = (
        projection(each).unflatten(2, (heads, -1)).transpose(1, 2)
        for projection, each in ((attention.q_proj, query), (attention.k_proj, key), (attention.v_proj, value))
    )
    turns = _turns(attention, q.shape[2], q.device)
    q = _turned(q, turns)
    placed = k.shape[2] - unplaced
    if k.dtype == torch.float32:
        _turned(k[:, :, :placed], turns)
    else:
        k[:, :, :placed] = _turned(k[:, :, :placed], turns)
    out = F.scaled_dot_product_attention(q, k, v)
    return attention.out_proj(out.transpose(1, 2).flatten(2))


def _turns(attention: Any, cells: int, device: torch.device) -> Tensor:
    """The rotation of each cell of a square grid, complex (h*w, C/2); kept where sam2 keeps it."""
    if len(attention.freqs_cis) != cells or attention.freqs_cis.device != device:
        side = round(cells**0.5)
        attention.freqs_cis = attention.compute_cis(end_x=side, end_y=side).to(device)
    return attention.freqs_cis


def _turned(x: Tensor, turns: Tensor) -> Tensor:
    """(B, heads, N*h*w, C) turned, each of N frames alike; in place where it is float32 already."""
    pairs = torch.view_as_complex(x.float().unflatten(3, (-1, 2)).unflatten(2, (-1, len(turns))))
    pairs *= turns
    return torch.view_as_real(pairs).flatten(4).flatten(2, 3).type_as(x)
