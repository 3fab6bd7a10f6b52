"""Drawn domains that nano never saw, as versions of a data set: what annotators left behind."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from backend.dataset.formats import coco, pam_jsonl, summary
from backend.dataset.region import DatasetFacts, DatasetImage, DatasetRegion, ImageRegions, Split
from backend.masks import bounding_box, to_coco_rle
from benchmarks.learning import OUTLINES, SIDE, draw_thing
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
    """Write a version with so many regions of the six classes to train on and to validate with, one on each picture."""

    def drawn(number: int) -> tuple[np.ndarray, np.ndarray, str, str]:
        category = list(OUTLINES)[number % len(OUTLINES)]
        return *draw_thing(category, seed, number), category, MEANINGS[category]

    _write(folder, train, validation, drawn)


def write_cells(folder: Path, seed: int, train: int, validation: int) -> None:
    """The same of cells, see `draw_cells`."""

    def drawn(number: int) -> tuple[np.ndarray, np.ndarray, str, str]:
        image, masks = draw_cells(seed, number)
        return image, masks[number % len(masks)], "cell", "the smallest part of a living thing."

    _write(folder, train, validation, drawn)


def _write(folder: Path, train: int, validation: int, drawn: Callable[[int], tuple]) -> None:
    items: dict[str, list[ImageRegions]] = {"train-0": [], "validation-0": []}
    contents: dict[str, bytes] = {}
    for number in range(train + validation):
        split: Split = "train" if number < train else "validation"
        pixels, mask, category, meaning = drawn(number)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        digest = hashlib.sha256(file.getvalue()).hexdigest()
        image = DatasetImage(digest, f"images/{digest[:16]}.png", *mask.shape, split, f"s{number}")
        items[f"{split}-0"].append((image, (_region(number, category, meaning, mask, pixels),)))
        contents[image.path] = file.getvalue()
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    for module in (summary, coco, pam_jsonl):
        for shard, held in items.items():
            module.write_shard(folder, shard, held, lambda image: contents[image.path])
        module.finish(folder, sorted(items), DatasetFacts(projects={1: "drawn"}, settings={}))


def _region(number: int, category: str, meaning: str, mask: np.ndarray, image: np.ndarray) -> DatasetRegion:
    x0, y0, x1, y1 = map(int, bounding_box(mask))
    return DatasetRegion(
        id=f"1-{number}-{number}-r{number}", rle=to_coco_rle(mask), bbox=(x0, y0, x1 - x0, y1 - y0),
        area=int(mask.sum()), points=(), box=None, category=category, category_as_written=category,
        explanation=meaning, caption=look_at(image, mask, category).caption,
        languages=dict.fromkeys(("category", "explanation", "caption"), "en"),
        project_id=1, task_id=number, annotation_id=number, region_id=f"r{number}", annotator="a",
        model_version="nano", outcome="corrected", mask_iou=0.8, updated_at="2026-11-22T12:00:00+00:00",
    )  # fmt: skip


def draw_cells(seed: int, index: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Picture number `index` of cells under a microscope, uint8 (SIDE, SIDE, 3), and their masks, bool (SIDE, SIDE).

    What is wanted is the whole cell; a click in its middle lies on the nucleus, which is the plainer thing to see.
    """
    rng = np.random.default_rng((seed, index, 41))
    ground = rng.uniform(190, 235, 3)
    image = np.ones((SIDE, SIDE, 3), np.float32) * ground.astype(np.float32)
    image += 6 * cv2.resize(rng.standard_normal((SIDE // 16, SIDE // 16)).astype(np.float32), (SIDE, SIDE))[..., None]
    masks: list[np.ndarray] = []
    for _ in range(40):
        radius = rng.uniform(0.07, 0.13) * SIDE
        x, y = rng.uniform(radius, SIDE - radius, 2)
        cell = _blob(x, y, radius, rng)
        if len(masks) == 6 or any((cell & other).any() for other in masks):
            continue
        nucleus = _blob(x + rng.normal(0, 0.12 * radius), y + rng.normal(0, 0.12 * radius), 0.45 * radius, rng) & cell
        body = ground - rng.uniform(25, 55) * np.array([0.4, 1.0, 0.5])
        image[cell] = body
        image[nucleus] = body - rng.uniform(60, 100) * np.array([0.9, 1.0, 0.4])
        masks.append(cell)
    image += rng.normal(0, 4, image.shape).astype(np.float32)
    return np.clip(cv2.GaussianBlur(image, (0, 0), 1.0), 0, 255).astype(np.uint8), masks


def _blob(x: float, y: float, radius: float, rng: np.random.Generator) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    waves = sum(rng.uniform(0, 0.12) / k * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(2, 5))
    outline = np.stack([x + radius * (1 + waves) * np.cos(angle), y + radius * (1 + waves) * np.sin(angle)], axis=1)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 1)
    return mask.astype(bool)
