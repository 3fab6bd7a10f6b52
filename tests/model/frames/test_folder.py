"""A folder of pictures as a video."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from model.errors import ImageError, VideoError
from model.frames import open_frames
from tests.model.frames.clips import number_in, numbered


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(12):
        Image.fromarray(numbered(i)).save(tmp_path / f"frame {i}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    return tmp_path


def test_natural_order(folder: Path):
    """ "frame 2" comes before "frame 10", both ways."""
    frames = open_frames(folder, rate=10)
    assert [number_in(frame.image) for frame in frames.walk()] == list(range(12))
    assert [number_in(frame.image) for frame in frames.walk(11, None, -1)] == list(range(11, -1, -1))
    assert frames.read(11).time == pytest.approx(1.1)
    assert frames.at(0.45) == 4


def test_pictures_that_do_not_fit(folder: Path):
    """Named when they are reached."""
    Image.fromarray(numbered(5)[:50]).save(folder / "frame 5.png")
    with pytest.raises(ImageError, match="frame 5.png has 160 x 50"):
        list(open_frames(folder).walk())
    (folder / "frame 0.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="frame 0.png cannot be read"):
        open_frames(folder)


def test_a_rate_that_is_none(folder: Path):
    """Frames need times."""
    with pytest.raises(VideoError, match="above 0"):
        open_frames(folder, rate=0)
