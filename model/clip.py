"""A short clip: one prompt on its first frame becomes a mask on every frame, and tokens to talk about."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from model import sam as sam2
from model.errors import TrackError
from model.frames import Frame, Frames
from model.language import GREEDY, DecodingOptions, Question, Utterance
from model.pam import PAM
from model.perceiver import FULL, QUARTER
from model.prompt import Prompt
from model.region import Candidate, Words
from model.sam import SamOutput
from model.segmentation import EncodedImage, Segmentation
from model.speaker import PLAIN, WordOptions
from model.tracking import TrackedMask, Tracker

OBJECT = "object"
CHOSEN = 16
"""Frames of a clip that the language model sees."""


@dataclass(frozen=True, eq=False)
class Clip:
    """An object through a clip.

    masks:         bool (H, W) for every frame, all false where the object is gone.
    scores:        expected IoU of each mask, 0..1.
    object_scores: probability that the object is there at all, 0..1, for every frame.
    chosen:        the frames that the language model sees.
    visual:        float (V, hidden), what stands for the image placeholder of a question.
    """

    masks: tuple[np.ndarray, ...]
    scores: tuple[float, ...]
    object_scores: tuple[float, ...]
    chosen: tuple[int, ...]
    visual: Tensor


@torch.inference_mode()
def perceive_clip(pam: PAM, frames: Collection[np.ndarray], prompt: Prompt) -> Clip:
    """Follow an object through a clip and make it ready to be talked about.

    frames: uint8 (H, W, 3) RGB, all of one size; gone through once, in order, and not kept.
    prompt: on the first frame.
    A model with close-ups (nano) was never shown clips: its `visual` is the object as it is on the first frame.
    Raises TrackError for a clip without frames, or with another number of them than it says it has; ImageError for a
    frame that does not fit; PromptError for a prompt that means nothing on the first frame.
    """
    chosen = choose_frames(len(frames))
    tracker = Tracker(pam, len(frames))
    found: list[TrackedMask] = []
    rows: list[Tensor] = []
    for index, image in enumerate(_exactly(frames)):
        step = tracker.step(Frame(index, float(index), image), {OBJECT: prompt} if index == 0 else None)
        found.append(step.objects[OBJECT])
        if pam.config.close_up:
            rows = rows or [pam.visual_tokens([region_of(pam, image, found[0])])[0]]
        elif index in chosen:
            rows.append(frame_tokens(pam, tracker.outputs[OBJECT], first=index == 0)[0])
    masks, scores, present = zip(*((each.mask, each.score, each.object_score) for each in found), strict=True)
    return Clip(masks, scores, present, (0,) if pam.config.close_up else chosen, torch.cat(rows))


@torch.inference_mode()
def ask_clip(
    pam: PAM, clip: Clip, questions: Sequence[Question | str], decoding: DecodingOptions = GREEDY
) -> list[Utterance]:
    """Answer questions about a clip in one batch: `fields.video_question`, those about a region, or one's own."""
    return pam.answer(clip.visual[None], questions, decoding)


def describe_clip(
    pam: PAM, clip: Clip, labels: Sequence[str] | None = None, options: WordOptions = PLAIN, previous: str = ""
) -> Words:
    """Category, explanation and caption of the object of a clip; labels as in `PAM.describe_batch`.

    previous: the caption of the clip before this one, if there was one.
    """
    return pam.describe_visual(clip.visual[None], labels, options, _history(pam, previous))


@torch.inference_mode()
def describe_track(
    pam: PAM,
    frames: Frames,
    masks: Mapping[int, np.ndarray],
    labels: Sequence[str] | None = None,
    options: WordOptions = PLAIN,
    previous: str = "",
) -> Words:
    """Words about an object whose masks are known, such as one that was followed before, or that a person mended.

    masks: bool (H, W) by frame; those that are empty are left out, and 16 are chosen as of a clip. The decoder is shown
    each as its mask prompt, on the frame alone, without the memory that following has. A model with close-ups (nano)
    says what it sees on the one frame where the object is largest. Raises TrackError where no mask shows anything.
    """
    seen = sorted(index for index, mask in masks.items() if mask.any())
    if not seen:
        raise TrackError("there is nothing to describe: the object is on none of the frames")
    if pam.config.close_up:
        best = max(seen, key=lambda index: int(masks[index].sum()))
        found = region_of(pam, frames.read(best).image, TrackedMask(masks[best], 1.0, 1.0))
        return pam.describe(found, labels, options)
    rows = []
    for place in choose_frames(len(seen)):
        index = seen[place]
        found = region_of(pam, frames.read(index).image, TrackedMask(masks[index], 1.0, 1.0))
        rows.append(frame_tokens(pam, found.output, first=place == 0)[0])
    return pam.describe_visual(torch.cat(rows)[None], labels, options, previous)


@torch.inference_mode()
def region_of(pam: PAM, image: np.ndarray, found: TrackedMask) -> Segmentation:
    """An object that was followed to a frame, uint8 (H, W, 3), as `PAM.describe` takes it, with the mask as it is."""
    features = sam2.encode(
        pam.sam, sam2.preprocess(image, pam.image_size).to(pam.device, pam.image_newline.dtype)[None]
    )
    encoded = EncodedImage(image.shape[0], image.shape[1], features, None, image if pam.config.close_up else None)
    segmentation = pam.segment(encoded, Prompt(mask=found.mask))
    return replace(segmentation, candidates=[Candidate(found.mask, found.score)], object_score=found.object_score)


def _history(pam: PAM, previous: str) -> str | None:
    return None if pam.config.close_up else previous


def choose_frames(count: int) -> tuple[int, ...]:
    """Which of a clip's frames the language model sees: the first and 15 others, spread evenly.

    All of them where there are fewer than 16, which the official code refuses. Raises TrackError for an empty clip.
    """
    if count < 1:
        raise TrackError("the clip has no frames")
    if count <= CHOSEN:
        return tuple(range(count))
    return (0, *(int(i) for i in np.linspace(1, count - 1, CHOSEN - 1, dtype=int)))


def frame_tokens(pam: PAM, output: SamOutput, *, first: bool) -> Tensor:
    """A frame's part of a clip's tokens, float (B, rows, hidden): in full for the first frame, else at a quarter."""
    image, semantic = pam.perceiver(output.image, output.tokens, FULL if first else QUARTER)
    return torch.cat([pam.arrange(image, semantic), pam.frame_newline.expand(len(image), 1, -1)], dim=1)


def _exactly(frames: Collection[np.ndarray]) -> Iterator[np.ndarray]:
    """The frames, as many as they say they are."""
    count = 0
    for count, frame in enumerate(frames, start=1):
        if count > len(frames):
            break
        yield frame
    if count != len(frames):
        raise TrackError(
            f"the clip says that it has {len(frames)} frames, and gave {'more' if count > len(frames) else count}"
        )
