"""From a path or an address to frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from model.errors import VideoError
from model.frames.camera import is_camera
from model.frames.container import VideoFile
from model.frames.decoding import named
from model.frames.folder import FrameFolder
from model.frames.frame import Frame, FrameLimits, Frames
from model.frames.remote import Remote
from model.frames.stream import Stream

ANYTHING = FrameLimits()


def open_frames(source: str | Path, limits: FrameLimits = ANYTHING, rate: float = 25.0) -> Frames:
    """A local video file, or a folder of pictures that is shown at `rate` frames per second.

    A file is read through once (not decoded), so that every frame has its number. Raises VideoError for one that cannot
    be opened, has no pictures or is beyond the limits; ImageError for a folder whose first picture is damaged.
    """
    path = Path(source)
    if path.is_dir():
        return FrameFolder(path, limits, rate)
    if not path.exists():
        raise VideoError(f"there is no file or folder {path}")
    return VideoFile(path, limits)


def open_stream(
    source: str | Path,
    limits: FrameLimits = ANYTHING,
    *,
    rate: float = 25.0,
    drop: bool | None = None,
    capacity: int = 16,
    patience: float = 30.0,
) -> Stream:
    """Frames as they come, read ahead by a thread: a file, a folder, an http, rtsp, rtmp, srt or udp address, or a
    camera ("camera:0", "/dev/video0", "v4l2:/dev/video0"; see `model.frames.camera`).

    drop:     whether the oldest waiting frame is dropped where frames come faster than they are taken; else the source
              waits. None: dropped where the source is live.
    capacity: frames that wait at most; each is a picture in memory.
    patience: seconds for which a live source that went away is tried again, before VideoError is raised.
    Raises VideoError and ImageError as `open_frames` does, or on the way through the frames.
    """
    text = str(source)
    if "://" in text or is_camera(text):
        remote = Remote(text, limits, patience)
        return Stream(named(text), remote.frames(), live=remote.live, drop=drop, capacity=capacity, remote=remote)
    frames = open_frames(source, limits, rate)
    return Stream(frames.name, _all(frames), live=False, drop=drop, capacity=capacity, length=len(frames))


def _all(frames: Frames) -> Iterator[Frame]:
    with frames:
        yield from frames.walk()
