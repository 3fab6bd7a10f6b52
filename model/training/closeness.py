"""Stage two: nano's SAM 2 and perceiver learn from close-ups what a thing is, and keep what they know of masks."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import close_up
from model.pam import PAM
from model.perceiver import FULL, embed
from model.sam import SamOutput
from model.training.data import IN_CLOSE_UP, SceneBatch
from model.training.kinds import KINDS
from model.training.segmentation import FactHeads, mask_loss, run_sam
from model.training.shapes import CATEGORIES

SHARPNESS = 16.0
"""What the cosine of an embedding and the mean of a kind is multiplied by, to tell kinds apart."""

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
        self.means = nn.Parameter(torch.randn(len(CATEGORIES) + KINDS, width))

    def forward(self, batch: SceneBatch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and what to show of it. progress: share of the steps done, 0..1."""
        _, learned, figures = self.look(batch)
        _, kept, more = self.look_at_first(batch)
        return learned + kept, {**figures, **more}

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
        told, known = self._told_apart(embed(semantic), batch.kinds)
        figures = {"facts": float(facts.detach()), "classified": float(right), "told apart": known}
        return seen, facts + 0.5 * told + 0.1 * near, figures

    def _told_apart(self, embeddings: Tensor, kinds: Tensor) -> tuple[Tensor, float]:
        """The cross entropy of the kinds of things, embeddings float (B, C), and the share that is right."""
        logits = SHARPNESS * embeddings @ F.normalize(self.means, dim=1).T
        known = kinds >= 0
        loss = F.cross_entropy(logits, kinds, ignore_index=-1, reduction="sum") / known.sum().clamp(min=1)
        return loss, float((logits.argmax(1) == kinds)[known].float().mean()) if known.any() else 0.0

    def look_at_first(self, batch: SceneBatch) -> tuple[SamOutput, Tensor, dict[str, float]]:
        """What SAM 2 makes of the first picture of a batch, its mask loss, and what to show of it."""
        few = len(batch.points) // len(batch.pixels)
        output = run_sam(self.sam, pictures(batch, slice(1)))
        loss, iou = mask_loss(output, batch.masks[:few], balance=0.0)
        presence = F.binary_cross_entropy_with_logits(output.object_score, torch.ones_like(output.object_score))
        return output, 0.2 * (loss + 0.05 * presence), {"iou": float(iou)}


def pictures(batch: SceneBatch, which: slice) -> SceneBatch:
    """What `run_sam` reads of some of the pictures of a batch."""
    few = len(batch.points) // len(batch.pixels)
    rows = slice(None if which.start is None else few * which.start, None if which.stop is None else few * which.stop)
    return replace(
        batch,
        pixels=batch.pixels[which],
        points=batch.points[rows],
        labels=batch.labels[rows],
        rough=None if batch.rough is None else batch.rough[rows],
    )
