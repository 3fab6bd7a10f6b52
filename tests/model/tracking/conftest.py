"""Models that follow in either way, and clips with known truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from model import PAM
from model.frames import Frame, Frames
from model.prompt import Box, Prompt


class Pictures(Frames):
    """Frames that a function draws; counts those that were looked at."""

    def __init__(self, images: Sequence[np.ndarray]):
        self.name, self._images, self.read_so_far = "pictures", images, 0
        self.times = np.arange(len(images)) / 25
        self.height, self.width = images[0].shape[:2]

    def walk(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        for index in self.steps(start, stop, step):
            self.read_so_far += 1
            yield Frame(index, float(self.times[index]), self._images[index])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two masks, bool (H, W)."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def boxed(truth: np.ndarray) -> Prompt:
    """The box that a person draws around an object."""
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    return Prompt(box=Box(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))


@pytest.fixture(params=["motion", "memory"])
def pam(request: pytest.FixtureRequest, nano: PAM, remembering: PAM) -> PAM:
    """A model of either kind."""
    return nano if request.param == "motion" else remembering


@pytest.fixture(scope="session")
def small(coffee: np.ndarray) -> list[np.ndarray]:
    """Eight small frames: a photograph that moves to the left."""
    small = np.ascontiguousarray(coffee[::3, ::3])
    return [np.roll(small, -2 * i, axis=1) for i in range(8)]
