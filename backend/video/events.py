"""What happens to a followed object, told part by part while it is followed, for Label Studio's timeline."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

import numpy as np

from backend.answer import new_region_id
from backend.engine import Engine
from backend.ledger.track_events import TrackEvent
from backend.ledger.tracks import FrameMask, Key, Tracks
from backend.masks import from_coco_rle
from model.clip import tell_track
from model.events import NarrationOptions, Segment, Segmenter
from model.frames import Frame, Frames
from model.reading import choose_frames

MAX_EVENTS = 500
"""Captions of one object; what comes after them is not told."""


@dataclass(frozen=True)
class Telling:
    """How an object's events are told.

    options: when they end.
    hidden:  frames of the file, first and last, in which the annotator says that it is not seen.
    """

    options: NarrationOptions
    hidden: tuple[tuple[int, int], ...] = ()

    def shows(self, mask: FrameMask) -> bool:
        """Whether the object is seen on a frame."""
        return mask.box is not None and not any(first <= mask.frame <= last for first, last in self.hidden)


@dataclass(eq=False)
class _Run:
    """Frames without a gap that are being told. first: the first that no event holds yet. next: the one to come."""

    segmenter: Segmenter
    first: int
    next: int
    walk: Iterator[Frame] = field(default_factory=lambda: iter(()))


class Narrator:
    """Tells what the ledger's masks of one track show, each frame once; it is in the ledger as soon as it is told.

    A frame that an event holds is never told again, so that a server which is started anew goes on where it was. What
    is new to it then is compared with nothing that came before: one event may say again what the last one said.
    keep: does what it is given, unless the work on the track was cancelled.
    """

    def __init__(
        self,
        engine: Engine,
        tracks: Tracks,
        frames: Frames,
        key: Key,
        telling: Telling,
        keep: Callable[[Callable[[], object]], None],
    ):
        self._engine, self._tracks, self._frames, self._key = engine, tracks, frames, key
        self._telling, self._keep = telling, keep
        self._run: _Run | None = None
        self.told = sum(bool(event.caption) for event in tracks.events.of(key))

    def go_on(self, is_end: bool) -> Generator[None, None, None]:
        """Tell what was found since the last time, a frame with each `next`.

        is_end: whether no more is going to be found; what has not ended yet ends then.
        """
        yield from self._tell_from(0 if self._run is None else self._run.next)
        if is_end:
            self._end()
            yield from self._tell_from(0)  # what was followed backward
            self._end()

    def _tell_from(self, start: int) -> Generator[None, None, None]:
        for first, last in self._untold(start):
            yield from self._tell(first, last)

    def _untold(self, start: int) -> Iterator[tuple[int, int]]:
        """The stretches of frames from `start` on that no event holds; the last one is open."""
        for event in self._tracks.events.of(self._key):
            if event.first > start:
                yield start, event.first - 1
            start = max(start, event.last + 1)
        yield start, len(self._frames) - 1

    def _tell(self, first: int, last: int) -> Generator[None, None, None]:
        for mask in self._tracks.masks(self._key, first, last):
            if self._run is None or self._run.next != mask.frame:
                self._end()
                walk = self._frames.walk(mask.frame, None)
                self._run = _Run(Segmenter(self._telling.options), mask.frame, mask.frame, walk)
            self._run.next += 1
            frame = next(self._run.walk)
            size = frame.image.shape[:2]
            shown = from_coco_rle(mask.rle, *size) if self._telling.shows(mask) else np.zeros(size, bool)
            self._cut(self._run, self._run.segmenter.add(frame, shown))
            yield

    def _end(self) -> None:
        """What is being told ends where it is."""
        if (run := self._run) is None:
            return
        self._cut(run, run.segmenter.end())
        if run.first < run.next:
            self._put(TrackEvent(new_region_id(), run.first, run.next - 1, ""))
        self._run = None

    def _cut(self, run: _Run, segment: Segment | None) -> None:
        if segment is None:
            return
        if run.first < segment.first:
            self._put(TrackEvent(new_region_id(), run.first, segment.first - 1, ""))
        before = self._before(segment.first)
        caption = self._caption(segment, before) if segment.is_news else ""
        event = TrackEvent(new_region_id(), segment.first, segment.last, caption)
        run.first = segment.last + 1
        if (
            before is not None
            and before.last + 1 == segment.first
            and (not segment.is_news or caption == before.caption)
        ):
            # Nothing new is said: what was told goes on, in the same words where a screen shows it already.
            if self._extend(before, segment.last):
                return
            event = event._replace(caption=before.caption)
        self._put(event)

    def _extend(self, event: TrackEvent, last: int) -> bool:
        done = []
        self._keep(lambda: done.append(self._tracks.events.extend(self._key, event, last)))
        return any(done)

    def _before(self, frame: int) -> TrackEvent | None:
        """The last event with words that ends before a frame."""
        told = [e for e in self._tracks.events.of(self._key) if e.last < frame and e.caption]
        return told[-1] if told else None

    def _caption(self, segment: Segment, before: TrackEvent | None) -> str:
        if self.told >= MAX_EVENTS:
            return ""
        seen = [m for m in self._tracks.masks(self._key, segment.first, segment.last) if self._telling.shows(m)]
        if not seen:
            return ""
        chosen = [seen[place] for place in choose_frames(len(seen))]
        size = self._frames.height, self._frames.width
        masks = {mask.frame: from_coco_rle(mask.rle, *size) for mask in chosen}
        previous = before.caption if before is not None else ""
        with self._engine.turn("event", None) as pam:
            caption = tell_track(pam, self._frames, masks, self._engine.options, previous)
        self.told += 1
        return " ".join(caption.split())

    def _put(self, event: TrackEvent) -> None:
        self._keep(lambda: self._tracks.events.put(self._key, [event]))
