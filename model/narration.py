"""Long videos and live streams: objects are followed while frames come, and described event by event.

A segment of the stream ends after a fixed time, or where the object begins to look or to move differently, goes or
comes back. Then it is described, and its caption is part of the next question. Memory does not grow with the stream.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from model.errors import TrackError
from model.events import NarrationOptions, Reason, Segment, Segmenter
from model.frames import Frame
from model.pam import PAM
from model.prompt import Prompt
from model.reading import CHOSEN, Reading
from model.region import Words
from model.sam import SamOutput
from model.speaker import PLAIN, WordOptions
from model.tracking import FrameMasks, TrackedMask, Tracker


@dataclass(frozen=True, eq=False)
class Event:
    """What happened to an object in a segment.

    first, last: numbers of the segment's first and last frame on which the object was seen.
    begin, end:  their times, in seconds.
    reason:      why the segment ended.
    delay:       seconds from its last frame's arrival here to its words: beside the segment's own length (an event is
                 told when it is over) all that a reader waits.
    """

    key: Hashable
    first: int
    last: int
    begin: float
    end: float
    words: Words
    reason: Reason
    delay: float


@dataclass(frozen=True, eq=False)
class Step:
    """A frame, where the objects are on it, and the events that ended with it.

    is_end: whether this is the last frame once more, for the events that the end of the stream ended.
    """

    frame: Frame
    masks: FrameMasks
    events: tuple[Event, ...]
    is_end: bool = False


def narrate(
    pam: PAM,
    frames: Iterable[Frame],
    prompts: Mapping[Hashable, Prompt],
    options: NarrationOptions | None = None,
    labels: Sequence[str] | None = None,
    words: WordOptions = PLAIN,
) -> Generator[Step, None, None]:
    """Follow and describe objects while frames come; one Step for each frame, as soon as it is done.

    The end of the stream may end events, which then come with one more Step.

    frames:  any source, such as `model.frames.open_stream`; while words are written it waits, or drops, as it was told.
    prompts: on the first frame.
    labels:  where given, categories are chosen from them.
    Raises what `Tracker.step` and the frames raise.
    """
    options = options or NarrationOptions()
    tracker = Tracker(pam)
    stories = {key: _Story(pam, key, options, labels, words) for key in prompts}
    step: Step | None = None
    for number, frame in enumerate(frames):
        arrived = time.monotonic()
        masks = tracker.step(frame, prompts if number == 0 else None)
        events = []
        for key, story in stories.items():
            if (event := story.goes_on(frame, masks.objects[key], tracker.outputs.get(key), arrived)) is not None:
                events.append(event)
        step = Step(frame, masks, tuple(events))
        yield step
    if step is None:
        raise TrackError("the stream has no frames")
    arrived = time.monotonic()
    last = tuple(event for story in stories.values() if (event := story.ends(arrived)) is not None)
    if last:
        yield Step(step.frame, step.masks, last, is_end=True)


class _Clip:
    """What is kept of a segment for its words: evenly spread frames, at most twice as many as the model will see."""

    def __init__(self, pam: PAM) -> None:
        self._reading = Reading(pam)
        self._stride, self._count = 1, 0

    def add(self, image: np.ndarray, found: TrackedMask, output: SamOutput | None) -> None:
        self._reading.show(image, found.mask, found.score)
        if self._count % self._stride == 0:
            self._reading.add(image, found.mask, output)
        self._count += 1
        if len(self._reading) >= 2 * CHOSEN:
            self._reading.thin()
            self._stride *= 2

    def visual(self) -> Tensor:
        return self._reading.visual()


class _Story:
    """One object through a stream."""

    def __init__(
        self, pam: PAM, key: Hashable, options: NarrationOptions, labels: Sequence[str] | None, words: WordOptions
    ):
        self._pam, self._key, self._labels, self._words = pam, key, labels, words
        self._clip = _Clip(pam)
        self._segmenter = Segmenter(options)
        self._said = ""

    def goes_on(self, frame: Frame, found: TrackedMask, output: SamOutput | None, arrived: float) -> Event | None:
        """The next frame; the event that it ends, if any. output: of the decoder that found the object, if one did."""
        if found.visible:
            self._clip.add(frame.image, found, output)
        return self._tell(self._segmenter.add(frame, found.mask), arrived)

    def ends(self, arrived: float) -> Event | None:
        """The event that the end of the stream ends, if any."""
        return self._tell(self._segmenter.end(), arrived)

    def _tell(self, cut: Segment | None, arrived: float) -> Event | None:
        if cut is None:
            return None
        clip, self._clip = self._clip, _Clip(self._pam)
        if not cut.is_news:
            return None
        words = self._pam.describe_visual(clip.visual(), self._labels, self._words, self._said)
        self._said = words.caption
        delay = time.monotonic() - arrived
        return Event(self._key, cut.first, cut.last, cut.begin, cut.end, words, cut.reason, delay)
