"""Long videos and live streams: objects are followed while frames come, and described event by event.

A segment of the stream ends after a fixed time, or where the object begins to look or to move differently, goes or
comes back. Then it is described, and its caption is part of the next question. Memory does not grow with the stream.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.clip import CHOSEN, choose_frames, frame_tokens, region_of
from model.errors import TrackError
from model.events import NarrationOptions, Reason, Segment, Segmenter
from model.frames import Frame
from model.pam import PAM
from model.prompt import Prompt
from model.region import Words
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
    A model with close-ups (nano) was never shown clips: it describes the frame of the segment that shows the object
    best, and does not know what it said before. Raises what `Tracker.step` and the frames raise.
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
            rows = _rows(pam, tracker, key, story) if masks.objects[key].visible else None
            if (event := story.goes_on(frame, masks.objects[key], rows, arrived)) is not None:
                events.append(event)
        step = Step(frame, masks, tuple(events))
        yield step
    if step is None:
        raise TrackError("the stream has no frames")
    arrived = time.monotonic()
    last = tuple(event for story in stories.values() if (event := story.ends(arrived)) is not None)
    if last:
        yield Step(step.frame, step.masks, last, is_end=True)


def _rows(pam: PAM, tracker: Tracker, key: Hashable, story: _Story) -> Tensor | None:
    """The frame's part of the clip's tokens, where the story wants it."""
    if pam.config.close_up or not story.wants():
        return None
    with torch.inference_mode():
        return frame_tokens(pam, tracker.outputs[key], first=story.is_new())[0]


class _Clip:
    """What is kept of a segment for its words: evenly spread frames, at most twice as many as the model will see, or
    the one that shows the object best."""

    def __init__(self) -> None:
        self.stride, self.count = 1, 0
        self.rows: list[Tensor] = []
        self.best: tuple[float, np.ndarray, TrackedMask] | None = None

    def wants(self) -> bool:
        return self.count % self.stride == 0

    def show(self, image: np.ndarray, found: TrackedMask) -> None:
        worth = found.score * float(np.sqrt(found.mask.sum()))
        if self.best is None or worth > self.best[0]:
            self.best = worth, image, found

    def add(self, rows: Tensor | None) -> None:
        self.count += 1
        if rows is None:
            return
        self.rows.append(rows)
        if len(self.rows) >= 2 * CHOSEN:
            del self.rows[1::2]
            self.stride *= 2

    def visual(self) -> Tensor:
        return torch.cat([self.rows[i] for i in choose_frames(len(self.rows))])[None]


class _Story:
    """One object through a stream."""

    def __init__(
        self, pam: PAM, key: Hashable, options: NarrationOptions, labels: Sequence[str] | None, words: WordOptions
    ):
        self._pam, self._key, self._labels, self._words = pam, key, labels, words
        self._clip = _Clip()
        self._segmenter = Segmenter(options)
        self._said = ""

    def is_new(self) -> bool:
        """Whether the next frame is the first of a segment."""
        return self._clip.count == 0

    def wants(self) -> bool:
        """Whether the next frame is one of those that are kept."""
        return self._clip.wants()

    def goes_on(self, frame: Frame, found: TrackedMask, rows: Tensor | None, arrived: float) -> Event | None:
        """The next frame; the event that it ends, if any."""
        if found.visible:
            self._clip.add(rows)
            if self._pam.config.close_up:
                self._clip.show(frame.image, found)
        return self._tell(self._segmenter.add(frame, found.mask), arrived)

    def ends(self, arrived: float) -> Event | None:
        """The event that the end of the stream ends, if any."""
        return self._tell(self._segmenter.end(), arrived)

    def _tell(self, cut: Segment | None, arrived: float) -> Event | None:
        if cut is None:
            return None
        clip, self._clip = self._clip, _Clip()
        if not cut.is_news:
            return None
        words = self._describe(clip)
        self._said = words.caption
        delay = time.monotonic() - arrived
        return Event(self._key, cut.first, cut.last, cut.begin, cut.end, words, cut.reason, delay)

    def _describe(self, clip: _Clip) -> Words:
        if clip.best is not None:
            return self._pam.describe(region_of(self._pam, *clip.best[1:]), self._labels, self._words)
        return self._pam.describe_visual(clip.visual(), self._labels, self._words, self._said)
