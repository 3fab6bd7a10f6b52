"""The pictures and masks that records of a data set speak of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as coco_mask

from model.errors import RecordError
from model.training.finetune.records import RegionRecord


def read_frames(region: RegionRecord) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The frames of a clip that show its object, uint8 (H, W, 3) RGB, and its masks there, bool (H, W).

    Raises RecordError, where it is on none of them, too.
    """
    shown = 0
    for path, rle in region.frames:
        frame = replace(region, image=path, rle=rle)
        image = read_image(frame)
        if (mask := read_mask(frame, image)) is not None:
            shown += 1
            yield image, mask
    if not shown:
        raise RecordError(f"the masks of clip {region.id} are empty: export the data set anew")


def read_image(region: RegionRecord) -> np.ndarray:
    """uint8 (H, W, 3) RGB. Raises RecordError."""
    try:
        with Image.open(region.image) as file:
            return np.asarray(file.convert("RGB"))
    except FileNotFoundError as error:
        raise RecordError(
            f"{region.image} is gone: the data set was moved or removed while it was trained on; put it back and start "
            "again, it goes on from here"
        ) from error
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise RecordError(f"{region.image} is no picture: {error}") from error


def read_mask(region: RegionRecord, image: np.ndarray) -> np.ndarray | None:
    """The true mask, bool (H, W), where the data set has one. Raises RecordError for one of another size."""
    if region.rle is None:
        return None
    try:
        counts = str(region.rle["counts"]).encode()
        mask = coco_mask.decode({"size": list(region.rle["size"]), "counts": counts}).astype(bool)
    except (KeyError, ValueError, TypeError) as error:
        raise RecordError(f"the mask of region {region.id} of {region.image} is no RLE: {error}") from error
    if mask.shape != image.shape[:2]:
        raise RecordError(f"the mask of region {region.id} is {mask.shape}, {region.image} is {image.shape[:2]}")
    return mask if mask.any() else None
