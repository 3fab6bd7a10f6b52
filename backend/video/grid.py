"""Label Studio's frame numbers, and which frame of the file each of them shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.frames import Frames

DEFAULT_RATE = 24.0
"""Frames each second that Label Studio takes a video to have where its tag does not say."""

_STEP = 0.002
"""Seconds to which Label Studio rounds the time that it seeks to; it then goes one step further into the frame."""

_MOST_FRAMES = 20_000_000


@dataclass(frozen=True)
class Grid:
    """Frames 1 to `count` of Label Studio's player, which knows a video only as a time and a number of frames a second.

    rate: the Video tag's `framerate`. shown: int (count,), the number in the file (from 0) of the frame that is on the
    screen at Label Studio's frame 1, 2, …: with a rate above the file's the same frame stands for several numbers, and
    with one below it some frames are never seen.
    """

    rate: float
    shown: np.ndarray

    @property
    def count(self) -> int:
        return len(self.shown)

    def at(self, number: int) -> int:
        """The frame of the file that Label Studio's frame `number` shows; the first or last one outside."""
        return int(self.shown[min(max(number, 1), self.count) - 1])


def grid_of(frames: Frames, rate: float) -> Grid:
    """The grid over a file: frame n is sought at (n - 1) / rate (`goToFrame` of Label Studio's VideoCanvas.tsx), and
    there are as many as fit, rounded, half a frame up."""
    count = int(min(max(1, math.floor(frames.duration * rate + 0.5)), _MOST_FRAMES))
    seconds = np.round(np.arange(count) / rate / _STEP) * _STEP + _STEP
    shown = np.searchsorted(frames.times, seconds, side="right") - 1
    return Grid(rate, np.clip(shown, 0, len(frames) - 1))


def rate_of(written: str, task_data: Mapping[str, Any]) -> float:
    """The frames each second that Label Studio reads from the Video tag's `framerate`.

    `$key` is looked up in the task's data; less than one is seconds for each frame; what is no number is 24, as there.
    """
    value: object = task_data.get(written[1:]) if written.startswith("$") else written
    try:
        rate = float(str(value))
    except ValueError:
        return DEFAULT_RATE
    if not math.isfinite(rate) or rate <= 0:
        return DEFAULT_RATE
    return rate if rate >= 1 else 1 / rate
