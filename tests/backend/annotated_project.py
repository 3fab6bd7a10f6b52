"""A small annotated project on real photographs, behind the two calls that an export makes to Label Studio."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
from PIL import Image
from skimage import data, measure

from backend.errors import PictureError
from backend.masks import to_brush_rle, to_coco_rle
from backend.suggestion import Suggestion
from model.prompt import Point

CONFIG = """<View>
<KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/></KeyPointLabels>
<BrushLabels name="region" toName="image"><Label value="Object"/></BrushLabels>
<Image name="image" value="$image"/>
<TextArea name="category" toName="image" perRegion="true"/>
<TextArea name="explanation" toName="image" perRegion="true"/>
<TextArea name="caption" toName="image" perRegion="true"/>
</View>"""
COIN = ("coin", "A small disc of metal used as money.", "A worn coin on a dark cloth.")
CAT = ("Cat.", "A small animal that is kept as a pet.", "一只橘猫的脸")


@functools.cache
def photograph(name: str, format: str = "JPEG", orientation: int = 1) -> bytes:
    """The file of one of scikit-image's photographs; `orientation` only says how a viewer should turn it."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(getattr(data, name)()).save(file, format, exif=exif, quality=90)
    return file.getvalue()


@functools.cache
def coin_masks() -> list[np.ndarray]:
    """The coins of the photograph `coins`, largest first."""
    labels = measure.label(data.coins() > 120)
    regions = sorted(measure.regionprops(labels), key=lambda region: -region.area)
    return [labels == region.label for region in regions[:5]]


def cat_mask() -> np.ndarray:
    rows, columns = np.ogrid[:300, :451]
    return (rows - 140) ** 2 / 100**2 + (columns - 220) ** 2 / 120**2 < 1


def results(region_id: str, mask: np.ndarray, words: tuple[str, str, str]) -> list[dict[str, Any]]:
    """One region as Label Studio saves it: the mask, then each word that is not empty."""
    height, width = mask.shape
    common = {"id": region_id, "to_name": "image", "original_width": width, "original_height": height}
    rle = {"format": "rle", "rle": to_brush_rle(mask)}
    fields = zip(("category", "explanation", "caption"), words, strict=True)
    return [
        common | {"from_name": "region", "type": "brushlabels", "value": rle | {"brushlabels": ["Object"]}},
        *(
            common | {"from_name": field, "type": "textarea", "value": rle | {"text": [text]}}
            for field, text in fields
            if text
        ),
    ]


def annotation(id: int, *regions: list[dict], cancelled: bool = False) -> dict[str, Any]:
    return {
        "id": id,
        "result": [result for region in regions for result in region],
        "was_cancelled": cancelled,
        "created_at": "2026-11-22T12:34:07.977914Z",
        "updated_at": "2026-11-22T12:34:07.977950Z",
    }


def task(id: int, image: str, *annotations: dict) -> dict[str, Any]:
    return {"id": id, "data": {"image": image}, "annotations": list(annotations)}


def suggestion(region_id: str, mask: np.ndarray, *points: Point) -> Suggestion:
    height, width = mask.shape
    return Suggestion(
        region_id=region_id, project_id=1, task_id=1, points=points, box=None, mask_rle=to_coco_rle(mask),
        height=height, width=width, category="coin", explanation="", caption="", score=0.9, word_scores={},
        model_version="nano-1", image_address="", image_sha256="0" * 64, seconds=0.1,
        created_at=datetime(2026, 11, 22, tzinfo=UTC),
    )  # fmt: skip


class Studio:
    """Label Studio, as far as an export asks it."""

    def __init__(self, *tasks: dict, config: str = CONFIG):
        self.listed = list(tasks)
        self.config = config

    def project(self, project_id: int) -> dict[str, Any]:
        return {"id": project_id, "title": "PAM demo", "label_config": self.config}

    clock = None

    def pages(
        self, project_id: int, after: int = -1, changed_from: datetime | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        yield from ([task] for task in self.listed if task["id"] > after)


MEGAPIXEL = 1_000_000

FILES = {
    "/data/upload/1/coins.jpg": ("coins", "JPEG", 1),
    "/data/upload/1/again.jpg": ("coins", "JPEG", 1),
    "/data/upload/1/cat.png": ("chelsea", "PNG", 1),
    "/data/upload/1/turned.jpg": ("chelsea", "JPEG", 6),
}


def fetch(address: str, task_id: int) -> bytes:
    if address not in FILES:
        raise PictureError(f"{address} answered 404: the file is gone")
    return photograph(*FILES[address])


def two_tasks() -> list[dict]:
    """Coins and a cat: three regions, eight records."""
    first, second, *_ = coin_masks()
    return [
        task(1, "/data/upload/1/coins.jpg", annotation(11, results("c1", first, COIN), results("c2", second, COIN))),
        task(2, "/data/upload/1/cat.png", annotation(12, results("k1", cat_mask(), CAT))),
    ]
