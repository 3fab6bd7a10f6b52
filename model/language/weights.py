"""A Qwen2's weights, laid side by side where they are multiplied by the same input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model.errors import ModelError


@dataclass(frozen=True, eq=False)
class Layer:
    """The weights of one layer; queries, keys and values lie in one matrix, and so do the two halves of the MLP.

    output, down: transposed, as they are multiplied.
    """

    attention_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor
    output: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor

    def is_of(self, layer: Any) -> bool:
        """Whether these still are that layer's weights: moving or casting a model gives it new ones."""
        attention, mlp = layer.self_attn, layer.mlp
        return (
            all(type(module) is nn.Linear for module in _linears(layer))
            and self.qkv.data_ptr() == attention.q_proj.weight.data_ptr()
            and self.qkv_bias.data_ptr() == attention.q_proj.bias.data_ptr()
            and self.gate_up.data_ptr() == mlp.gate_proj.weight.data_ptr()
            and self.output.data_ptr() == attention.o_proj.weight.data_ptr()
            and self.down.data_ptr() == mlp.down_proj.weight.data_ptr()
            and self.attention_norm is layer.input_layernorm.weight
            and self.mlp_norm is layer.post_attention_layernorm.weight
        )


def fuse(layer: Any) -> Layer:
    """The weights of a Qwen2 layer; the layer's own parameters become views of them, so nothing is held twice.

    Raises ModelError when the layer is more than its weights, as while adapters hang on it.
    """
    for module in _linears(layer):
        if type(module) is not nn.Linear:
            raise ModelError(
                f"the language model holds a {type(module).__name__}: merge its adapters before it answers"
            )
    attention, mlp = layer.self_attn, layer.mlp
    qkv = (attention.q_proj, attention.k_proj, attention.v_proj)
    return Layer(
        attention_norm=layer.input_layernorm.weight,
        qkv=_side_by_side([module.weight for module in qkv]),
        qkv_bias=_side_by_side([module.bias for module in qkv]),
        output=attention.o_proj.weight.detach().t(),
        mlp_norm=layer.post_attention_layernorm.weight,
        gate_up=_side_by_side([mlp.gate_proj.weight, mlp.up_proj.weight]),
        down=mlp.down_proj.weight.detach().t(),
    )


def _linears(layer: Any) -> tuple[nn.Module, ...]:
    attention, mlp = layer.self_attn, layer.mlp
    return (
        attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj,
        mlp.gate_proj, mlp.up_proj, mlp.down_proj,
    )  # fmt: skip


@torch.inference_mode(False)
@torch.no_grad()
def _side_by_side(parts: list[nn.Parameter]) -> Tensor:
    """One tensor with `parts` below each other, which become views of it: nothing is held twice, training goes on."""
    whole = torch.cat([part.detach() for part in parts])
    for part, view in zip(parts, whole.split([len(part) for part in parts]), strict=True):
        part.data = view
    return whole
