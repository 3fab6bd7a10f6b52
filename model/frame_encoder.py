"""SAM 2's image encoder for frame after frame: what follows from its weights alone is computed once.

Our own forward over sam2's modules. It leaves out what following never reads (the neck's position encodings), keeps
the trunk's position embedding, and makes one convolution of each of the neck's fine ones and the mask decoder's behind
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import sam as sam2

FINE = 2
"""Levels of the neck that only the mask decoder's upscaling sees; nothing is added to them from above."""


@dataclass(frozen=True, eq=False)
class FrameFeatures:
    """An encoded frame, batch of one, before it is known what memory adds to it.

    coarse: float (1, C, S/16, S/16); S is the side of SAM 2's square input.
    fine:   as in SamFeatures.
    """

    coarse: Tensor
    fine: tuple[Tensor, Tensor]


class FrameEncoder:
    """As `sam.backbone`, to rounding, for weights that stay as they are while it is in use. Not thread-safe."""

    def __init__(self, sam: Any):
        neck, decoder = sam.image_encoder.neck, sam.sam_mask_decoder
        self._sam, self._trunk, self._neck = sam, sam.image_encoder.trunk, neck
        self._plain = min(neck.fpn_top_down_levels) < FINE or neck.fuse_type != "sum" or len(neck.convs) != 4
        self._fine: list[tuple[Tensor, Tensor]] = []
        if not self._plain:
            laterals = [neck.convs[-1 - level].conv for level in range(FINE)]
            pairs = zip(laterals, (decoder.conv_s0, decoder.conv_s1), strict=True)
            self._fine = [_together(first, second) for first, second in pairs]
        self._places: Tensor | None = None

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> FrameFeatures:
        """Encode a frame, float (1, 3, S, S) as `sam.preprocess` gives it."""
        if self._plain:
            return FrameFeatures(*sam2.backbone(self._sam, pixels))
        levels = self._levels(pixels)
        (weight0, bias0), (weight1, bias1) = self._fine
        fine = F.conv2d(levels[0], weight0, bias0), F.conv2d(levels[1], weight1, bias1)
        above = F.interpolate(self._lateral(levels, 3).float(), scale_factor=2.0, mode=self._neck.fpn_interp_model)
        # The neck adds levels up in float32, whatever the dtype of the weights.
        return FrameFeatures((self._lateral(levels, 2) + above).to(pixels.dtype), fine)

    def _levels(self, pixels: Tensor) -> list[Tensor]:
        """What the trunk's stages end with, float (B, C, h, w), the largest first."""
        trunk, found = self._trunk, []
        x = trunk.patch_embed(pixels)
        if self._places is None or self._places.shape[1:3] != x.shape[1:3]:
            self._places = trunk._get_pos_embed(x.shape[1:3])
        x = x + self._places
        for i, block in enumerate(trunk.blocks):
            x = block(x)
            if i in trunk.stage_ends:
                found.append(x.permute(0, 3, 1, 2))
        return found

    def _lateral(self, levels: list[Tensor], level: int) -> Tensor:
        return self._neck.convs[-1 - level](levels[level])


@torch.inference_mode()
def _together(first: nn.Conv2d, second: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that two, each of single pixels, come to."""
    a, b = (conv.weight.double()[..., 0, 0] for conv in (first, second))
    assert first.bias is not None and second.bias is not None
    weight, bias = b @ a, b @ first.bias.double() + second.bias.double()
    return weight[..., None, None].to(first.weight.dtype), bias.to(first.weight.dtype)
