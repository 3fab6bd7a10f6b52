"""Clips whose frames carry their number as a picture: sixteen squares, black or white, are its bits."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 16
MARK = (200, 60, 30)
"""Colour of the top left corner, so that a picture that is turned is seen to be."""


def numbered(number: int, height: int = 96, width: int = 160) -> np.ndarray:
    """uint8 (H, W, 3): a grey picture with `number` in two rows of eight squares, and a mark in the top left corner."""
    image = np.full((height, width, 3), 128, np.uint8)
    side_y, side_x = height // 4, width // 8
    for bit in range(BITS):
        y, x = (1 + bit // 8) * side_y, bit % 8 * side_x
        image[y : y + side_y, x : x + side_x] = 255 * (number >> bit & 1)
    image[:side_y, :side_x] = MARK
    return image


def number_in(image: np.ndarray) -> int:
    """The number that a picture carries."""
    height, width = image.shape[:2]
    side_y, side_x = height // 4, width // 8
    grey = image.mean(axis=2)
    return sum(
        1 << bit
        for bit in range(BITS)
        if grey[(1 + bit // 8) * side_y + side_y // 2, bit % 8 * side_x + side_x // 2] > 128
    )


def marked(image: np.ndarray) -> bool:
    """Whether the top left corner has the mark: the picture is upright."""
    corner = image[image.shape[0] // 8, image.shape[1] // 16].astype(int)
    return bool(np.abs(corner - MARK).max() < 60)


def write(
    path: Path | str,
    images: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    rate: int = 25,
    times: Sequence[float] | None = None,
    rotation: int = 0,
    container: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """A video of `images`; times: seconds at which each is shown, where they are not even."""
    height, width = images[0].shape[:2]
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = width, height
        stream.pix_fmt = "rgb24" if codec == "rawvideo" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = round(1000 * (times[i] if times is not None else i / rate))
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return Path(path)
