"""Cameras: there is none where tests run, but all up to it is real, and FFmpeg's test picture comes as one would."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from model.errors import VideoError
from model.frames import FrameLimits, open_stream
from model.frames.camera import device, is_camera


@pytest.mark.parametrize(
    ("address", "platform", "says"),
    [
        ("camera:7", "linux", "there is no camera /dev/video7: "),
        ("/dev/video77", "linux", "there is no camera /dev/video77: "),
        ("v4l2:/dev/video77", "linux", "there is no camera /dev/video77: "),
        ("v4l2:/dev/by-id/none", "linux", "there is no camera /dev/by-id/none: "),
        ("camera:0", "win32", "as in dshow:video=NAME"),
        ("camera:0", "darwin", "no avfoundation devices"),
        ("dshow:video=Front", "linux", "no dshow devices"),
    ],
)
def test_a_camera_that_cannot_be_had(address: str, platform: str, says: str) -> None:
    """Said with what is meant, and what there is instead."""
    assert is_camera(address)
    with pytest.raises(VideoError, match=says):
        device(address, platform)


@pytest.mark.parametrize(
    "address", ["clip.mp4", "camera", "camera:x", "/dev/video", "v4l2:", "x11grab::0", "http://a/b"]
)
def test_what_is_no_camera(address: str) -> None:
    """A file may be called nearly so."""
    assert not is_camera(address)


def test_a_device_of_linux_is_opened_as_one(tmp_path: Path) -> None:
    """FFmpeg is asked for Video4Linux, with the device's own name; what it says of another thing is said."""
    path = tmp_path / "camera"
    path.write_bytes(b"no camera")
    assert device(f"v4l2:{path}") == (str(path), "v4l2")
    with open_stream(f"v4l2:{path}", patience=600) as stream, pytest.raises(VideoError, match="inappropriate ioctl"):
        next(iter(stream))


def test_frames_of_a_device() -> None:
    """Live, numbered and timed; in bounds; it is closed while it goes on."""
    with open_stream("lavfi:testsrc2=size=320x180:rate=10", drop=False) as stream:
        frames = list(itertools.islice(stream, 12))
        assert stream.live and stream.length is None and not stream.dropped
    assert [frame.index for frame in frames] == list(range(12))
    assert np.diff([frame.time for frame in frames]) == pytest.approx(0.1, abs=0.02)
    assert all(frame.image.shape == (180, 320, 3) for frame in frames)
    assert not np.array_equal(frames[0].image, frames[9].image)
    large = open_stream("lavfi:testsrc2=size=320x180", FrameLimits(max_pixels=1000))
    with large as stream, pytest.raises(VideoError, match="pixels"):
        next(iter(stream))
