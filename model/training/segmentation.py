"""Stage one: nano's SAM 2 learns to segment, and to hold in its features what words will need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import sam as sam2
from model.pam import PAM
from model.training.data import FACTS, SceneBatch


class FactHeads(nn.Module):
    """Linear classifiers, one for each fact, that are thrown away after training.

    Without them nothing makes a small encoder tell a leaf from a fish, or red from green (see shared notes on nano: the
    language model's loss alone stays at chance).
    """

    def __init__(self, width: int, facts: Sequence[str] = tuple(FACTS)):
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(FACTS[name])) for name in facts})

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Features (B, width) to logits (B, number of values) for each fact."""
        return {name: head(features) for name, head in self.heads.items()}

    def loss(self, features: Tensor, classes: Tensor) -> Tensor:
        """Sum of the cross entropies; classes int64 (B, len(FACTS))."""
        index = {name: i for i, name in enumerate(FACTS)}
        return sum(
            (F.cross_entropy(logits.float(), classes[:, index[name]]) for name, logits in self(features).items()),
            features.new_zeros((), dtype=torch.float32),
        )


class SegmentationStage(nn.Module):
    """SAM 2 with the heads that stage one trains it through."""

    def __init__(self, pam: PAM):
        super().__init__()
        self.sam = pam.sam.train().requires_grad_(True)
        width = int(pam.sam.hidden_dim)  # type: ignore[arg-type]
        self.token_heads = FactHeads(width)
        self.pixel_heads = FactHeads(width)

    def forward(self, batch: SceneBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and what to show of it. progress: share of the steps done, 0..1."""
        output = run_sam(self.sam, batch)
        segmentation, iou = mask_loss(output, batch.masks, balance=max(0.0, 1 - progress / 0.4))
        presence = F.binary_cross_entropy_with_logits(output.object_score, torch.ones_like(output.object_score))
        cells = F.adaptive_avg_pool2d(batch.masks, output.image.shape[-1]) + 1e-6
        pooled = (output.image * cells).sum((2, 3)) / cells.sum((2, 3))
        words = self.pixel_heads.loss(pooled, batch.classes)
        for row in output.tokens.unbind(1):
            words = words + 0.5 * self.token_heads.loss(row, batch.classes)
        loss = segmentation + 0.05 * presence + 0.15 * words
        return loss, {"mask": float(segmentation.detach()), "iou": float(iou), "words": float(words.detach())}


def run_sam(sam: Any, batch: SceneBatch) -> sam2.SamOutput:
    """Encode the images of a batch once and decode all their prompts."""
    features = sam2.encode(sam, batch.pixels)
    repeat = len(batch.points) // len(batch.pixels)
    each = sam2.SamFeatures(
        features.embedding.repeat_interleave(repeat, 0),
        (features.fine[0].repeat_interleave(repeat, 0), features.fine[1].repeat_interleave(repeat, 0)),
    )
    return sam2.decode(sam, each, batch.points, batch.labels, batch.rough, one_image=False)


def mask_loss(output: sam2.SamOutput, target: Tensor, balance: float) -> tuple[Tensor, Tensor]:
    """Segmentation loss, and the mean IoU of the masks shown.

    target: float (B, 1, S/4, S/4), share of each cell covered. balance: 1 weighs object and background alike, 0 weighs
    pixels alike; starting with the latter stays at empty masks.
    Token 0 always learns; of the other three the best one does, and the rest a little so that none is lost.
    """
    logits, share = output.logits, target.mean((2, 3), keepdim=True).clamp(1e-4, 1 - 1e-4)
    even = target / (2 * share) + (1 - target) / (2 * (1 - share))
    weight = balance * even + (1 - balance)
    wanted = target.expand_as(logits)
    bce = (F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * weight).mean((2, 3))
    probability = logits.sigmoid()
    overlap = (probability * wanted).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + wanted.sum((2, 3)) + 1)
    each = bce + dice
    with torch.no_grad():
        shown, truth = logits > 0, wanted > 0.5
        iou = (shown & truth).sum((2, 3)) / (shown | truth).sum((2, 3)).clamp(min=1)
    quality = (output.iou - iou).abs().mean()
    loss = each[:, 0].mean() + each[:, 1:].min(1).values.mean() + 0.15 * each[:, 1:].mean() + quality
    return loss, iou[:, 0].mean()
