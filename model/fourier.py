"""Random Fourier features of places, as SAM 2 has them."""

from __future__ import annotations

import math

import torch
from sam2.modeling.position_encoding import PositionEmbeddingRandom
from torch import Tensor


class FourierPosition(PositionEmbeddingRandom):
    """sam2's encoding, computed in float32 whatever the dtype of its matrix.

    The official code rounds the matrix with the model and then computes in float32; sam2's own refuses half precision.
    """

    def _pe_encoding(self, coords: Tensor) -> Tensor:
        """Places in 0..1, (..., 2) as x and y, to float32 (..., C)."""
        angles = 2 * math.pi * ((2 * coords.float() - 1) @ self.positional_encoding_gaussian_matrix.float())
        return torch.cat([angles.sin(), angles.cos()], dim=-1)
