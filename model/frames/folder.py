"""A folder of pictures as a video."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from model.errors import ImageError, VideoError
from model.frames.frame import Frame, FrameLimits, Frames

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"))


class FrameFolder(Frames):
    """The pictures of a folder in natural order ("2.jpg" before "10.jpg"); see `Frames`.

    rate: frames per second that the folder is taken to have.
    """

    def __init__(self, path: Path, limits: FrameLimits, rate: float):
        if not rate > 0:
            raise VideoError(f"the frame rate of {path} is {rate}: it must be above 0")
        self.name = str(path)
        self._paths = sorted((p for p in path.iterdir() if p.suffix.lower() in SUFFIXES), key=natural)
        if not self._paths:
            raise VideoError(f"{path} has no frames: put pictures into it ({', '.join(sorted(SUFFIXES))})")
        self._limits = limits
        limits.check(self.name, 1, 1, len(self._paths))
        self.times = np.arange(len(self._paths)) / rate
        self.height, self.width = self._open(0).shape[:2]

    def walk(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """See `Frames.walk`. Raises ImageError for a picture that is damaged or of another size than the first."""
        for index in self.steps(start, stop, step):
            image = self._open(index)
            if image.shape[:2] != (self.height, self.width):
                height, width = image.shape[:2]
                raise ImageError(
                    f"{self._paths[index]} has {width} x {height} pixels, the first frame {self.width} x {self.height}"
                )
            yield Frame(index, float(self.times[index]), image)

    def _open(self, index: int) -> np.ndarray:
        path = self._paths[index]
        try:
            with Image.open(path) as picture:
                self._limits.check(str(path), picture.height, picture.width)
                upright = ImageOps.exif_transpose(picture).convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ImageError(f"{path} cannot be read as a picture: {error}") from error
        return np.array(upright)


def natural(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sorts names with numbers in them as people would."""
    parts = re.findall(r"(\d+)|(\D+)", path.name)
    return tuple((0, int(number), "") if number else (1, 0, text) for number, text in parts)
