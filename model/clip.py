"""A short clip: one prompt on its first frame becomes a mask on every frame, and tokens to talk about."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model import sam as sam2
from model import video
from model.errors import ImageError, TrackError
from model.language import GREEDY, DecodingOptions, Question, Utterance
from model.pam import PAM
from model.perceiver import FULL, QUARTER
from model.prompt import Prompt
from model.sam import SamOutput
from model.segmentation import EncodedImage

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
    Raises TrackError for a clip without frames, or with another number of them than it says it has; ImageError for a
    frame that does not fit; PromptError for a prompt that means nothing on the first frame.
    """
    chosen = choose_frames(len(frames))
    masks, scores, present, rows = [], [], [], []
    for index, (output, (height, width)) in enumerate(_follow(pam, frames, prompt)):
        masks.append((sam2.to_image_size(output.visible_logits[:, :1], height, width)[0, 0] > 0).cpu().numpy())
        scores.append(float(output.iou[0, 0]))
        present.append(float(output.object_score[0, 0].float().sigmoid()))
        if index in chosen:
            rows.append(frame_tokens(pam, output, first=index == 0)[0])
    return Clip(tuple(masks), tuple(scores), tuple(present), chosen, torch.cat(rows))


@torch.inference_mode()
def ask_clip(
    pam: PAM, clip: Clip, questions: Sequence[Question | str], decoding: DecodingOptions = GREEDY
) -> list[Utterance]:
    """Answer questions about a clip in one batch: `fields.video_question`, those about a region, or one's own."""
    return pam.answer(clip.visual[None], questions, decoding)


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


def _follow(pam: PAM, frames: Collection[np.ndarray], prompt: Prompt) -> Iterator[tuple[SamOutput, tuple[int, int]]]:
    """The decoder's output on each frame, and the frame's height and width."""
    track = video.Track(pam.sam, len(frames))
    size: tuple[int, int] | None = None
    count = 0
    for count, frame in enumerate(frames, start=1):
        if count > len(frames):
            break
        if size is not None and frame.shape[:2] != size:
            raise ImageError(f"frame {count - 1} of the clip is {frame.shape[:2]}, the first one is {size}")
        features = video.encode_frame(pam.sam, _pixels(pam, frame))
        if size is None:
            size = frame.shape[:2]
            output = pam.segment(_first(pam, frame, features), prompt).output
            track.start(features, output)
        else:
            output = track.step(features)
        yield output, size
    if count != len(frames):
        raise TrackError(
            f"the clip says that it has {len(frames)} frames, and gave {'more' if count > len(frames) else count}"
        )


def _pixels(pam: PAM, frame: np.ndarray) -> Tensor:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ImageError(f"the frame is {frame.dtype} {frame.shape}, expected uint8 (height, width, 3)")
    return sam2.preprocess(frame, pam.image_size).to(pam.device, pam.image_newline.dtype)[None]


def _first(pam: PAM, frame: np.ndarray, features: video.FrameFeatures) -> EncodedImage:
    """The first frame as an image that can be prompted."""
    working = pam.working(frame) if pam.config.proposals else None
    return EncodedImage(frame.shape[0], frame.shape[1], video.without_memory(pam.sam, features), working)
