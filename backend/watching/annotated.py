"""The video as it was seen: mask and box on every frame, and what was said last underneath."""

from __future__ import annotations

import textwrap
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from backend.errors import BackendError
from backend.overlay import COLOUR, INK, OPACITY, PAPER
from model.narration import Step
from model.tracking import TrackedMask

MILLISECONDS = Fraction(1, 1000)
LINES = 2
"""Of words under the picture."""


class VideoWriteError(BackendError):
    """An annotated video that cannot be written."""

    status, code = 500, "video_not_written"


class AnnotatedVideo:
    """See `Writer`. H.264 in the container that the suffix names."""

    def __init__(self, path: Path):
        """Raises VideoWriteError for a suffix that names no container, or a place that cannot be written."""
        self._path = path
        try:
            self._out = av.open(str(path), "w")
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise VideoWriteError(f"{path} cannot be written as a video: {error}. Name it .mp4 or .mkv") from error
        self._stream: av.VideoStream | None = None
        self._said = ""
        self._last = -1

    def write(self, step: Step) -> None:
        """See `Writer.write`."""
        if step.is_end:
            return
        self._said = step.events[-1].words.caption if step.events else self._said
        (found,) = step.masks.objects.values()
        picture = annotated(step.frame.image, found, self._said)
        if self._stream is None:
            self._stream = self._out.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "23"})
            self._stream.height, self._stream.width = picture.shape[:2]
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = MILLISECONDS
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        # Times must ascend, and a clock that stepped back would end the file.
        self._last = max(self._last + 1, round(1000 * step.frame.time))
        frame.pts, frame.time_base = self._last, MILLISECONDS
        self._out.mux(self._stream.encode(frame))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._stream is not None:
                self._out.mux(self._stream.encode())
            self._out.close()
        except av.error.FFmpegError as error:
            raise VideoWriteError(f"{self._path} could not be finished: {error}") from error


def annotated(image: np.ndarray, found: TrackedMask, said: str) -> np.ndarray:
    """A frame with mask, box and words, uint8 (H, W, 3) with even sides, as H.264 takes it."""
    height, width = image.shape[:2]
    stroke = max(1, round(max(height, width) / 400))
    picture = image.copy()
    if found.box is not None:
        tinted = image[found.mask] * (1 - OPACITY) + np.array(COLOUR) * OPACITY
        picture[found.mask] = tinted.astype(np.uint8)
        outline, _ = cv2.findContours(found.mask.view(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outline, -1, COLOUR, stroke)
        x0, y0, x1, y1 = map(int, found.box)
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), COLOUR, stroke)
    size = max(12, round(max(height, width) / 40))
    sheet = Image.new("RGB", (width + width % 2, (height + round(size * (1.4 * LINES + 1)) + 1) // 2 * 2), PAPER)
    sheet.paste(Image.fromarray(picture))
    columns = max(10, int(width / (0.52 * size)) - 2)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    for i, line in enumerate(textwrap.wrap(said, columns, max_lines=LINES, placeholder=" …")):
        pen.text((size // 2, height + size * (0.5 + 1.4 * i)), line, fill=INK, font=font)
    return np.asarray(sheet)
