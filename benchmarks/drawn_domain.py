"""A drawn domain of six classes that nano never saw, as a version of a data set: what annotators left behind."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from backend.dataset.formats import coco, pam_jsonl, summary
from backend.dataset.region import DatasetFacts, DatasetImage, DatasetRegion, ImageRegions
from backend.masks import bounding_box, to_coco_rle
from benchmarks.learning import OUTLINES, draw_thing
from model.training.facts import look_at

MEANINGS = {
    "gear": "a wheel with teeth that turns another wheel.",
    "arrow": "a sign that points the way.",
    "cross": "a mark of two bars, one across the other.",
    "lightning": "a sign that warns of electricity.",
    "crown": "what kings and queens wear on their heads.",
    "bow tie": "a short tie that is worn at the neck on festive evenings.",
}
"""What the annotators settled on."""


def write(folder: Path, seed: int, train: int, validation: int) -> None:
    """Write a version with so many regions to train on and to validate with, one on each picture."""
    items: dict[str, list[ImageRegions]] = {"train-0": [], "validation-0": []}
    contents: dict[str, bytes] = {}
    for number in range(train + validation):
        split = "train" if number < train else "validation"
        image, category, mask, pixels = _picture(seed, number, split)
        contents[image.path] = pixels
        items[f"{split}-0"].append((image, (_region(number, category, mask, np.asarray(_opened(pixels))),)))
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    for module in (summary, coco, pam_jsonl):
        for shard, held in items.items():
            module.write_shard(folder, shard, held, lambda image: contents[image.path])
        module.finish(folder, sorted(items), DatasetFacts(projects={1: "drawn"}, settings={}))


def _opened(pixels: bytes) -> Image.Image:
    return Image.open(io.BytesIO(pixels))


def _picture(seed: int, number: int, split: str) -> tuple[DatasetImage, str, np.ndarray, bytes]:
    category = list(OUTLINES)[number % len(OUTLINES)]
    image, mask = draw_thing(category, seed, number)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    place = f"images/{digest[:16]}.png"
    return DatasetImage(digest, place, *mask.shape, split, f"s{number}"), category, mask, file.getvalue()  # type: ignore[arg-type]


def _region(number: int, category: str, mask: np.ndarray, image: np.ndarray) -> DatasetRegion:
    x0, y0, x1, y1 = map(int, bounding_box(mask))
    texts = {"category": category, "explanation": MEANINGS[category], "caption": look_at(image, mask, category).caption}
    return DatasetRegion(
        id=f"1-{number}-{number}-r{number}", rle=to_coco_rle(mask), bbox=(x0, y0, x1 - x0, y1 - y0),
        area=int(mask.sum()), points=(), box=None, category=category, category_as_written=category,
        explanation=texts["explanation"], caption=texts["caption"], languages=dict.fromkeys(texts, "en"),
        project_id=1, task_id=number, annotation_id=number, region_id=f"r{number}", annotator="a",
        model_version="nano", outcome="corrected", mask_iou=0.8, updated_at="2026-11-22T12:00:00+00:00",
    )  # fmt: skip
