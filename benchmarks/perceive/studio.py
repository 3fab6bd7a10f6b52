"""This project's procedure: an image encoded once, a prompt read once, all fields written as rows of one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.perceive.measure import Run, Stopwatch
from model import PAM, EncodedImage, Prompt, Segmentation
from model.language import DecodingOptions, Prefix, Question, prompt_ids


@torch.inference_mode()
def run(
    pam: PAM, image: np.ndarray, prompt: Prompt, questions: Sequence[str], new_tokens: int
) -> tuple[Run, EncodedImage]:
    """Answer `questions` about what `prompt` means on `image`, uint8 (H, W, 3), with `new_tokens` tokens each.

    Returns the encoded image too, which a second click would find in the cache.
    """
    watch = Stopwatch(pam.device)
    encoded = pam.encode(image)
    watch.lap("encode")
    segmentation = pam.segment(encoded, prompt)
    mask = watch.lap("segment")
    visual = pam.visual_tokens([segmentation])
    watch.lap("perceive")
    steps: list[Tensor] = []
    first_word = 0.0
    for chosen, _ in pam.writer.decode(pam.read(visual), [question_ids(pam, questions)], forced(new_tokens)):
        if not steps:
            first_word = watch.lap("prefill")
        steps.append(chosen)
    end = watch.lap("decode")
    return Run(watch.phases, mask, first_word, end, new_tokens - 1, torch.stack(steps, dim=2)[0].tolist()), encoded


def question_ids(pam: PAM, questions: Sequence[str]) -> list[list[int]]:
    """Token ids of the rows that follow a region's prefix."""
    return [prompt_ids(pam.tokenizer, Question(question))[1] for question in questions]


def forced(new_tokens: int) -> DecodingOptions:
    """Greedy, with exactly that many tokens."""
    return DecodingOptions(max_new_tokens=new_tokens, min_new_tokens=new_tokens)


@torch.inference_mode()
def tokens(pam: PAM, segmentation: Segmentation, questions: Sequence[str], new_tokens: int) -> list[list[int]]:
    """What `run` writes about a region, for one question or many: a list of ids for each."""
    prefix: Prefix = pam.read(pam.visual_tokens([segmentation]))
    steps = [c for c, _ in pam.writer.decode(prefix, [question_ids(pam, questions)], forced(new_tokens))]
    return torch.stack(steps, dim=2)[0].tolist()


@torch.inference_mode()
def one_by_one(
    pam: PAM, image: EncodedImage, prompts: Sequence[Prompt], questions: Sequence[str], new_tokens: int
) -> list[list[list[int]]]:
    """Ids of every answer about each region, one region after the other."""
    return [tokens(pam, pam.segment(image, prompt), questions, new_tokens) for prompt in prompts]


@torch.inference_mode()
def together(
    pam: PAM, image: EncodedImage, prompts: Sequence[Prompt], questions: Sequence[str], new_tokens: int
) -> list[list[list[int]]]:
    """The same with one pass of the mask decoder, the perceiver and the language model for all regions."""
    found = pam.segment_batch(image, prompts)
    asked = [question_ids(pam, questions)] * len(prompts)
    steps = [chosen for chosen, _ in pam.writer.decode(pam.read(pam.visual_tokens(found)), asked, forced(new_tokens))]
    return torch.stack(steps, dim=2).tolist()
