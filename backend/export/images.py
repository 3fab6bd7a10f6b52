"""The images of an export: each stored once, so that a trainer reads what the annotator saw."""

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
    """Writes `images/<first 16 hex digits of the stored file's SHA-256>.<suffix>` under `folder`."""

    def __init__(self, folder: Path, max_pixels: int):
        self._folder = folder
        self._max_pixels = max_pixels
        self._stored: dict[bytes, StoredImage] = {}
        (folder / "images").mkdir()

    def __len__(self) -> int:
        return len({image.path for image in self._stored.values()})

    def add(self, data: bytes) -> StoredImage:
        """Store the image file `data`, written anew where its bytes could be read as another picture.

        The same bytes are stored once. Raises PictureError when they cannot be read.
        """
        key = hashlib.sha256(data).digest()
        if key not in self._stored:
            pixels = pictures.decode(data, self._max_pixels)
            content, suffix = _as_seen(data, pixels)
            path = f"images/{hashlib.sha256(content).hexdigest()[:16]}.{suffix}"
            (self._folder / path).write_bytes(content)
            self._stored[key] = StoredImage(path, *pixels.shape[:2])
        return self._stored[key]


def _as_seen(data: bytes, pixels: np.ndarray) -> tuple[bytes, str]:
    """The file to store and its suffix: the original bytes where every reader takes them for `pixels`, else a PNG.

    `pixels` is what the annotator saw: upright, transparency on white, 16-bit greys scaled down. A trainer's
    `convert("RGB")` knows nothing of a turn, drops alpha and clips greys, so only plain grey and RGB are passed on.
    """
    with Image.open(io.BytesIO(data), formats=pictures.FORMATS) as image:
        is_turned = _asks_to_be_turned(image)  # before loading: Pillow turns a TIFF then, and forgets that it did
        image.load()
        if image.mode in ("L", "RGB") and not image.has_transparency_data and not is_turned:
            return data, _SUFFIXES.get(str(image.format), str(image.format).lower())
    anew = io.BytesIO()
    Image.fromarray(pixels).save(anew, "PNG")
    return anew.getvalue(), "png"


def _asks_to_be_turned(image: Image.Image) -> bool:
    """By EXIF data, which not every reader obeys, in a WebP not even a browser; by XMP; by the boxes of an AVIF."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    except (SyntaxError, ValueError, TypeError, OSError, struct.error):
        return True  # readers disagree about damaged EXIF data, so it is not passed on
