"""The pool of a data set's images: each stored once, so that a trainer reads what the annotator saw."""

from __future__ import annotations

import hashlib
import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import imagehash
import numpy as np
from PIL import ExifTags, Image

from backend import pictures

_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg"}
"""Where a file's suffix is not its format's name."""


@dataclass(frozen=True)
class StoredImage:
    """An image in the pool.

    sha256: of the stored file, hex.
    name:   of the stored file, `<first 16 hex digits of its SHA-256>.<suffix>`.
    phash:  64 bits that hardly change when the picture is encoded again, scaled, or made a little brighter.
    video, frame: see `backend.dataset.region.DatasetImage`.
    """

    sha256: str
    name: str
    height: int
    width: int
    phash: int
    video: str | None = None
    frame: int | None = None


class ImagePool:
    """Keeps image files in `folder` under their content's hash; nothing in it ever changes."""

    def __init__(self, folder: Path, max_pixels: int):
        self._folder = folder
        self._max_pixels = max_pixels

    def add(self, data: bytes) -> StoredImage:
        """Store the image file `data`, written anew where its bytes could be read as another picture.

        Raises PictureError when they cannot be read.
        """
        pixels = pictures.decode(data, self._max_pixels)
        content, suffix = _as_seen(data, pixels)
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"{sha256[:16]}.{suffix}"
        if not (self._folder / name).exists():
            self._write(name, content)
        height, width = pixels.shape[:2]
        return StoredImage(sha256, name, height, width, perceptual_hash(pixels))

    def _write(self, name: str, content: bytes) -> None:
        # Brought to the disk when a version is published: one by one would take longer than all the rest.
        part = self._folder / f"{name}.part"
        part.write_bytes(content)
        part.chmod(0o444)
        os.replace(part, self._folder / name)


def perceptual_hash(pixels: np.ndarray) -> int:
    """The DCT hash of uint8 (H, W, 3) RGB: 64 bits, see `imagehash.phash`."""
    bits = imagehash.phash(Image.fromarray(pixels)).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


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
