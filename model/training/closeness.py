"""Stage two: nano's SAM 2 and perceiver learn from close-ups what a thing is, and keep what they know of masks."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import close_up
from model.pam import PAM
from model.perceiver import FULL
from model.training.data import IN_CLOSE_UP, SceneBatch
from model.training.segmentation import FactHeads, mask_loss, run_sam

LAYOUT = 4
"""Side of the coarse grid of cells that a classifier sees besides the semantic tokens: a category has a shape."""


class CloseUpStage(nn.Module):
    """SAM 2 and perceiver with the heads that stage two trains them through."""

    def __init__(self, pam: PAM):
        super().__init__()
        self.sam = pam.sam.train().requires_grad_(True)
        self.perceiver = pam.perceiver.train().requires_grad_(True)
        width = int(pam.sam.hidden_dim)  # type: ignore[arg-type]
        self.semantic_heads = FactHeads(pam.perceiver.sem_tokens.weight.numel(), IN_CLOSE_UP)
        self.layout_heads = FactHeads(width * LAYOUT * LAYOUT, IN_CLOSE_UP)

    def forward(self, batch: SceneBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and what to show of it. progress: share of the steps done, 0..1."""
        _, loss, figures = self.look(batch)
        return loss, figures

    def look(self, batch: SceneBatch) -> tuple[tuple[Tensor, Tensor], Tensor, dict[str, float]]:
        """What the perceiver makes of close-ups, besides what `forward` gives."""
        output = close_up.decode(self.sam, batch.close, batch.close_rough)
        seen = self.perceiver(output.image, output.tokens, FULL)
        semantic = seen[1]
        said = self.semantic_heads(semantic.flatten(1))
        right = (said["category"].argmax(1) == batch.classes[:, 0]).float().mean()
        facts = self.semantic_heads.loss(semantic.flatten(1), batch.classes)
        layout = F.adaptive_avg_pool2d(output.image, LAYOUT).flatten(1)
        facts = facts + 0.5 * self.layout_heads.loss(layout, batch.classes)
        near, _ = mask_loss(output, batch.close_masks, balance=0.0)
        whole, iou = self._whole(batch)
        figures = {"facts": float(facts.detach()), "classified": float(right), "iou": float(iou)}
        return seen, facts + 0.1 * near + 0.2 * whole, figures

    def _whole(self, batch: SceneBatch) -> tuple[Tensor, Tensor]:
        """The mask loss and the IoU on the first picture of a batch."""
        few = len(batch.points) // len(batch.pixels)
        first = replace(
            batch,
            pixels=batch.pixels[:1],
            points=batch.points[:few],
            labels=batch.labels[:few],
            rough=None if batch.rough is None else batch.rough[:few],
        )
        output = run_sam(self.sam, first)
        loss, iou = mask_loss(output, batch.masks[:few], balance=0.0)
        presence = F.binary_cross_entropy_with_logits(output.object_score, torch.ones_like(output.object_score))
        return loss + 0.05 * presence, iou
