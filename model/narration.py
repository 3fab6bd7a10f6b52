"""Long videos and live streams: objects are followed while frames come, and described event by event.

A segment of the stream ends after a fixed time, or where the object begins to look or to move differently, goes or
comes back. Then it is described, and its caption is part of the next question. Memory does not grow with the stream.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from model.clip import CHOSEN, choose_frames, frame_tokens, region_of
from model.errors import TrackError
from model.frames import Frame
from model.look import Look, Smoothed
from model.pam import PAM
from model.prompt import Prompt
from model.region import Words
from model.speaker import PLAIN, WordOptions
from model.tracking import FrameMasks, TrackedMask, Tracker

Ends = Literal["fixed", "change"]
Reason = Literal["length", "appearance", "motion", "gone", "end"]


@dataclass(frozen=True)
class NarrationOptions:
    """When a segment ends, and which are worth words.

    ends:       "fixed": after `seconds`; "change": where something changes, after `seconds` at the latest.
    seconds:    longest segment.
    least:      shortest one; a change must also last this long to be one.
    appearance: how far the colours of an object must move to count as a change: Hellinger distance, 0..1.
    motion:     how much its speed must change, in its own sizes per second.
    silent:     whether a segment that is like the one described last is passed over.
    """

    ends: Ends = "change"
    seconds: float = 8.0
    least: float = 0.6
    appearance: float = 0.3
    motion: float = 0.6
    silent: bool = True

    def __post_init__(self) -> None:
        if self.ends not in get_args(Ends):
            raise TrackError(f"segments end by {self.ends!r}: choose one of {', '.join(get_args(Ends))}")
        if not 0 < self.least <= self.seconds:
            raise TrackError(f"segments last {self.least:g} to {self.seconds:g} s: give 0 < least <= seconds")


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
        self._pam, self._key, self._options, self._labels, self._words = pam, key, options, labels, words
        self._clip = _Clip()
        self._smoothed = Smoothed(options.least)
        self._span: tuple[int, float, int, float] | None = None
        self._start: Look | None = None
        self._told: Look | None = None
        self._said = ""
        self._absent_since: float | None = None
        self._was_gone = False

    def is_new(self) -> bool:
        """Whether the next frame is the first of a segment."""
        return self._clip.count == 0

    def wants(self) -> bool:
        """Whether the next frame is one of those that are kept."""
        return self._clip.wants()

    def goes_on(self, frame: Frame, found: TrackedMask, rows: Tensor | None, arrived: float) -> Event | None:
        """The next frame; the event that it ends, if any."""
        if not found.visible:
            return self._is_absent(frame, arrived)
        back = self._was_gone
        self._absent_since, self._was_gone = None, False
        now = self._smoothed.add(frame.image, found.mask, frame.time)
        if self._span is None:
            self._span = frame.index, frame.time, frame.index, frame.time
            self._start = None
        self._span = *self._span[:2], frame.index, frame.time
        self._clip.add(rows)
        if self._pam.config.close_up:
            self._clip.show(frame.image, found)
        length = frame.time - self._span[1]
        if self._start is None and (length >= self._options.least or back):
            self._start = now
        if self._options.ends == "change" and self._start is not None and length >= 2 * self._options.least:
            if (change := now.differs(self._start, self._options)) is not None:
                return self._tell(change, arrived)
        return self._tell("length", arrived) if length >= self._options.seconds else None

    def ends(self, arrived: float) -> Event | None:
        """The event that the end of the stream ends, if any."""
        return self._tell("end", arrived)

    def _is_absent(self, frame: Frame, arrived: float) -> Event | None:
        self._absent_since = frame.time if self._absent_since is None else self._absent_since
        if self._was_gone or frame.time - self._absent_since < self._options.least:
            return None
        self._was_gone = True
        event = self._tell("gone", arrived)
        self._smoothed = Smoothed(self._options.least)
        self._told = None  # whoever comes back is news
        return event

    def _tell(self, reason: Reason, arrived: float) -> Event | None:
        span, clip, now = self._span, self._clip, self._smoothed.look
        before = self._start if reason in ("appearance", "motion") else None  # of what is told, not of what begins
        self._span, self._clip, self._start = None, _Clip(), None
        if span is None or now is None:
            return None
        if self._options.silent and self._told is not None and reason in ("length", "end"):
            if now.differs(self._told, self._options) is None:
                return None
        words = self._describe(clip)
        self._told, self._said = before or now, words.caption
        return Event(self._key, *_in_order(span), words, reason, time.monotonic() - arrived)

    def _describe(self, clip: _Clip) -> Words:
        if clip.best is not None:
            return self._pam.describe(region_of(self._pam, *clip.best[1:]), self._labels, self._words)
        return self._pam.describe_visual(clip.visual(), self._labels, self._words, self._said)


def _in_order(span: tuple[int, float, int, float]) -> tuple[int, int, float, float]:
    first, begin, last, end = span
    return first, last, begin, end
