"""What a step of training reads: regions, as a model of some size will see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model import close_up, trajectory
from model.config import PAMConfig
from model.prompt import Box, Point, Prompt
from model.sam import mask_logits, preprocess, prompt_tensors
from model.training import prompts
from model.training.conversation import Sample, answers_alone, tokenise
from model.training.finetune.files import read_frames, read_image, read_mask
from model.training.finetune.records import RegionRecord

MOST_POINTS = 4
"""Clicks of a prompt, as the official trainer draws them."""

ROUGH_SIDE = 512
"""Longest side at which masks are roughened, in pixels."""


@dataclass(frozen=True)
class Sight:
    """How a model looks, and what of a conversation it learns.

    side: of its square input, in pixels. close_up, proposals: see PAMConfig. answers: whether answers alone are
    learned, as nano was trained, or the marks of turns too, as the published models were.
    """

    side: int
    close_up: int
    proposals: bool
    answers: bool

    @classmethod
    def of(cls, config: PAMConfig, side: int) -> Sight:
        """That of a PAM whose SAM 2 takes squares of `side` pixels."""
        return cls(side, config.close_up, config.proposals, answers=bool(config.close_up))


@dataclass(frozen=True, eq=False)
class Item:
    """One region with all that is said of it.

    pixels: float32 (3, S, S), as SAM 2 takes it. points, labels: (1, P, 2) and (1, P), see sam.prompt_tensors.
    rough:  float32 (1, S/4, S/4), the logits of a mask prompt, or None.
    close, close_rough, outline: the same of its close-up, and the outline of the mask prompt, or None.
    mask:   float32 (1, S/4, S/4), the share of each cell that the true mask covers, or None where it is not known.
    close_mask: the same of the close-up.
    samples, tasks: conversations in tokens, and the task of each. category: what it was called, or "".
    later, later_rough: of a clip, float32 (F, 3, S, S) and (F, 1, S/4, S/4), the frames after the first, which is
            `pixels`, with their mask prompts. The close-up then is of the frame that shows most of the object.
    way:    of a clip, float32 (trajectory.LENGTH,).
    """

    pixels: Tensor
    points: Tensor
    labels: Tensor
    rough: Tensor | None
    close: Tensor | None
    close_rough: Tensor | None
    outline: Tensor | None
    mask: Tensor | None
    close_mask: Tensor | None
    samples: tuple[Sample, ...]
    tasks: tuple[str, ...]
    category: str
    later: Tensor | None = None
    later_rough: Tensor | None = None
    way: Tensor | None = None


@dataclass(frozen=True)
class Said:
    """What an Item says."""

    samples: tuple[Sample, ...]
    tasks: tuple[str, ...]
    category: str


def seen(region: RegionRecord, tokenizer: PreTrainedTokenizerBase, sight: Sight, rng: np.random.Generator) -> Item:
    """A recorded region, by one of the prompts that would mean it, or an object through a clip, by its masks."""
    samples = tuple(tokens_of(tokenizer, one.turns, sight) for one in region.said)
    said = Said(samples, tuple(one.task for one in region.said), region.category.casefold())
    if region.frames:
        return clip_item(list(read_frames(region)), said, sight, rng)
    image = read_image(region)
    mask = read_mask(region, image)
    return picture_item(image, mask, _some_prompt(region.points, region.box, rng), said, sight, rng)


def tokens_of(tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]], sight: Sight) -> Sample:
    """A conversation, and which of it is learned."""
    sample = tokenise(tokenizer, turns)
    return answers_alone(tokenizer, sample) if sight.answers else sample


def _some_prompt(points: Sequence[Point], box: Box | None, rng: np.random.Generator) -> Prompt:
    """Clicks or the box, as the official trainer chooses: by a coin, and one to MOST_POINTS of the clicks."""
    on = [p for p in points if p.positive]
    if box is not None and (not on or rng.random() < 0.5):
        return Prompt(box=box)
    first = on[int(rng.integers(len(on)))]
    others = [p for p in points if p is not first]
    count = min(int(rng.integers(MOST_POINTS)), len(others))
    return Prompt((first, *(others[i] for i in rng.permutation(len(others))[:count])))


def picture_item(
    image: np.ndarray,
    mask: np.ndarray | None,
    prompt: Prompt,
    said: Said,
    sight: Sight,
    rng: np.random.Generator,
    pixels: Tensor | None = None,
    guess: np.ndarray | None = None,
) -> Item:
    """An object of a picture, uint8 (H, W, 3) RGB, by a prompt in its pixels.

    mask: the true one, bool (H, W), or None. pixels: `image` as SAM 2 takes it, where others have it too. guess: the
    mask prompt, bool (H, W); without one it is nearly the true one, or what proposals make of the prompt.
    """
    height, width = image.shape[:2]
    points, labels = prompt_tensors(prompt, height, width, sight.side, torch.device("cpu"), torch.float32)
    cells = (sight.side // 4, sight.side // 4)
    rough = close = close_rough = outline = close_mask = None
    if sight.proposals or sight.close_up:
        if guess is None:
            guess = _rough(image, mask, rng) if mask is not None else _proposed(image, prompt)
        rough = mask_logits(guess, cells) if sight.proposals else None
        if sight.close_up:
            close, close_rough, outline = close_up.cut(image, guess, sight.close_up)
            if mask is not None:
                x0, y0, x1, y1 = close_up.window(guess)
                close_mask = _coverage(mask[y0:y1, x0:x1], sight.close_up // 4)
    truth = None if mask is None else _coverage(mask, sight.side // 4)
    pixels = preprocess(image, sight.side) if pixels is None else pixels
    return Item(
        pixels, points, labels, rough, close, close_rough, outline, truth, close_mask,
        said.samples, said.tasks, said.category,
    )  # fmt: skip


def clip_item(
    frames: Sequence[tuple[np.ndarray, np.ndarray]], said: Said, sight: Sight, rng: np.random.Generator
) -> Item:
    """An object through a clip, as `model.reading` reads it: uint8 (H, W, 3) RGB and its mask, bool (H, W), of each
    frame."""
    guesses = [_rough(image, mask, rng) for image, mask in frames]
    best = max(range(len(frames)), key=lambda i: int(frames[i][1].sum()))
    seen = picture_item(*frames[best], Prompt(mask=guesses[best]), said, sight, rng, guess=guesses[best])
    pixels = torch.stack([preprocess(image, sight.side) for image, _ in frames])
    rough = torch.stack([mask_logits(guess, (sight.side // 4, sight.side // 4)) for guess in guesses])
    mask = _coverage(frames[0][1], sight.side // 4)
    if len(frames) == 1:
        return replace(seen, pixels=pixels[0], rough=rough[0], mask=mask)
    way = torch.from_numpy(trajectory.describe([trajectory.spot(guess) for guess in guesses]))
    return replace(seen, pixels=pixels[0], rough=rough[0], mask=mask, later=pixels[1:], later_rough=rough[1:], way=way)


def _coverage(mask: np.ndarray, cells: int) -> Tensor:
    return torch.from_numpy(cv2.resize(mask.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA))[None]


def _rough(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The true mask as proposals would have it: nearly right. Large pictures are looked at smaller, for time."""
    scale = min(1.0, ROUGH_SIDE / max(mask.shape))
    if scale < 1:
        size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
        small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
        if not small.any():
            return mask
        view = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        guess = prompts.rough_mask(view, small, prompts.first_click(small, rng), rng)
        return cv2.resize(guess.astype(np.uint8), mask.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
    return prompts.rough_mask(image, mask, prompts.first_click(mask, rng), rng)


def _proposed(image: np.ndarray, prompt: Prompt) -> np.ndarray:
    """What the model itself would show for the prompt: the data set has no mask."""
    from model import proposals  # larger models do without it

    return proposals.propose(proposals.prepare(image), prompt, 1)[0].mask
