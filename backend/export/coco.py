"""COCO instances: masks as compressed RLE, and the words of each region beside it."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

from backend.annotations import CorrectedRegion
from backend.export.images import StoredImage
from backend.masks import bounding_box, to_coco_rle

UNNAMED = "unnamed"
"""The category of regions that the annotator gave none; COCO has no annotation without a category."""


class CocoWriter:
    """Writes `coco.json`; annotations go to the file as they come, images and categories follow on `close`."""

    def __init__(self, folder: Path):
        self._file = open(folder / "coco.json", "w", encoding="utf-8")
        self._images: dict[str, dict] = {}
        self._categories: dict[str, int] = {}
        self._count = 0
        self._file.write('{"info": {"description": "PAM Studio"}, "annotations": [')

    def add(self, region: CorrectedRegion, image: StoredImage) -> None:
        """Write one annotation."""
        entry = self._images.setdefault(
            image.path,
            {"id": len(self._images) + 1, "file_name": image.path, "height": image.height, "width": image.width},
        )
        name = category_name(region.words["category"])
        category = self._categories.setdefault(name, len(self._categories) + 1)
        self._count += 1
        row = annotation(region) | {"id": self._count, "image_id": entry["id"], "category_id": category}
        self._file.write(("," if self._count > 1 else "") + "\n" + json.dumps(row, ensure_ascii=False))

    def close(self) -> None:
        """Write the rest and close the file."""
        categories = [{"id": id, "name": name, "supercategory": ""} for name, id in self._categories.items()]
        rest = {"images": list(self._images.values()), "categories": categories}
        self._file.write("\n], " + json.dumps(rest, ensure_ascii=False)[1:] + "\n")
        self._file.close()


def annotation(region: CorrectedRegion) -> dict:
    """The COCO annotation of `region`, less its own id and those that it refers to."""
    height, width = region.mask.shape
    x0, y0, x1, y1 = bounding_box(region.mask)
    return {
        "segmentation": {"size": [height, width], "counts": to_coco_rle(region.mask)},
        "area": int(region.mask.sum()),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "attributes": {
            **region.words,
            "region_id": region.region_id,
            "annotation_id": region.annotation_id,
            "task_id": region.task_id,
            "model_version": region.model_version,
        },
    }


def category_name(text: str) -> str:
    """The one name of categories that people write differently: case, spaces, width of letters, a full stop."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" .;,。") or UNNAMED
