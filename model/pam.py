"""PAM: encode an image once, prompt it many times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from model import language
from model import sam as sam2
from model.config import PAMConfig
from model.errors import ImageError
from model.fields import QUESTIONS, TASK_OF_FIELD, split_explanation
from model.language import Utterance
from model.perceiver import FULL, SemanticPerceiver
from model.prompt import Prompt
from model.region import FIELDS, Candidate, Region, Words

if TYPE_CHECKING:
    from model.proposals import WorkingImage


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An image that was looked at once and can be asked about many times.

    height, width: of the original, in pixels.
    features:      SAM 2's.
    working:       what the classical proposals reuse, for models that need them.
    """

    height: int
    width: int
    features: sam2.SamFeatures
    working: WorkingImage | None

    @property
    def nbytes(self) -> int:
        """Bytes held, for bounding a cache."""
        return self.features.nbytes + (self.working.nbytes if self.working else 0)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A prompt's mask, and what the language side needs to talk about it.

    candidates:   the first is the mask: the best proposal, or token 0 of the decoder, as the official model has it.
    object_score: probability that the object is there at all, 0..1.
    output:       what SAM 2's decoder said, batch of one.
    """

    candidates: tuple[Candidate, ...]
    object_score: float
    output: sam2.SamOutput

    @property
    def mask(self) -> np.ndarray:
        """bool (H, W) at the size of the original image."""
        return self.candidates[0].mask

    @property
    def score(self) -> float:
        """Expected IoU of the mask, 0..1."""
        return self.candidates[0].score


class PAM(nn.Module):
    """The Perceive Anything Model (arXiv 2506.05302) of any size.

    Not thread-safe: callers that share one put a lock around it.
    """

    def __init__(self, config: PAMConfig, tokenizer: PreTrainedTokenizerBase, version: str = "untrained"):
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.version = version
        self.sam = sam2.build_sam(config.sam)
        width = int(self.sam.hidden_dim)  # type: ignore[arg-type]
        text = Qwen2Config(**config.language)
        self.perceiver = SemanticPerceiver(width, config.perceiver)
        self.image_projector = language.projector(FULL * FULL * width, text.hidden_size)
        self.semantic_projector = language.projector(width, text.hidden_size)
        self.image_newline = nn.Parameter(torch.randn(text.hidden_size) * text.initializer_range)
        self.semantic_newline = nn.Parameter(torch.randn(text.hidden_size) * text.initializer_range)
        self.frame_newline = nn.Parameter(torch.randn(text.hidden_size) * text.initializer_range)
        self.language = Qwen2ForCausalLM(text)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.image_newline.device

    @property
    def image_size(self) -> int:
        """Side of SAM 2's square input, in pixels."""
        return int(self.sam.image_size)  # type: ignore[arg-type]

    @torch.inference_mode()
    def encode(self, image: np.ndarray) -> EncodedImage:
        """Look at an image: uint8 (H, W, 3) RGB. Raises ImageError for anything else."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ImageError(f"the image is {image.dtype} {image.shape}, expected uint8 (height, width, 3)")
        pixels = sam2.preprocess(image, self.image_size).to(self.device, self.image_newline.dtype)
        working = None
        if self.config.proposals:
            from model import proposals  # larger models do without it, and without what it imports

            working = proposals.prepare(image)
        height, width = image.shape[:2]
        return EncodedImage(height, width, sam2.encode(self.sam, pixels[None]), working)

    @torch.inference_mode()
    def segment(self, image: EncodedImage, prompt: Prompt) -> Segmentation:
        """Find the object that a prompt means. Raises PromptError for a prompt that means nothing on this image."""
        prompt.check(image.height, image.width)
        proposed: list[Candidate] = []
        if image.working is not None:
            from model import proposals

            proposed = proposals.propose(image.working, prompt)
        rough = proposed[0].mask if proposed else prompt.mask
        points, labels = sam2.prompt_tensors(
            prompt, image.height, image.width, self.image_size, self.device, image.features.embedding.dtype
        )
        masks = None if rough is None else sam2.mask_prompt(rough, self.sam, self.device).to(points.dtype)
        output = sam2.decode(self.sam, image.features, points, labels, masks, one_image=True)
        return Segmentation(
            candidates=tuple(proposed) or _decoded(output, image),
            object_score=float(output.object_score[0, 0].float().sigmoid()),
            output=output,
        )

    @torch.inference_mode()
    def describe(self, segmentation: Segmentation, max_new_tokens: int = 64) -> Words:
        """Say what a region is: category, explanation and caption, written in one batch."""
        asked = [QUESTIONS[f"{TASK_OF_FIELD[field]}_en"] for field in FIELDS]
        said = dict(zip(FIELDS, self.ask(segmentation, asked, max_new_tokens), strict=True))
        return Words(
            category=said["category"].text,
            explanation=split_explanation(said["explanation"].text)[1],
            caption=said["caption"].text,
            scores={field: utterance.score for field, utterance in said.items()},
        )

    @torch.inference_mode()
    def ask(self, segmentation: Segmentation, questions: Sequence[str], max_new_tokens: int = 64) -> list[Utterance]:
        """Answer questions about a region, greedily; each holds one `<image>` (see model/fields.py)."""
        visual = self.visual_tokens(segmentation.output)[0]
        embed = self.language.get_input_embeddings()
        prompts = []
        for question in questions:
            before, after = language.prompt_ids(self.tokenizer, question)
            prompts.append(language.splice(embed, before, visual, after))
        return language.write(self.language, self.tokenizer, prompts, max_new_tokens)

    def perceive(self, image: EncodedImage, prompt: Prompt) -> Region:
        """Segment and describe in one call."""
        segmentation = self.segment(image, prompt)
        words = self.describe(segmentation)
        return Region(segmentation.mask, segmentation.score, words, self.version)

    def visual_tokens(self, output: sam2.SamOutput) -> Tensor:
        """What stands for the image placeholder: image tokens, newline, semantic tokens, newline; (B, V, hidden)."""
        return self.arrange(*self.perceiver(output.image, output.tokens))

    def arrange(self, image: Tensor, semantic: Tensor) -> Tensor:
        """The perceiver's image tokens (B, I, 4*C) and semantic tokens (B, 16, C), projected and put in sequence."""
        batch = len(image)
        return torch.cat(
            [
                self.image_projector(image),
                self.image_newline.expand(batch, 1, -1),
                self.semantic_projector(semantic),
                self.semantic_newline.expand(batch, 1, -1),
            ],
            dim=1,
        )


def _decoded(output: sam2.SamOutput, image: EncodedImage) -> tuple[Candidate, ...]:
    """The four masks of the decoder, token 0 first, as the official model shows it."""
    masks = (sam2.to_image_size(output.visible_logits, image.height, image.width)[0] > 0).cpu().numpy()
    return tuple(Candidate(mask, float(score)) for mask, score in zip(masks, output.iou[0], strict=True))
