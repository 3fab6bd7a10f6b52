"""When an event in a video ends: after a fixed time, or where the object begins to look or to move differently, goes or
comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from model.errors import TrackError
from model.frames import Frame
from model.look import Look, Smoothed

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


@dataclass(frozen=True)
class Segment:
    """A part of a video in which one thing happens to an object.

    first, last: numbers of the first and last frame on which the object was seen.
    begin, end:  their times, in seconds.
    reason:      why it ended.
    is_news:     whether it is worth words: not where it is like the one before, and the options say so.
    """

    first: int
    last: int
    begin: float
    end: float
    reason: Reason
    is_news: bool


class Segmenter:
    """Cuts what happens to one object into segments, as its frames come; keeps no frame."""

    def __init__(self, options: NarrationOptions):
        self._options = options
        self._smoothed = Smoothed(options.least)
        self._span: tuple[int, float, int, float] | None = None
        self._start: Look | None = None
        self._told: Look | None = None
        self._absent_since: float | None = None
        self._was_gone = False

    def add(self, frame: Frame, mask: np.ndarray) -> Segment | None:
        """The next frame, and where the object is on it, bool (H, W); the segment that ends with it, if one does."""
        if not mask.any():
            return self._absent(frame)
        back = self._was_gone
        self._absent_since, self._was_gone = None, False
        now = self._smoothed.add(frame.image, mask, frame.time)
        if self._span is None:
            self._span = frame.index, frame.time, frame.index, frame.time
            self._start = None
        self._span = *self._span[:2], frame.index, frame.time
        length = frame.time - self._span[1]
        if self._start is None and (length >= self._options.least or back):
            self._start = now
        if self._options.ends == "change" and self._start is not None and length >= 2 * self._options.least:
            if (change := now.differs(self._start, self._options)) is not None:
                return self._cut(change)
        return self._cut("length") if length >= self._options.seconds else None

    def end(self) -> Segment | None:
        """The segment that the end of the video ends, if there is one."""
        return self._cut("end")

    def _absent(self, frame: Frame) -> Segment | None:
        self._absent_since = frame.time if self._absent_since is None else self._absent_since
        if self._was_gone or frame.time - self._absent_since < self._options.least:
            return None
        self._was_gone = True
        segment = self._cut("gone")
        self._smoothed = Smoothed(self._options.least)
        self._told = None  # whoever comes back is news
        return segment

    def _cut(self, reason: Reason) -> Segment | None:
        span, now = self._span, self._smoothed.look
        before = self._start if reason in ("appearance", "motion") else None  # of what ends, not of what begins
        self._span, self._start = None, None
        if span is None or now is None:
            return None
        first, begin, last, end = span
        is_known = (
            self._options.silent
            and self._told is not None
            and reason in ("length", "end")
            and now.differs(self._told, self._options) is None
        )
        if not is_known:
            self._told = before or now
        return Segment(first, last, begin, end, reason, not is_known)
