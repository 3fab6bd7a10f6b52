"""The images of an export: each stored once, as the trainer will read it."""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from backend import pictures

_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg"}
"""Where a file's suffix is not its format's name."""


@dataclass(frozen=True)
class StoredImage:
    """An image of an export. path: relative to the export's folder."""

    path: str
    height: int
    width: int


class ImageStore:
    """Writes `images/<first 16 hex digits of the file's SHA-256>.<suffix>` under `folder`."""

    def __init__(self, folder: Path, max_pixels: int):
        self._folder = folder
        self._max_pixels = max_pixels
        self._stored: dict[bytes, StoredImage] = {}
        (folder / "images").mkdir()

    def __len__(self) -> int:
        return len({image.path for image in self._stored.values()})

    def add(self, data: bytes) -> StoredImage:
        """Store the image file `data`; the same bytes are stored once. Raises PictureError when it cannot be read."""
        key = hashlib.sha256(data).digest()
        if key not in self._stored:
            pixels = pictures.decode(data, self._max_pixels)
            content, suffix = _as_trained_on(data, pixels)
            path = f"images/{hashlib.sha256(content).hexdigest()[:16]}.{suffix}"
            (self._folder / path).write_bytes(content)
            self._stored[key] = StoredImage(path, *pixels.shape[:2])
        return self._stored[key]


def _as_trained_on(data: bytes, pixels: np.ndarray) -> tuple[bytes, str]:
    """The file to store and its suffix: the original bytes, unless these ask to be turned.

    Label Studio shows an image, and so takes masks and clicks, with its EXIF orientation applied: that is `pixels`.
    Pillow ignores the orientation and OpenCV obeys it, so only a file that asks for nothing means the same to every
    trainer. Any other is written anew, upright.
    """
    with Image.open(io.BytesIO(data)) as image:
        suffix = _SUFFIXES.get(str(image.format), str(image.format).lower())
        asks_to_be_turned = _asks_to_be_turned(image)
    if not asks_to_be_turned:
        return data, suffix
    upright = io.BytesIO()
    if suffix == "jpg":
        Image.fromarray(pixels).save(upright, "JPEG", quality=95, subsampling=0)
        return upright.getvalue(), suffix
    Image.fromarray(pixels).save(upright, "PNG")
    return upright.getvalue(), "png"


def _asks_to_be_turned(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    except (SyntaxError, ValueError, TypeError, OSError, struct.error):
        return True  # readers disagree about damaged EXIF data, so it is not passed on
