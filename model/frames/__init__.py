"""Frames of videos, read as they are needed: files, folders of pictures, streams and cameras.

    with open_frames("clip.mp4") as frames:
        frames.read(7).image            # any frame
        for frame in frames.walk(7, -1, -1):  # or all of them, either way, in bounded memory
            ...

A frame's number is its place in the order in which frames are shown, from 0. Knows nothing of models.
"""

from model.frames.frame import Frame, FrameLimits, Frames
from model.frames.opening import open_frames, open_stream
from model.frames.stream import Stream

__all__ = ["Frame", "FrameLimits", "Frames", "Stream", "open_frames", "open_stream"]
