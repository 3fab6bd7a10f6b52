"""A mask as a PNG of one bit per pixel, which every reader of images takes."""

from __future__ import annotations

import functools
import struct
import zlib

import numpy as np

from backend.dataset.region import DatasetImage, DatasetRegion
from backend.masks import from_coco_rle

_KEPT = 256
"""Two formats want the masks of a shard, one after the other: so many are packed once. A few KiB each."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def mask_png(image: DatasetImage, region: DatasetRegion) -> bytes:
    """The mask of `region` as a PNG file at the size of its image: 0 off the region, 1 (white) on it."""
    return _png(region.rle, image.height, image.width)


@functools.lru_cache(maxsize=_KEPT)
def _png(rle: str, height: int, width: int) -> bytes:
    # Packed here, since a library's detours take four times as long as the packing, for every mask of every shard.
    rows = np.zeros((height, 1 + (width + 7) // 8), dtype=np.uint8)  # each begins with its filter: 0, none
    rows[:, 1:] = np.packbits(from_coco_rle(rle, height, width), axis=1)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)  # one bit, grey, the only methods
    return _SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows.tobytes())) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
