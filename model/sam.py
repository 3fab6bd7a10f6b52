"""SAM 2 as PAM uses it: encode an image once, then ask the mask decoder about many prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hydra import compose
from hydra.utils import instantiate
from PIL import Image
from sam2.modeling.sam.transformer import TwoWayTransformer
from torch import Tensor, nn

from model.config import SamConfig
from model.fourier import FourierPosition
from model.prompt import Prompt

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
ABSENT = -1024.0
"""Mask logit of an object that SAM 2 believes is not there (its NO_OBJ_SCORE)."""
STABILITY_DELTA, STABILITY_THRESHOLD = 0.05, 0.98
MASK_PROMPT_SCALE = 10.0
"""Logit of a mask prompt inside the object; minus this outside (sam2 feeds masks as 20 m - 10)."""

OFFICIAL_OVERRIDES = (
    # What the official PAM code does where upstream sam2 would choose otherwise (see tests/model/parity/).
    "++model.binarize_mask_from_pts_for_mem_enc=true",
    "++model.multimask_output_in_sam=false",
)


@dataclass(frozen=True, eq=False)
class SamFeatures:
    """B encoded images.

    embedding:  float (B, C, S/16, S/16), the no-memory embedding added; S is the side of SAM 2's square input.
    fine:       float (B, C/8, S/4, S/4) and (B, C/4, S/8, S/8), for the mask decoder's upscaling.
    """

    embedding: Tensor
    fine: tuple[Tensor, Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(t.numel() * t.element_size() for t in (self.embedding, *self.fine))

    def row(self, index: int) -> SamFeatures:
        """The image of that number alone, which does not keep the others in memory."""
        if len(self.embedding) == 1:
            return self
        fine0, fine1 = (_row(t, index) for t in self.fine)
        return SamFeatures(_row(self.embedding, index), (fine0, fine1))


@dataclass(frozen=True, eq=False)
class SamOutput:
    """What the mask decoder says of B prompts.

    logits:       float (B, 4, S/4, S/4), the raw masks of the four mask tokens; token 0 is the one shown.
    iou:          float (B, 4), predicted IoU of each mask.
    object_score: float (B, 1), logit that the object is there at all.
    tokens:       float (B, 2, C), the two mask tokens that the language side sees.
    image:        float (B, C, S/16, S/16), image features after attention with the prompt.
    """

    logits: Tensor
    iou: Tensor
    object_score: Tensor
    tokens: Tensor
    image: Tensor

    @property
    def visible_logits(self) -> Tensor:
        """The masks as they are shown: ABSENT everywhere for an object that is believed not to be there."""
        return torch.where((self.object_score > 0)[:, :, None, None], self.logits, ABSENT)

    def row(self, index: int) -> SamOutput:
        """The prompt of that number alone, which does not keep the others in memory."""
        return self if len(self.logits) == 1 else self.rows([index])

    def rows(self, indices: Sequence[int]) -> SamOutput:
        """Some of the prompts."""
        kept = list(indices)
        return SamOutput(*(getattr(self, f.name)[kept] for f in dataclass_fields(self)))

    @classmethod
    def together(cls, outputs: Sequence[SamOutput]) -> SamOutput:
        """Several prompts as one batch."""
        if len(outputs) == 1:
            return outputs[0]
        return cls(*(torch.cat([getattr(o, f.name) for o in outputs]) for f in dataclass_fields(cls)))


def _row(batch: Tensor, index: int) -> Tensor:
    return batch[index : index + 1].clone()


def build_sam(config: SamConfig) -> nn.Module:
    """A SAM 2.1 with fresh weights (sam2's video predictor, which serves images too and needs no torchvision)."""
    # Not by sam2's own builder, which moves weights: there may be none yet (see model/checkpoints/loading.py).
    settings = compose(
        f"configs/sam2.1/{config.base}.yaml",
        ["++model._target_=sam2.sam2_video_predictor.SAM2VideoPredictor", *OFFICIAL_OVERRIDES, *config.overrides],
    )
    sam: Any = instantiate(settings.model).eval()
    # The same buffer under the same name, and no random number drawn for it twice.
    sam.sam_prompt_encoder.pe_layer.__class__ = FourierPosition
    if config.decoder_mlp != 2048:
        sam.sam_mask_decoder.transformer = TwoWayTransformer(
            depth=2, embedding_dim=sam.hidden_dim, num_heads=8, mlp_dim=config.decoder_mlp
        )
    return sam


def preprocess(image: np.ndarray, size: int) -> Tensor:
    """uint8 (H, W, 3) RGB to float32 (3, size, size).

    Pillow's bicubic resize without regard to aspect, then ImageNet's mean and deviation, as in the official code.
    """
    return normalise(np.asarray(Image.fromarray(image).resize((size, size))))


def normalise(image: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) RGB to float32 (3, H, W) with ImageNet's mean and deviation."""
    table = _normalised()
    pixels = np.empty((3, *image.shape[:2]), np.float32)
    for channel in range(3):
        np.take(table[channel], image[..., channel], out=pixels[channel])
    return torch.from_numpy(pixels)


@cache
def _normalised() -> np.ndarray:
    """What each of the 256 values becomes, float32 (3, 256): looked up, it costs a third of being computed."""
    # The official code divides in float64 and rounds to float32 afterwards.
    values = torch.from_numpy((np.arange(256) / 255.0).astype(np.float32))
    return ((values - torch.tensor(MEAN)[:, None]) / torch.tensor(STD)[:, None]).numpy()


def encode(sam: Any, pixels: Tensor) -> SamFeatures:
    """Run the image encoder on float (B, 3, S, S) as `preprocess` gives it."""
    coarse, fine = backbone(sam, pixels)
    return SamFeatures(coarse + sam.no_mem_embed.view(1, -1, 1, 1), fine)


def backbone(sam: Any, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The image encoder alone: features as in SamFeatures, before it is known whether memory joins them."""
    fine0, fine1, coarse = sam.forward_image(pixels)["backbone_fpn"][:3]
    # The neck adds levels up in float32, whatever the dtype of the weights.
    return coarse.to(pixels.dtype), (fine0, fine1)


def prompt_tensors(
    prompt: Prompt, height: int, width: int, size: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Box corners and clicks as SAM 2 takes them.

    Returns coordinates (1, P, 2) in pixels of the size x size input, and labels int32 (1, P): 2 and 3 for the corners
    of the box, which come first, then 1 and 0 for positive and negative clicks, -1 for padding where there is neither.
    """
    coordinates: list[tuple[float, float]] = []
    labels: list[int] = []
    if prompt.box is not None:
        coordinates += [(prompt.box.x0, prompt.box.y0), (prompt.box.x1, prompt.box.y1)]
        labels += [2, 3]
    coordinates += [(p.x, p.y) for p in prompt.points]
    labels += [int(p.positive) for p in prompt.points]
    if not labels:
        coordinates, labels = [(0.0, 0.0)], [-1]
    # Cast before scaling: in half precision the published weights saw rounded pixel coordinates.
    points = torch.tensor([coordinates], device=device).to(dtype)
    points = points / torch.tensor([width, height], device=device, dtype=dtype) * size
    return points, torch.tensor([labels], dtype=torch.int32, device=device)


def mask_prompt(mask: np.ndarray, sam: Any, device: torch.device) -> Tensor:
    """A bool (H, W) mask as SAM 2's mask input: logits, float (1, 1, S/4, S/4)."""
    return mask_logits(mask, sam.sam_prompt_encoder.mask_input_size).to(device)[None]


def mask_logits(mask: np.ndarray, size: tuple[int, int]) -> Tensor:
    """A bool (H, W) mask as logits, float32 (1, *size): in each cell by how much of it is covered."""
    coverage = Image.fromarray(mask.astype(np.uint8) * 255).resize(size[::-1], Image.Resampling.BOX)
    soft = torch.from_numpy(np.asarray(coverage, dtype=np.float32) / 255.0)
    return (2 * soft - 1)[None] * MASK_PROMPT_SCALE


def decode(
    sam: Any, features: SamFeatures, points: Tensor, labels: Tensor, masks: Tensor | None, *, one_image: bool
) -> SamOutput:
    """Ask the mask decoder about B prompts.

    points, labels: (B, P, 2) and (B, P), see `prompt_tensors`. masks: (B, 1, S/4, S/4) logits, or None.
    one_image: whether `features` is one image that all prompts share, or B images with one prompt each.
    """
    sparse, dense = sam.sam_prompt_encoder(points=(points, labels), boxes=None, masks=masks)
    decoder, dtype = sam.sam_mask_decoder, features.embedding.dtype
    attended: list[Tensor] = []
    hook = decoder.transformer.register_forward_hook(lambda _module, _inputs, output: attended.append(output[1]))
    try:
        logits, iou, tokens, object_score = decoder.predict_masks(
            image_embeddings=features.embedding,
            # Not get_dense_pe: a close-up has fewer cells than a whole picture.
            image_pe=sam.sam_prompt_encoder.pe_layer(features.embedding.shape[-2:])[None].to(dtype),
            sparse_prompt_embeddings=sparse.to(dtype),
            dense_prompt_embeddings=dense,
            repeat_image=one_image,
            high_res_features=list(features.fine),
        )
    finally:
        hook.remove()
    batch, cells, channels = attended[0].shape
    side = features.embedding.shape[-1]
    image = attended[0].transpose(1, 2).reshape(batch, channels, cells // side, side)
    rows = select_tokens(logits, iou)
    chosen = torch.stack([tokens.gather(1, r.view(-1, 1, 1).expand(-1, 1, channels))[:, 0] for r in rows], dim=1)
    return SamOutput(logits, iou, object_score, chosen, image)


def select_tokens(logits: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
    """Which two of the four mask tokens the language side sees, as indices (B,) and (B,).

    The first is token 0 where its mask is stable, else the best of tokens 1 to 3; the second is always token 0. The
    mask shown is token 0's either way: the published weights were trained with this pair.
    """
    first = logits[:, 0].float().flatten(1)
    inner, outer = (first > STABILITY_DELTA).sum(1), (first > -STABILITY_DELTA).sum(1)
    stability = torch.where(outer > 0, inner / outer, 1.0)
    best = iou[:, 1:].argmax(1) + 1
    zero = torch.zeros_like(best)
    return torch.where(stability >= STABILITY_THRESHOLD, zero, best), zero


def to_image_size(logits: Tensor, height: int, width: int) -> Tensor:
    """Mask logits (B, M, S/4, S/4) to float32 (B, M, height, width), bilinear."""
    return F.interpolate(logits.float(), size=(height, width), mode="bilinear", align_corners=False)
