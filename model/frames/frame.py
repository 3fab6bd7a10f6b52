"""What a frame is, and what can be asked of a video that is all there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from model.errors import VideoError


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture of a video.

    index: its place in the order in which frames are shown, from 0.
    time:  when it is shown, in seconds from the beginning.
    image: uint8 (H, W, 3) RGB, upright, of one size throughout a video.
    """

    index: int
    time: float
    image: np.ndarray


@dataclass(frozen=True)
class FrameLimits:
    """What is refused, since a few bytes can announce any size.

    max_pixels: of one frame.
    max_frames: of a file or folder; it is also the only thing that memory grows with, by 9 bytes a frame.
    """

    max_pixels: int = 1 << 26
    max_frames: int = 5_000_000

    def check(self, name: str, height: int, width: int, frames: int = 1) -> None:
        """Raise VideoError unless a video called `name` keeps within the limits."""
        if height < 1 or width < 1:
            raise VideoError(f"{name} has frames of {width} x {height} pixels: nothing can be seen")
        if height * width > self.max_pixels:
            raise VideoError(
                f"{name} has frames of {width} x {height} pixels, over the {self.max_pixels} allowed: scale it"
            )
        if frames > self.max_frames:
            raise VideoError(f"{name} has over {self.max_frames} frames, the most that are allowed: cut it")


class Frames(ABC):
    """A video that is all there: its frames can be read in any order.

    height, width: of every frame, in pixels, upright.
    times:         float64 (n,), seconds from the beginning at which each frame is shown, ascending.
    missing:       frames that the file promises and does not hold, as one that was cut off does.

    Nothing is kept open between reads, and a walk opens the source for itself: walks may run side by side.
    """

    name: str
    height: int
    width: int
    times: np.ndarray
    missing: int = 0

    def __len__(self) -> int:
        return len(self.times)

    @property
    def rate(self) -> float:
        """Frames per second, on average."""
        if len(self) < 2 or self.times[-1] <= self.times[0]:
            return 25.0
        return float((len(self) - 1) / (self.times[-1] - self.times[0]))

    @property
    def duration(self) -> float:
        """Seconds from the beginning to the end of the last frame, which is shown as long as the average one."""
        return float(self.times[-1]) + 1 / self.rate

    def at(self, seconds: float) -> int:
        """The frame that is on the screen at a time; the first or last one outside of the video."""
        # Times are rounded on their way through players and files: a tenth of a millisecond is no frame.
        return int(np.clip(np.searchsorted(self.times, seconds + 1e-4, side="right") - 1, 0, len(self) - 1))

    def read(self, index: int) -> Frame:
        """One frame. Raises IndexError outside of the video, VideoError where it cannot be read."""
        (frame,) = self.pick([index])
        return frame

    def pick(self, indices: Sequence[int]) -> Iterator[Frame]:
        """Some frames, by rising numbers; a source may read those together that lie near each other.

        Raises IndexError outside of the video, VideoError where a frame cannot be read.
        """
        for index in indices:
            self._check(index)
            yield next(self.walk(index, index + 1))

    def _check(self, index: int) -> None:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has no frame {index}: it has {len(self)}, from 0")

    @abstractmethod
    def walk(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """The frames of `range(start, stop, step)`, in bounded memory whichever way it goes.

        stop: exclusive; None for all the way. step: not 0. Raises VideoError where a frame cannot be read.
        """

    def steps(self, start: int, stop: int | None, step: int) -> range:
        """The frames that `walk` goes through. Raises ValueError for a step of 0, VideoError for a start outside."""
        if not 0 <= start < len(self):
            raise VideoError(f"{self.name} has no frame {start}: it has {len(self)}, from 0")
        end = (len(self) if step > 0 else -1) if stop is None else min(max(stop, -1), len(self))
        return range(start, end, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Nothing is held; a walk that was not finished is closed like any generator.
        return None
