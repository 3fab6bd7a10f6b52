"""A mask as a PNG of one bit per pixel, which every reader of images takes."""

from __future__ import annotations

import io

from PIL import Image

from backend.dataset.region import DatasetImage, DatasetRegion
from backend.masks import from_coco_rle


def mask_png(image: DatasetImage, region: DatasetRegion) -> bytes:
    """The mask of `region` as a PNG file at the size of its image: 0 off the region, 1 (white) on it."""
    file = io.BytesIO()
    Image.fromarray(from_coco_rle(region.rle, image.height, image.width)).save(file, "PNG")
    return file.getvalue()
