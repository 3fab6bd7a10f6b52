"""Label Studio's frame numbers against files whose frames carry their number as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.ledger.tracks import FrameMask, Key, Track
from backend.video.anchors import anchored
from backend.video.grid import grid_of, rate_of
from backend.video.keyframes import Keyframe, Shape
from backend.video.plan import boxes
from model.frames import open_frames
from model.prompt import Box
from tests.model.frames.clips import marked, number_in, numbered, write

COUNT = 24


@pytest.mark.parametrize(
    ("how", "rate", "expected"),
    [
        ({}, 25.0, list(range(24))),
        ({"bf": "3", "g": "12"}, 25.0, list(range(24))),
        ({"rotation": 90}, 25.0, list(range(24))),
        ({}, 50.0, [n // 2 for n in range(48)]),
        ({}, 12.5, list(range(0, 24, 2))),
        ({"rate": 30}, 24.0, [int(n * 30 / 24 + 1e-6 + 0.06) for n in range(19)]),
        ({"times": [0.1 * n if n < 10 else 0.9 + 0.02 * (n - 9) for n in range(24)]}, 10.0,
         [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 19]),
    ],
    ids=["plain", "B-frames", "turned", "twice the rate", "half the rate", "30 seen as 24", "variable rate"],
)  # fmt: skip
def test_a_number_shows_the_frame_that_the_browser_shows(
    tmp_path: Path, how: dict, rate: float, expected: list[int]
) -> None:
    """Label Studio knows times only: its frame n lies at (n - 1) / rate, whatever the file's own frames are."""
    path = write(tmp_path / "clip.mp4", [numbered(n) for n in range(COUNT)], **how)
    with open_frames(path) as frames:
        grid = grid_of(frames, rate)
        shown = [frames.read(grid.at(n)).image for n in range(1, len(expected) + 1)]
        assert grid.count >= len(expected) and grid.at(0) == grid.at(1) and grid.at(10**6) == grid.at(grid.count)
    assert [number_in(upright(image, how)) for image in shown] == expected
    assert all(marked(image) for image in shown if "rotation" not in how)


def test_the_right_frame_gets_the_mask(tmp_path: Path) -> None:
    """A box on a number of the screen is followed from the frame that stands there, and each number is answered with
    the box of the frame that it shows, at a variable rate in a project with another one. The last frame counts for as
    long as the file shows it, as in a browser."""
    times = [0.1 * n if n < 10 else 0.9 + 0.02 * (n - 9) for n in range(40)]
    path = write(tmp_path / "clip.mp4", [numbered(n) for n in range(40)], times=times, bf="3", g="12")
    with open_frames(path) as frames:
        grid = grid_of(frames, 25)
        assert frames.duration == pytest.approx(1.54) and grid.count == 39
        height, width = frames.height, frames.width
    track = Track(Key(1, 1, "r"), "sha", height, width, 40, 25.0, (), "v")
    drawn = [Keyframe(13, Shape(10, 10, 30, 30)), Keyframe(31, Shape(20, 20, 30, 30))]
    track = anchored(track, drawn, [], grid)
    assert [number_in(open_frames(path).read(a.index).image) for a in track.anchors] == [4, grid.at(31)]
    known = [FrameMask(n, "x", Box(n, 0, n + 10, 10), 1.0, 1) for n in range(40)]
    shown, _ = boxes(track, known, grid)
    assert {number: box and box.x0 for number, box in shown.items()} == {n: grid.at(n) for n in range(1, 40)}


def upright(image: np.ndarray, how: dict) -> np.ndarray:
    """As it was drawn; where the file asks for a turn the browser shows it turned."""
    return np.rot90(image, -1) if "rotation" in how else image


@pytest.mark.parametrize(
    ("written", "rate"),
    [("25", 25), ("29.97", 29.97), ("", 24), ("$fps", 30), ("$none", 24), ("0.04", 25), ("-3", 24), ("inf", 24),
     ("fast", 24), ("0", 24)],
)  # fmt: skip
def test_the_rate_is_what_label_studio_takes_it_for(written: str, rate: float) -> None:
    """A number, seconds for each frame, a key of the task's data, or else 24 (Video.js of Label Studio 1.23.2)."""
    assert rate_of(written, {"fps": "30"}) == pytest.approx(rate)
