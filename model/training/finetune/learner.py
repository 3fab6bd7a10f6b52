"""The parts of a PAM that learn words, and their loss: perceiver, projectors, newlines and language model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from model import close_up
from model import sam as sam2
from model.fields import QUESTIONS, VIDEO_QUESTIONS
from model.pam import PAM
from model.perceiver import QUARTER
from model.training.conversation import IGNORED, Sample, collate, predictions
from model.training.finetune.items import Item
from model.training.finetune.records import OWN
from model.training.segmentation import mask_loss

FORWARD = [
    SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH,
]  # fmt: skip
"""Ways to attend where nothing is learned: the fused ones are the faster ones on a CPU too, but backward (see loop)."""


class Learner(nn.Module):
    """A PAM as its words learn.

    Of large models SAM 2 stays as it is and is no part of the state, as in the official trainer. A small one's features
    were made for what it was shown, so SAM 2 learns through its close-up, and a classifier of the categories, thrown
    away afterwards, says what is worth seeing (see segmentation.FactHeads).
    """

    def __init__(self, pam: PAM, categories: Sequence[str] = ()):
        """categories: that the classifier tells apart; without any, SAM 2 stays as it is."""
        super().__init__()
        self._pam = (pam,)
        self._numbers = {name: i for i, name in enumerate(categories)}
        if categories:
            self.sam = pam.sam
            self.classifier = nn.Linear(pam.perceiver.sem_tokens.weight.numel(), len(categories))
        self.perceiver, self.language = pam.perceiver, pam.language
        self.image_projector, self.semantic_projector = pam.image_projector, pam.semantic_projector
        if pam.config.close_up:
            self.outline_projector = pam.outline_projector
        self.newlines = nn.ParameterList([pam.image_newline, pam.semantic_newline, pam.frame_newline])

    def forward(self, items: Sequence[Item], weights: Mapping[str, float]) -> tuple[Tensor, dict[str, Tensor]]:
        """Summed cross entropy of all that the items have to teach, times the weight of each kind of it.

        weights: kind, see KINDS, to what a token or a region of it counts. Returns the loss, and sums by kind.
        """
        pam = self._pam[0]
        # Where processes share the weights, it is these that are gathered.
        pam.image_newline, pam.semantic_newline, pam.frame_newline = self.newlines
        with torch.no_grad(), sdpa_kernel(FORWARD):
            whole = decoded(pam, items)
        near = self._near(items) if pam.config.close_up else None
        looks = pam.looks(whole.image, whole.tokens, near)
        sums = self._sentences(self._with_later(pam.in_sequence(looks), items), items)
        if self._numbers and near is not None:
            sums |= {CLASS: self._classes(looks[0][1], items), MASK: _kept(near[0], items)}
        # All of it, also what counts nothing here: processes wait for the gradients of each other's parts.
        loss = torch.stack([weights.get(kind, 0.0) * value for kind, value in sums.items()]).sum()
        return loss, {kind: value.detach() for kind, value in sums.items() if kind in weights}

    def _near(self, items: Sequence[Item]) -> tuple[sam2.SamOutput, Tensor]:
        pam = self._pam[0]
        pixels, masks = _stacked(pam, [i.close for i in items]), _stacked(pam, [i.close_rough for i in items])
        with torch.set_grad_enabled(bool(self._numbers) and torch.is_grad_enabled()):
            return close_up.decode(pam.sam, pixels, masks), _stacked(pam, [i.outline for i in items])

    def _with_later(self, visual: Tensor, items: Sequence[Item]) -> list[Tensor]:
        """What stands for each item, float (V_i, hidden), given all but what comes after the first frame of clips."""
        return [
            row if item.later is None else torch.cat([row, *self._later(item)])
            for row, item in zip(visual, items, strict=True)
        ]

    def _later(self, item: Item) -> list[Tensor]:
        """What comes after the first frame of a clip, each float (n, hidden)."""
        pam, later = self._pam[0], (item.later, item.later_rough)
        with torch.no_grad():
            seen = close_up.decode(pam.sam, *(_stacked(pam, list(each)) for each in later if each is not None))
        frames = list(pam.as_frame(pam.perceiver(seen.image, seen.tokens, QUARTER)))
        if pam.config.close_up:
            return [*frames, pam.trajectory_projector(_stacked(pam, [item.way]))]
        # A region of a picture ends without the newline that parts frames, unless it has a close-up.
        return [pam.frame_newline[None], *frames]

    def _sentences(self, visual: Sequence[Tensor], items: Sequence[Item]) -> dict[str, Tensor]:
        batch = collate(self.language.get_input_embeddings(), [item.samples for item in items], visual)
        logits, targets = predictions(self.language, batch)
        each = F.cross_entropy(logits.float(), targets, reduction="none")
        sums: dict[str, Tensor] = defaultdict(lambda: each.new_zeros(()))
        tasks = [task for item in items for task in item.tasks]
        for task, part in zip(tasks, each.split(batch.counts), strict=True):
            sums[task] = sums[task] + part.sum()
        return dict(sums)

    def _classes(self, semantic: Tensor, items: Sequence[Item]) -> Tensor:
        wanted = torch.tensor([self._numbers.get(item.category, IGNORED) for item in items], device=semantic.device)
        logits = self.classifier(semantic.flatten(1)).float()
        return F.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="sum")


def _kept(near: sam2.SamOutput, items: Sequence[Item]) -> Tensor:
    """The mask loss of close-ups, summed over items: what SAM 2 must not forget while it learns."""
    known = [i for i, item in enumerate(items) if item.close_mask is not None]
    if not known:
        return 0 * (near.logits.sum() + near.iou.sum() + near.object_score.sum())
    # Not in half precision: a mask that fills its close-up has a share that would round to one there.
    truth = torch.stack([mask for item in items if (mask := item.close_mask) is not None]).to(near.logits.device)
    some = sam2.SamOutput(near.logits[known], near.iou[known], near.object_score[known], near.tokens, near.image)
    loss, _ = mask_loss(some, truth, balance=0.0)
    presence = F.binary_cross_entropy_with_logits(some.object_score, torch.ones_like(some.object_score))
    return KEPT * len(known) * (loss + 0.05 * presence)


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
        truth = torch.stack([item.mask for item in items if item.mask is not None]).to(output.logits.device)
        loss, iou = mask_loss(output, truth, balance=0.0)
        presence = F.binary_cross_entropy_with_logits(output.object_score, torch.ones_like(output.object_score))
        return loss + 0.05 * presence, iou.detach()


CLASS, MASK = "class", "mask"
TASKS = (*QUESTIONS, *VIDEO_QUESTIONS, OWN)
KINDS = (*TASKS, CLASS, MASK)
"""What there is to learn: the tasks of conversations, by their official names, classes, and masks."""

KEPT = 0.1
"""Weight of the masks that SAM 2 must not forget, beside that of the other kinds."""


def count_words(items: Sequence[Item]) -> dict[str, float]:
    """Task to the tokens that the items have to teach of it, CLASS and MASK to the regions that have one."""
    found: dict[str, float] = defaultdict(float)
    for item in items:
        for sample, task in _pairs(item):
            found[task] += sum(label != IGNORED for label in sample.labels[1:])
        found[CLASS] += bool(item.category)
        found[MASK] += item.close_mask is not None
    return dict(found)


def count_masks(items: Sequence[Item]) -> dict[str, float]:
    """The items whose mask is known."""
    return {MASK: float(sum(item.mask is not None for item in items))}


def word_figures(
    model: nn.Module, items: Sequence[Item], weights: Mapping[str, float]
) -> tuple[Tensor, dict[str, tuple[Tensor, float]]]:
    """The loss of a Learner, and the cross entropy of each kind with the number of tokens or regions that it is of."""
    loss, sums = model(items, weights)
    numbers = count_words(items)
    return loss, {kind: (value, numbers[kind]) for kind, value in sums.items()}


def mask_figures(
    model: nn.Module, items: Sequence[Item], weights: Mapping[str, float]
) -> tuple[Tensor, dict[str, tuple[Tensor, float]]]:
    """The same of a MaskLearner: its loss is a mean, and counts as often as it has items."""
    known = [item for item in items if item.mask is not None]
    loss, iou = model(known)
    return weights[MASK] * len(known) * loss, {"iou": (iou * len(known), float(len(known)))}


def decoded(pam: PAM, items: Sequence[Item]) -> sam2.SamOutput:
    """What SAM 2 makes of each item's prompt, in their order.

    A picture that several items share is encoded once. Prompts share a pass with those of their layout: padding would
    be one more token that SAM 2 attends to.
    """
    pictures = {id(item.pixels): item.pixels for item in items}
    places = {key: place for place, key in enumerate(pictures)}
    shown = torch.tensor([places[id(item.pixels)] for item in items], device=pam.device)
    encoder_learns = any(p.requires_grad for p in pam.sam.image_encoder.parameters())  # type: ignore[union-attr]
    with torch.set_grad_enabled(encoder_learns and torch.is_grad_enabled()):
        features = sam2.encode(pam.sam, _stacked(pam, list(pictures.values())))
    like: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for i, item in enumerate(items):
        like[item.points.shape[1], item.rough is None].append(i)
    parts, order = [], []
    for (_, unmasked), members in like.items():
        picture = shown[members]
        fine0, fine1 = (tensor[picture] for tensor in features.fine)
        parts.append(
            sam2.decode(
                pam.sam,
                sam2.SamFeatures(features.embedding[picture], (fine0, fine1)),
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
    return torch.stack([t for t in tensors if t is not None]).to(pam.device, next(pam.sam.parameters()).dtype)
