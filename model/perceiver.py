"""The semantic perceiver: SAM 2's features and mask tokens become tokens for the language model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sam2.modeling.sam.transformer import TwoWayTransformer
from torch import Tensor, nn

from model.config import PerceiverConfig
from model.fourier import FourierPosition

FULL, QUARTER = 2, 4
"""Side of the square of cells that one image token stands for: of images and a clip's first frame; of other frames."""


class SemanticPerceiver(TwoWayTransformer):
    """Refines learned semantic tokens against the image (arXiv 2506.05302, section 3.2).

    It is SAM's own two-way transformer, down to the first block's self-attention, whose output replaces the queries
    without a residual; the published weights were trained with that.
    """

    def __init__(self, width: int, config: PerceiverConfig):
        """width: channels of SAM 2's mask decoder."""
        super().__init__(depth=config.depth, embedding_dim=width, num_heads=config.heads, mlp_dim=config.mlp)
        self.pe_layer = FourierPosition(width // 2)
        self.sem_tokens = nn.Embedding(config.semantic_tokens, width)
        self.proj = nn.Linear(QUARTER * QUARTER * width, FULL * FULL * width)

    def forward(self, image: Tensor, tokens: Tensor, neighbourhood: int = FULL) -> tuple[Tensor, Tensor]:
        """Perceive one region per row.

        image:         float (B, C, h, w), the image output of SAM 2's decoder transformer.
        tokens:        float (B, 2, C), two of its mask tokens.
        neighbourhood: FULL or QUARTER, the side n of the square of cells that shares one image token.

        Returns image tokens, float (B, h*w / n², 4*C), and semantic tokens, float (B, 16, C).
        """
        batch, _, height, width = image.shape
        queries = torch.cat([tokens, self.sem_tokens.weight.expand(batch, -1, -1)], dim=1)
        position = self.pe_layer((height, width)).to(image.dtype).expand(batch, -1, -1, -1)
        queries, cells = super().forward(image, position, queries)
        image_tokens = pixel_shuffle(cells, height, width, neighbourhood)
        if neighbourhood == QUARTER:
            image_tokens = self.proj(image_tokens)
        return image_tokens, queries[:, -self.sem_tokens.num_embeddings :]


def embed(semantic: Tensor) -> Tensor:
    """What regions are found again by: semantic tokens, (B, 16, C), to float32 (B, C) of length 1."""
    return F.normalize(semantic.float().mean(dim=1), dim=1)


def pixel_shuffle(cells: Tensor, height: int, width: int, n: int) -> Tensor:
    """Gather neighbourhoods of n x n cells into one token each.

    cells: (B, height*width, C) in row-major order. Returns (B, height*width / n², n²*C): tokens run down the columns
    of neighbourhoods first, channels run over the cells of a neighbourhood row by row.
    """
    batch, _, channels = cells.shape
    grid = cells.view(batch, height // n, n, width // n, n, channels)
    return grid.permute(0, 3, 1, 2, 4, 5).reshape(batch, -1, n * n * channels)
