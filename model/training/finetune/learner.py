"""The parts of a PAM that learn words, and their loss: perceiver, projectors, newlines and language model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model import close_up
from model import sam as sam2
from model.fields import QUESTIONS
from model.pam import PAM
from model.training.conversation import IGNORED, Sample, collate, predictions
from model.training.finetune.items import Item
from model.training.finetune.records import OWN
from model.training.segmentation import mask_loss


class Learner(nn.Module):
    """A PAM as it learns. SAM 2 stays as it is and is no part of the state, as in the official trainer, unless
    `sam_learns`."""

    def __init__(self, pam: PAM, sam_learns: bool = False):
        super().__init__()
        self._pam = (pam,)
        self._sam_learns = sam_learns
        if sam_learns:
            self.sam = pam.sam
        self.perceiver, self.language = pam.perceiver, pam.language
        self.image_projector, self.semantic_projector = pam.image_projector, pam.semantic_projector
        self.newlines = nn.ParameterList([pam.image_newline, pam.semantic_newline, pam.frame_newline])

    def forward(self, items: Sequence[Item], weights: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
        """Summed cross entropy of all that the items' conversations have to teach, times the weight of each task.

        weights: task to what a token of it counts. Returns the loss, and unweighted sums by task.
        """
        visual = self._visual(items)
        rows = [(i, sample, task) for i, item in enumerate(items) for sample, task in _pairs(item)]
        batch = collate(
            self.language.get_input_embeddings(), [sample for _, sample, _ in rows], [visual[i] for i, _, _ in rows]
        )
        logits, targets = predictions(self.language, batch)
        each = F.cross_entropy(logits.float(), targets, reduction="none")
        sums: dict[str, Tensor] = defaultdict(lambda: each.new_zeros(()))
        for (_, _, task), part in zip(rows, each.split((batch.labels[:, 1:] != IGNORED).sum(1).tolist()), strict=True):
            sums[task] = sums[task] + part.sum()
        loss = torch.stack([weights[task] * value for task, value in sums.items()]).sum()
        return loss, {task: value.detach() for task, value in sums.items()}

    def _visual(self, items: Sequence[Item]) -> Tensor:
        """What stands for the placeholder of each item, float (B, V, hidden), as PAM.visual_tokens has it."""
        pam = self._pam[0]
        with torch.set_grad_enabled(self._sam_learns and torch.is_grad_enabled()):
            whole = decoded(pam, items)
            near = None
            if pam.config.close_up:
                pixels, masks = _stacked(pam, [i.close for i in items]), _stacked(pam, [i.close_rough for i in items])
                near = close_up.decode(pam.sam, pixels, masks)
        return pam.in_sequence(pam.looks(whole.image, whole.tokens, near))


class MaskLearner(nn.Module):
    """SAM 2's mask decoder as it learns from corrected masks; its image encoder stays as it is."""

    def __init__(self, pam: PAM):
        super().__init__()
        self._pam = (pam,)
        self.decoder = pam.sam.sam_mask_decoder

    def forward(self, items: Sequence[Item]) -> tuple[Tensor, Tensor]:
        """The segmentation loss of a batch, and the mean IoU of the masks shown."""
        pam = self._pam[0]
        output = decoded(pam, items)
        truth = torch.stack([item.mask for item in items if item.mask is not None]).to(output.logits)
        loss, iou = mask_loss(output, truth, balance=0.0)
        presence = F.binary_cross_entropy_with_logits(output.object_score, torch.ones_like(output.object_score))
        return loss + 0.05 * presence, iou.detach()


TASKS = (*QUESTIONS, OWN)
"""What conversations are about, by the official names."""


def count_tokens(items: Sequence[Item]) -> dict[str, float]:
    """Task to the tokens that the items have to teach of it."""
    found: dict[str, float] = defaultdict(float)
    for item in items:
        for sample, task in _pairs(item):
            found[task] += sum(label != IGNORED for label in sample.labels[1:])
    return dict(found)


def count_masks(items: Sequence[Item]) -> dict[str, float]:
    """The items whose mask is known."""
    return {"mask": float(sum(item.mask is not None for item in items))}


def word_figures(
    model: nn.Module, items: Sequence[Item], weights: Mapping[str, float]
) -> tuple[Tensor, dict[str, tuple[Tensor, float]]]:
    """The loss of a Learner, and the cross entropies of each task with the tokens that they are of."""
    loss, sums = model(items, weights)
    tokens = count_tokens(items)
    return loss, {task: (value, tokens[task]) for task, value in sums.items()}


def mask_figures(
    model: nn.Module, items: Sequence[Item], weights: Mapping[str, float]
) -> tuple[Tensor, dict[str, tuple[Tensor, float]]]:
    """The same of a MaskLearner: its loss is a mean, and counts as often as it has items."""
    known = [item for item in items if item.mask is not None]
    loss, iou = model(known)
    return weights["mask"] * len(known) * loss, {"iou": (iou * len(known), float(len(known)))}


def decoded(pam: PAM, items: Sequence[Item]) -> sam2.SamOutput:
    """What SAM 2 makes of each item's prompt, in their order.

    Prompts share a pass with those of their layout: padding would be one more token that SAM 2 attends to.
    """
    encoder_learns = any(p.requires_grad for p in pam.sam.image_encoder.parameters())  # type: ignore[union-attr]
    with torch.set_grad_enabled(encoder_learns and torch.is_grad_enabled()):
        features = sam2.encode(pam.sam, _stacked(pam, [item.pixels for item in items]))
    like: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for i, item in enumerate(items):
        like[item.points.shape[1], item.rough is None].append(i)
    parts, order = [], []
    for (_, unmasked), members in like.items():
        fine0, fine1 = (tensor[members] for tensor in features.fine)
        parts.append(
            sam2.decode(
                pam.sam,
                sam2.SamFeatures(features.embedding[members], (fine0, fine1)),
                torch.cat([items[i].points for i in members]).to(features.embedding),
                torch.cat([items[i].labels for i in members]).to(pam.device),
                None if unmasked else _stacked(pam, [items[i].rough for i in members]),
                one_image=False,
            )
        )
        order += members
    back = torch.tensor(order, device=pam.device).argsort()
    names = ("logits", "iou", "object_score", "tokens", "image")
    return sam2.SamOutput(*(torch.cat([getattr(part, name) for part in parts])[back] for name in names))


def _pairs(item: Item) -> Iterator[tuple[Sample, str]]:
    return zip(item.samples, item.tasks, strict=True)


def _stacked(pam: PAM, tensors: Sequence[Tensor | None]) -> Tensor:
    """In the dtype of SAM 2's weights, which need not be that of what learns."""
    return torch.stack([t for t in tensors if t is not None]).to(pam.device, pam.sam.no_mem_embed.dtype)
