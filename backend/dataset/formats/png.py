"""A mask as a PNG of one bit per pixel, which every reader of images takes."""

from __future__ import annotations

import functools
import io

from PIL import Image

from backend.dataset.region import DatasetImage, DatasetRegion
from backend.masks import from_coco_rle

_KEPT = 256
"""Two formats want the masks of a shard, one after the other: so many are packed once. A few KiB each."""


def mask_png(image: DatasetImage, region: DatasetRegion) -> bytes:
    """The mask of `region` as a PNG file at the size of its image: 0 off the region, 1 (white) on it."""
    return _png(region.rle, image.height, image.width)


@functools.lru_cache(maxsize=_KEPT)
def _png(rle: str, height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(from_coco_rle(rle, height, width)).save(file, "PNG")
    return file.getvalue()
