"""A short clip: one prompt on its first frame becomes a mask on every frame, and tokens to talk about."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.errors import TrackError
from model.fields import video_question
from model.frames import Frame, Frames
from model.language import GREEDY, DecodingOptions, Question, Utterance
from model.pam import PAM
from model.prompt import Prompt
from model.reading import Reading, choose_frames, read
from model.region import Words
from model.speaker import PLAIN, WordOptions
from model.tracking import TrackedMask, Tracker

OBJECT = "object"


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


def perceive_clip(pam: PAM, frames: Collection[np.ndarray], prompt: Prompt) -> Clip:
    """Follow an object through a clip and make it ready to be talked about.

    frames: uint8 (H, W, 3) RGB, all of one size; gone through once, in order, and not kept.
    prompt: on the first frame.
    Models whose masks are not the decoder's (nano) see none of the frames from which the object is gone.
    Raises TrackError for a clip without frames, or with another number of them than it says it has; ImageError for a
    frame that does not fit; PromptError for a prompt that means nothing on the first frame.
    """
    wanted = choose_frames(len(frames))
    tracker, reading = Tracker(pam, len(frames)), Reading(pam)
    found: list[TrackedMask] = []
    chosen = []
    for index, image in enumerate(_exactly(frames)):
        step = tracker.step(Frame(index, float(index), image), {OBJECT: prompt} if index == 0 else None)
        here, output = step.objects[OBJECT], tracker.outputs.get(OBJECT)
        found.append(here)
        if index in wanted and (output is not None or here.visible):
            chosen.append(index)
            reading.add(image, here.mask, output)
            reading.show(image, here.mask, here.score)
    masks, scores, present = zip(*((each.mask, each.score, each.object_score) for each in found), strict=True)
    return Clip(masks, scores, present, tuple(chosen), reading.visual()[0])


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
    return pam.describe_visual(clip.visual[None], labels, options, previous)


def describe_track(
    pam: PAM,
    frames: Frames,
    masks: Mapping[int, np.ndarray],
    labels: Sequence[str] | None = None,
    options: WordOptions = PLAIN,
) -> Words:
    """Words about an object whose masks are known, such as one that was followed before, or that a person mended.

    masks: bool (H, W) by frame; those that are empty are left out, and 16 are chosen as of a clip. Raises TrackError
    where no mask shows anything.
    """
    return pam.describe_visual(_read_track(pam, frames, masks), labels, options, previous="")


def tell_track(
    pam: PAM, frames: Frames, masks: Mapping[int, np.ndarray], options: WordOptions = PLAIN, previous: str = ""
) -> str:
    """The caption alone, given that of the clip before, or ""; see `describe_track`."""
    visual = _read_track(pam, frames, masks)
    (said,) = pam.answer(visual, [Question(video_question(options.language, previous))], options.decoding)
    return said.text


def _read_track(pam: PAM, frames: Frames, masks: Mapping[int, np.ndarray]) -> Tensor:
    """What stands for an object through a clip, float (1, V, hidden)."""
    seen = sorted(index for index, mask in masks.items() if mask.any())
    if not seen:
        raise TrackError("there is nothing to describe: the object is on none of the frames")
    chosen = [seen[place] for place in choose_frames(len(seen))]
    return read(pam, ((frame.image, masks[frame.index]) for frame in frames.pick(chosen)))


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
