"""PAM: encode an image once, prompt it many times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from model import close_up, everything, fields, language, outline, segmenting, trajectory
from model import sam as sam2
from model.config import PAMConfig
from model.errors import ImageError, ModelError
from model.everything import EVERYTHING, EverythingOptions
from model.language import GREEDY, DecodingOptions, Piece, Prefix, Question, Utterance, Writer
from model.perceiver import FULL, QUARTER, SemanticPerceiver, embed
from model.prompt import Box, Prompt
from model.region import Region, Words
from model.segmentation import EncodedImage, Segmentation
from model.speaker import PLAIN, Speaker, WordOptions
from model.vocabulary import Ranking

if TYPE_CHECKING:
    from model.proposals import WorkingImage

IMAGES_PER_PASS, REGIONS_PER_PASS, QUESTIONS_PER_PASS = 8, 8, 16
"""Images in one encoder batch, regions that are read and written about at once, and questions about a region that are
answered at once."""


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
        if config.close_up:
            self.outline_projector = language.projector(outline.LENGTH, text.hidden_size)
            self.trajectory_projector = language.projector(trajectory.LENGTH, text.hidden_size)
        self.image_newline = nn.Parameter(torch.randn(text.hidden_size) * text.initializer_range)
        self.semantic_newline = nn.Parameter(torch.randn(text.hidden_size) * text.initializer_range)
        self.frame_newline = nn.Parameter(torch.randn(text.hidden_size) * text.initializer_range)
        self.language = Qwen2ForCausalLM(text)
        if config.ranker:
            from model.proposals.ranker import OwnRanker  # larger models do without it

            self.ranker = OwnRanker()
        self._writer: Writer | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.image_newline.device

    @property
    def image_size(self) -> int:
        """Side of SAM 2's square input, in pixels."""
        return int(self.sam.image_size)  # type: ignore[arg-type]

    @property
    def writer(self) -> Writer:
        """The language model as it is run for answers; made anew when the model has been moved or cast."""
        if self._writer is None or not self._writer.transformer.is_current(self.language):
            self._writer = Writer(language.Transformer(self.language), self.tokenizer)
        return self._writer

    @property
    def _speaker(self) -> Speaker:
        own = self.config
        return Speaker(self.writer, self.tokenizer, own.label_temperature, own.languages, own.calibration, own.unknown)

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Look at an image: uint8 (H, W, 3) RGB. Raises ImageError for anything else."""
        return self.encode_batch([image])[0]

    @torch.inference_mode()
    def encode_batch(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        """Look at several images of any sizes, IMAGES_PER_PASS at a time. Raises ImageError as `encode` does."""
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
                raise ImageError(f"the image is {image.dtype} {image.shape}, expected uint8 (height, width, 3)")
        return [encoded for some in _chunks(images, IMAGES_PER_PASS) for encoded in self._encode(some)]

    def segment(self, image: EncodedImage, prompt: Prompt, previous: Segmentation | None = None) -> Segmentation:
        """Find the object that a prompt means; see `segment_batch`.

        previous: what the prompt found before its last click: its mask is refined, unless the prompt has a mask.
        """
        return segmenting.segment(self, image, [prompt], [previous])[0]

    def segment_batch(self, image: EncodedImage, prompts: Sequence[Prompt]) -> list[Segmentation]:
        """Find the objects that several prompts on one image mean, each as if it were alone; see model/segmenting.py.

        Raises PromptError for a prompt that means nothing on this image.
        """
        return segmenting.segment(self, image, prompts, [None] * len(prompts))

    def adopt(self, image: EncodedImage, prompts: Sequence[Prompt]) -> list[Segmentation]:
        """Objects whose masks are known, as if they had been found: to describe them, or to embed them.

        prompts: each with its mask, and with the clicks and the box that led to it, if there were any. Raises
        PromptError for one without a mask, and as `segment_batch` does.
        """
        return segmenting.adopt(self, image, prompts)

    @torch.inference_mode()
    def embed(self, segmentations: Sequence[Segmentation]) -> np.ndarray:
        """What `regions` says of their embeddings, float32 (B, E), without a word about them."""
        chunks = _chunks(segmentations, REGIONS_PER_PASS)
        return np.concatenate([self._embeddings(some, self._looks(some)[0]) for some in chunks])

    def segment_everything(self, image: EncodedImage, options: EverythingOptions = EVERYTHING) -> list[Segmentation]:
        """Find what may be objects of an image, without a click, best first; see model/everything.py."""
        found = everything.find(self, image, options)
        return segmenting.decode(
            self,
            image,
            [Prompt((each.middle(image.height, image.width),)) for each in found],
            [each.candidates() for each in found],
            [segmenting.as_mask_prompt(self, each.small) for each in found],
        )

    def describe(
        self, segmentation: Segmentation, labels: Sequence[str] | None = None, options: WordOptions = PLAIN
    ) -> Words:
        """Say what a region is; see `describe_batch`."""
        return self.describe_batch([segmentation], labels, options)[0]

    @torch.inference_mode()
    def describe_batch(
        self,
        segmentations: Sequence[Segmentation],
        labels: Sequence[str] | None = None,
        options: WordOptions = PLAIN,
    ) -> list[Words]:
        """Say what regions are: category, explanation and caption of all of them, written in one batch.

        labels: where given, the category is the one of them that the model finds likeliest, and its explanation is
        asked for. Raises QuestionError for options that PAM was not trained on, LabelError for labels that are
        no list to choose from.
        """
        return [words for words, _ in self._tell(segmentations, labels, options)]

    @torch.inference_mode()
    def describe_visual(
        self,
        visual: Tensor,
        labels: Sequence[str] | None = None,
        options: WordOptions = PLAIN,
        previous: str | None = None,
    ) -> Words:
        """What `describe` says, about what `visual` stands for, float (1, V, hidden): a region, or a clip.

        previous: of a clip, the caption of the one before it, or "": the caption's question then is the one about
        clips. None for a region of a picture.
        """
        prefix = self.read(visual)
        if labels is None:
            return self._speaker.describe(prefix, options, previous)[0]
        return self._speaker.describe_as_one_of(prefix, labels, options, previous)[0]

    @torch.inference_mode()
    def rank(self, segmentation: Segmentation, labels: Sequence[str], language: str = "en") -> Ranking:
        """Weigh which of a list of labels a region is; see model/vocabulary.py. Raises LabelError."""
        return self._speaker.rank(self.read(self.visual_tokens([segmentation])), labels, language)

    @torch.inference_mode()
    def ask(
        self,
        segmentation: Segmentation,
        questions: Sequence[Question | str],
        decoding: DecodingOptions = GREEDY,
    ) -> list[Utterance]:
        """Answer questions about a region, QUESTIONS_PER_PASS of them in one batch.

        questions: words of one's own, or a Question that holds an official one (see model/fields.py).
        Raises QuestionError for one that is empty or holds more than plain words.
        """
        return self.answer(self.visual_tokens([segmentation]), questions, decoding)

    @torch.inference_mode()
    def answer(
        self, visual: Tensor, questions: Sequence[Question | str], decoding: DecodingOptions = GREEDY
    ) -> list[Utterance]:
        """What `ask` answers about a region or a clip, whose tokens `visual` has, float (1, V, hidden)."""
        ids = self._speaker.question_ids(questions)
        if not ids:
            return []
        prefix = self.read(visual)
        return [
            utterance
            for some in _chunks(ids, QUESTIONS_PER_PASS)
            for utterance in self.writer.write(prefix, [some], decoding)[0]
        ]

    @torch.inference_mode()
    def stream(
        self,
        segmentation: Segmentation,
        questions: Sequence[Question | str],
        decoding: DecodingOptions = GREEDY,
    ) -> Iterator[Piece]:
        """What `ask` answers, as it is written: pieces of text with the number of the question they belong to."""
        if not questions:
            return
        prefix = self.read(self.visual_tokens([segmentation]))
        yield from self.writer.stream(prefix, self._speaker.question_ids(questions), decoding)

    def perceive(
        self,
        image: EncodedImage,
        prompt: Prompt,
        labels: Sequence[str] | None = None,
        options: WordOptions = PLAIN,
    ) -> Region:
        """Segment and describe in one call."""
        return self.perceive_batch(image, [prompt], labels, options)[0]

    def perceive_batch(
        self,
        image: EncodedImage,
        prompts: Sequence[Prompt],
        labels: Sequence[str] | None = None,
        options: WordOptions = PLAIN,
    ) -> list[Region]:
        """Segment and describe what several prompts on one image mean; labels as in `describe_batch`."""
        segmentations = self.segment_batch(image, prompts)
        return self.regions(segmentations, labels, options)

    @torch.inference_mode()
    def regions(
        self,
        segmentations: Sequence[Segmentation],
        labels: Sequence[str] | None = None,
        options: WordOptions = PLAIN,
    ) -> list[Region]:
        """Masks, words and embeddings of what was segmented; labels as in `describe_batch`."""
        return [
            Region(found.mask, found.score, found.object_score, words, self.version, embedding)
            for found, (words, embedding) in zip(segmentations, self._tell(segmentations, labels, options), strict=True)
        ]

    def warm_up(self, options: WordOptions = PLAIN) -> None:
        """Do everything once, so that the first real prompt finds kernels, workspaces and graphs in place.

        options: those that real prompts will come with.
        """
        grey = np.full((64, 64, 3), 128, np.uint8)
        grey[16:48, 16:48] = 200
        found = self.segment(self.encode(grey), Prompt(box=Box(16, 16, 48, 48)))
        # At least two words, since a step of decoding follows the first one.
        decoding = replace(options.decoding, min_new_tokens=min(2, options.decoding.max_new_tokens))
        for labels in (None, ("one", "two")):
            self.describe(found, labels, replace(options, decoding=decoding))

    def visual_tokens(self, segmentations: Sequence[Segmentation]) -> Tensor:
        """What stands for the image placeholder of B regions, float (B, V, hidden).

        Image tokens, newline, semantic tokens, newline; with a close-up those of two looks (see model/close_up.py).
        """
        return self.in_sequence(self._looks(segmentations))

    def arrange(self, image: Tensor, semantic: Tensor, outlines: Tensor | None = None) -> Tensor:
        """The perceiver's image tokens (B, I, 4*C) and semantic tokens (B, 16, C), and of close-ups the outlines,
        (B, outline.LENGTH): projected and put in sequence."""
        batch = len(image)
        parts = [
            self.image_projector(image),
            self.image_newline.expand(batch, 1, -1),
            self.semantic_projector(semantic),
            self.semantic_newline.expand(batch, 1, -1),
        ]
        if outlines is not None:
            parts.append(self.outline_projector(outlines)[:, None])
        return torch.cat(parts, dim=1)

    def read(self, visual: Tensor) -> Prefix:
        """Prefill what all questions about B regions or clips begin with: chat header and `visual`, (B, V, hidden)."""
        before, _ = language.prompt_ids(self.tokenizer, Question(fields.PLACEHOLDER))
        header = self.writer.transformer.embed(torch.tensor(before, device=visual.device))
        return self.writer.transformer.prefill(torch.cat([header.expand(len(visual), -1, -1), visual], dim=1))

    def _encode(self, images: Sequence[np.ndarray]) -> list[EncodedImage]:
        pixels = torch.stack([sam2.preprocess(image, self.image_size) for image in images])
        features = sam2.encode(self.sam, pixels.to(self.device, self.image_newline.dtype))
        working = [self.working(image) if self.config.proposals else None for image in images]
        keep = bool(self.config.close_up)
        return [
            EncodedImage(image.shape[0], image.shape[1], features.row(i), working[i], image if keep else None)
            for i, image in enumerate(images)
        ]

    def working(self, image: np.ndarray) -> WorkingImage:
        """An image, uint8 (H, W, 3) RGB, made ready for classical proposals, for models that have them."""
        from model import proposals  # larger models do without it, and without what it imports

        return proposals.prepare(image, self.ranker.judge if self.config.ranker else proposals.judge)

    def _tell(
        self, segmentations: Sequence[Segmentation], labels: Sequence[str] | None, options: WordOptions
    ) -> Iterator[tuple[Words, np.ndarray]]:
        """Words and embeddings of regions, see `Region`."""
        for some in _chunks(segmentations, REGIONS_PER_PASS):
            looks = self._looks(some)
            prefix = self.read(self.in_sequence(looks))
            if labels is None:
                said = self._speaker.describe(prefix, options)
            else:
                said = self._speaker.describe_as_one_of(prefix, labels, options)
            yield from zip(said, self._embeddings(some, looks[0]), strict=True)

    def _embeddings(self, segmentations: Sequence[Segmentation], look: tuple[Tensor, ...]) -> np.ndarray:
        """What `Region` says of embeddings, float32 (B, E), given the first look at B regions."""
        seen = embed(look[1]).cpu().numpy()
        if len(look) > 2:
            outlines = look[2].float().cpu().numpy()
        else:
            outlines = np.stack([outline.describe(found.mask) for found in segmentations])
        # Two vectors of length 1 side by side, made one of length 1.
        return np.concatenate([seen, outlines], axis=1, dtype=np.float32) / np.float32(np.sqrt(2))

    def _looks(self, segmentations: Sequence[Segmentation]) -> list[tuple[Tensor, ...]]:
        image = torch.cat([found.output.image for found in segmentations])
        tokens = torch.cat([found.output.tokens for found in segmentations])
        return self.looks(
            image, tokens, close_up.look(self, self._views(segmentations)) if self.config.close_up else None
        )

    def _views(self, segmentations: Sequence[Segmentation]) -> list[tuple[np.ndarray, np.ndarray]]:
        found = [(each.image, each.mask) for each in segmentations]
        if any(image is None for image, _ in found):
            raise ModelError(f"{self.config.name} needs the picture for its close-up, and the segmentation has none")
        return [(image, mask) for image, mask in found if image is not None]

    def looks(
        self, image: Tensor, tokens: Tensor, near: tuple[sam2.SamOutput, Tensor] | None
    ) -> list[tuple[Tensor, ...]]:
        """The perceiver's image and semantic tokens of B regions: of their close-ups, where there are any, with their
        outlines, and then of the whole. image, tokens: as in SamOutput, of the whole. near: as from close_up.look."""
        if near is None:
            return [self.perceiver(image, tokens)]
        output, outlines = near
        return [(*self.perceiver(output.image, output.tokens, FULL), outlines), self.perceiver(image, tokens, QUARTER)]

    def in_sequence(self, looks: Sequence[tuple[Tensor, ...]]) -> Tensor:
        """Looks laid out as the frames of a clip are, float (B, V, hidden)."""
        return self.arrange(*looks[0]) if len(looks) == 1 else torch.cat([self.as_frame(look) for look in looks], dim=1)

    def as_frame(self, look: tuple[Tensor, ...]) -> Tensor:
        """A look as one of several frames, float (B, V, hidden)."""
        return torch.cat([self.arrange(*look), self.frame_newline.expand(len(look[0]), 1, -1)], dim=1)


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))
