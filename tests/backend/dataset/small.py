"""Projects of small pictures, as many as a test wants, behind the calls that an export makes to Label Studio."""

from __future__ import annotations

import functools
import io
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

from backend.dataset.export import ExportOptions, ProjectSource, export
from backend.dataset.report import ExportReport
from backend.errors import PictureError
from backend.ledger import Ledger
from backend.masks import to_coco_rle
from backend.suggestion import Suggestion
from model.prompt import Point

SIDE = 48
MEGAPIXEL = 1_000_000
CONFIG = """<View>
<KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/></KeyPointLabels>
<PolygonLabels name="region" toName="image"><Label value="Object"/></PolygonLabels>
<Image name="image" value="$image"/>
<TextArea name="category" toName="image" perRegion="true" placeholder="What is it?"/>
<TextArea name="explanation" toName="image" perRegion="true"/>
<TextArea name="caption" toName="image" perRegion="true" value="Describe it"/>
</View>"""
BEGAN = datetime(2026, 11, 22, tzinfo=UTC)


@functools.cache
def photograph(name: str) -> Image.Image:
    return Image.fromarray(getattr(data, name)())


@functools.cache
def picture(seed: int, quality: int = 90, scale: float = 1.0) -> bytes:
    """A JPEG that is cut from a photograph, somewhere else for each seed."""
    chance = random.Random(seed)
    photo = photograph("astronaut" if seed % 2 else "coffee")
    side = chance.randrange(60, 200)
    left, top = chance.randrange(photo.width - side), chance.randrange(photo.height - side)
    part = photo.crop((left, top, left + side, top + side)).resize((round(SIDE * scale),) * 2, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    part.save(file, "JPEG", quality=quality)
    return file.getvalue()


def fetch(address: str, task_id: int) -> bytes:
    """`/data/<seed>.jpg`, `/data/<seed>-<quality>.jpg`; any other file is gone."""
    name = address.removeprefix("/data/").removesuffix(".jpg")
    parts = name.split("-")
    if not all(part.isdecimal() for part in parts):
        raise PictureError(f"{address} answered 404: the file is gone")
    return picture(*map(int, parts))


def region(id: str, box: tuple[int, int, int, int], words: tuple[str, str, str], side: int = SIDE) -> list[dict]:
    """A rectangle x0, y0, x1, y1, drawn as a polygon, and its words: category, explanation, caption."""
    x0, y0, x1, y1 = (value * 100 / side for value in box)
    common = {"id": id, "to_name": "image", "original_width": side, "original_height": side}
    points = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    return [
        common | {"from_name": "region", "type": "polygonlabels", "value": {"points": points}},
        *(
            common | {"from_name": field, "type": "textarea", "value": {"text": [text]}}
            for field, text in zip(("category", "explanation", "caption"), words, strict=True)
            if text
        ),
    ]


def annotation(id: int, *regions: list[dict], age: int = 0, **more: Any) -> dict[str, Any]:
    """An annotation; one with a larger `age` is a later state."""
    times = {"created_at": BEGAN.isoformat(), "updated_at": (BEGAN + timedelta(seconds=age)).isoformat()}
    return {"id": id, "result": sum(regions, []), "was_cancelled": False} | times | more


def task(id: int, image: str, *annotations: dict) -> dict[str, Any]:
    return {"id": id, "data": {"image": image}, "annotations": list(annotations)}


def project(tasks: int, regions: int = 2, age: int = 0) -> list[dict]:
    """Tasks with one annotation each; another `age` gives other words."""
    return [
        task(
            id,
            f"/data/{id}.jpg",
            annotation(
                1000 + id,
                *(
                    region(f"r{id}-{n}", box(id, n), (f"kind {id % 5}", "", f"Thing {id} of {age}."))
                    for n in range(regions)
                ),
                age=age,
            ),
        )
        for id in range(1, tasks + 1)
    ]


def box(task_id: int, number: int) -> tuple[int, int, int, int]:
    chance = random.Random(1000 * task_id + number)
    x, y = chance.randrange(SIDE - 12), chance.randrange(SIDE - 12)
    return x, y, x + chance.randrange(4, 12), y + chance.randrange(4, 12)


def suggest(
    ledger: Ledger, region_id: str, box: tuple[int, int, int, int], words: tuple[str, str, str], **more: Any
) -> None:
    """Note in the ledger that a rectangle was suggested."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    fields = {
        "region_id": region_id, "project_id": 1, "task_id": 1, "points": (Point(box[0] + 1.5, box[1] + 1.5),),
        "box": None, "mask_rle": to_coco_rle(mask), "height": SIDE, "width": SIDE, "category": words[0],
        "explanation": words[1], "caption": words[2], "score": 0.9, "word_scores": {}, "model_version": "nano-1",
        "image_address": "", "image_sha256": "0" * 64, "seconds": 0.1, "created_at": BEGAN,
    }  # fmt: skip
    ledger.record_suggestion(Suggestion(**(fields | more)))


class Studio:
    """Label Studio, as far as an export asks it."""

    def __init__(self, *tasks: dict, config: str = CONFIG):
        self.listed = list(tasks)
        self.config = config

    def project(self, project_id: int) -> dict[str, Any]:
        return {"id": project_id, "title": "Small", "label_config": self.config}

    clock = None

    def pages(
        self, project_id: int, after: int = -1, changed_from: datetime | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        later = [task for task in self.listed if task["id"] > after]
        yield from (later[start : start + 5] for start in range(0, len(later), 5))


def run(ledger: Ledger, out: Path, *tasks: dict, studio: Studio | None = None, **options: Any) -> ExportReport:
    """Export project 1, of these tasks."""
    studio = studio or Studio(*tasks)
    formats, retry = options.pop("formats", ("coco", "pam_jsonl")), options.pop("retry", False)
    chosen = ExportOptions(MEGAPIXEL, formats=formats, **options)
    return export([ProjectSource(1, studio, fetch)], out, ledger, chosen, retry=retry)


def contents(version: Path) -> dict[str, bytes]:
    """Every file of a version, less what its manifest says of how it came about."""
    found = {str(path.relative_to(version)): path.read_bytes() for path in version.rglob("*") if path.is_file()}
    found["manifest.json"] = b"\n".join(
        line
        for line in found["manifest.json"].split(b"\n")
        if not line.startswith((b'  "version"', b'  "parent"', b'  "created"'))
    )
    return found
