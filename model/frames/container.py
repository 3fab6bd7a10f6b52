"""A video file: which frames it has is read once, from its packets; pictures are decoded group by group."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from model.errors import VideoError
from model.frames.decoding import Upright, opened, pictures
from model.frames.frame import Frame, FrameLimits, Frames

LONGEST_LAST = 10.0
"""Seconds for which a last frame is believed to be shown."""

BACKWARD_BYTES = 192 << 20
"""Decoded frames that a walk backward keeps at once; where a group of pictures is larger it is decoded in parts."""


class VideoFile(Frames):
    """A local video file; see `Frames`.

    A frame is found by the time that its packet carries, so that B-frames, variable rates and edit lists come out as
    they are shown. A frame that does not decode stands as the one before it, as in a player.
    """

    def __init__(self, path: Path, limits: FrameLimits):
        self.name, self._path, self._limits = str(path), str(path), limits
        self._last = 0
        with opened(self._path, local=True) as container:
            stream = pictures(container, self.name, limits)
            self._stamps, keys, promised, timed = self._scan(container, stream)
            base = float(stream.time_base or 0)
            start = (container.start_time or 0) / av.time_base
        if not len(self._stamps):
            raise VideoError(f"{self.name} has no frames")
        self._timed = timed
        self._keys = keys
        # The clock of a player starts with the first stream, which may be the sound.
        first = float(self._stamps[0]) * base
        self._lasts = min(self._last * base, LONGEST_LAST)
        self.times = self._stamps * base - (min(max(start, 0.0), first) if first >= 0 else first)
        self.missing = max(0, promised - len(self._stamps))
        self.height = self.width = 0
        with_first = next(self._shown(0, 1), None)
        if with_first is None:
            raise VideoError(f"{self.name} has no frame that can be decoded")
        self.height, self.width = Upright()(with_first[1]).shape[:2]
        limits.check(self.name, self.height, self.width)

    @property
    def duration(self) -> float:
        """Seconds from the beginning to the end of the last frame, as the file says, or else as `Frames.duration`."""
        return float(self.times[-1]) + self._lasts if self._lasts > 0 else super().duration

    def walk(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """See `Frames.walk`."""
        wanted = self.steps(start, stop, step)
        if not len(wanted):
            return
        upright = Upright()
        if step > 0:
            for index, shown in self._shown(wanted[0], wanted[-1] + 1):
                if index in wanted:
                    yield self._frame(index, shown, upright)
            return
        most = max(1, BACKWARD_BYTES // (3 * self.height * self.width))
        at = wanted[0]
        while at >= wanted[-1]:
            low = max(self._key(at), at - most * -step + 1, wanted[-1])
            part = [self._frame(i, shown, upright) for i, shown in self._shown(low, at + 1) if i in wanted]
            while part:
                yield part.pop()
            at = low - 1

    def pick(self, indices: Sequence[int]) -> Iterator[Frame]:
        """See `Frames.pick`: what hangs on one key frame is decoded in one go, for each begins there."""
        for index in indices:
            self._check(index)
        upright = Upright()
        for _, group in groupby(indices, self._key):
            wanted = list(group)
            for index, shown in self._shown(wanted[0], wanted[-1] + 1):
                if index in wanted:
                    yield self._frame(index, shown, upright)

    def _frame(self, index: int, shown: VideoFrame, upright: Upright) -> Frame:
        return Frame(index, float(self.times[index]), upright(shown, (self.height, self.width)))

    def _shown(self, start: int, stop: int) -> Iterator[tuple[int, VideoFrame]]:
        """Each of the frames `start` to `stop`, in order, none missing."""
        last: VideoFrame | None = None
        for index, frame in self._decoded(start):
            if last is not None and index > start:
                yield from ((i, last) for i in range(start, min(index, stop)))
                start = index
            if start >= stop:
                return
            if index >= start:
                yield from ((i, frame) for i in range(start, min(index + 1, stop)))
                start = index + 1
            if start >= stop:
                return
            last = frame
        if last is None:
            raise VideoError(f"{self.name} cannot be decoded from frame {start} on: it is damaged")
        yield from ((i, last) for i in range(start, stop))

    def _decoded(self, start: int) -> Iterator[tuple[int, VideoFrame]]:
        """What the decoder gives, numbered, from a key frame at or before `start` on."""
        key = self._key(start)
        while True:
            with opened(self._path, local=True) as container:
                stream = pictures(container, self.name, self._limits)
                if key > 0:
                    container.seek(int(self._stamps[key]), stream=stream)
                found = self._numbered(container, stream)
                first = next(found, None)
                # A container may have its own idea of where the key frames are.
                if key > 0 and (first is None or first[0] > start):
                    key = self._key(key - 1)
                    continue
                if first is not None:
                    yield first
                yield from found
                return

    def _numbered(self, container: InputContainer, stream: VideoStream) -> Iterator[tuple[int, VideoFrame]]:
        count = 0
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                if self._timed and frame.pts is not None:
                    place = int(np.searchsorted(self._stamps, frame.pts, side="right")) - 1
                    if place >= 0:
                        yield place, frame
                else:
                    yield count, frame
                count += 1

    def _key(self, index: int) -> int:
        """The last key frame at or before a frame."""
        return int(self._keys[max(0, int(np.searchsorted(self._keys, index, side="right")) - 1)])

    def _scan(self, container: InputContainer, stream: VideoStream) -> tuple[np.ndarray, np.ndarray, int, bool]:
        """Time stamps of the frames in order, numbers of the key frames, how many the file promises, and whether
        packets carry times at all."""
        stamps, keys, skipped, latest = array("q"), array("b"), 0, 0
        try:
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue
                if packet.is_discard:  # before the start that an edit list sets
                    skipped += 1
                    continue
                if packet.pts is None:
                    return self._count(stream)
                if not stamps or packet.pts > latest:
                    latest, self._last = packet.pts, packet.duration or 0
                stamps.append(packet.pts)
                keys.append(packet.is_keyframe)
                if len(stamps) > self._limits.max_frames:
                    self._limits.check(self.name, 1, 1, len(stamps))
        except av.error.InvalidDataError:
            pass  # what was cut off in the middle is there up to the cut
        shown, first = np.unique(np.frombuffer(stamps, np.int64), return_index=True)
        # Other containers announce what they like.
        promised = stream.frames - skipped if "mp4" in container.format.name else 0
        numbers = np.flatnonzero(np.frombuffer(keys, np.int8)[first])
        return shown, numbers if len(numbers) and numbers[0] == 0 else np.r_[0, numbers], promised, True

    def _count(self, stream: VideoStream) -> tuple[np.ndarray, np.ndarray, int, bool]:
        """As `_scan`, for files whose packets carry no times: decoded once from beginning to end, and played evenly."""
        count = 0
        self._timed = False
        with opened(self._path, local=True) as container:
            for _ in self._numbered(container, pictures(container, self.name, self._limits)):
                count += 1
                self._limits.check(self.name, 1, 1, count)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        ticks = np.arange(count) / (rate * float(stream.time_base or 1 / rate))
        return ticks, np.zeros(1, np.int64), count, False
