"""A small data set on real photographs, in the neutral types that every format is written from."""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from skimage import data

from backend.dataset.formats import selected
from backend.dataset.region import DatasetFacts, DatasetImage, DatasetRegion, ImageRegions
from backend.dataset.texts import language
from backend.masks import bounding_box, to_coco_rle

FACTS = DatasetFacts(projects={1: "Coins & cats"}, settings={"consensus": "all"}, left_out={"picture": 2}, cancelled=3)


@functools.cache
def photograph(name: str, format: str) -> bytes:
    """The file of one of scikit-image's photographs."""
    file = io.BytesIO()
    Image.fromarray(getattr(data, name)()).save(file, format, quality=90)
    return file.getvalue()


def stored(content: bytes, split: str = "train", **fields: Any) -> DatasetImage:
    """The image whose file is `content`."""
    with Image.open(io.BytesIO(content)) as image:
        digest, suffix = hashlib.sha256(content).hexdigest(), {"JPEG": "jpg", "PNG": "png"}[str(image.format)]
        return DatasetImage(
            digest, f"images/{digest[:16]}.{suffix}", image.height, image.width, split, f"s{digest[:8]}", **fields
        )


def region(mask: np.ndarray, id: int = 1, words: Sequence[str] = ("coin", "", ""), **fields: Any) -> DatasetRegion:
    """A region of annotation 3 that covers `mask`; the words are category, explanation and caption."""
    x0, y0, x1, y1 = map(int, bounding_box(mask))
    category, explanation, caption = words
    texts = {"category": category, "explanation": explanation, "caption": caption}
    values: dict[str, Any] = {
        "id": f"1-2-3-r{id}", "rle": to_coco_rle(mask), "bbox": (x0, y0, x1 - x0, y1 - y0), "area": int(mask.sum()),
        "points": (), "box": None, "category": category.casefold(), "category_as_written": category,
        "explanation": explanation, "caption": caption,
        "languages": {name: language(text) for name, text in texts.items() if text}, "project_id": 1, "task_id": 2,
        "annotation_id": 3, "region_id": f"r{id}", "annotator": "a1b2", "model_version": "nano-1",
        "outcome": "accepted", "mask_iou": 1.0, "updated_at": "2026-11-22T12:00:00+00:00",
    }  # fmt: skip
    return DatasetRegion(**(values | fields))


def ellipse(shape: tuple[int, int], row: float, column: float, height: float, width: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1


def photographs() -> dict[str, list[tuple[ImageRegions, bytes]]]:
    """Shards of a data set: coins, a cat and an astronaut to train with, a cup of coffee to validate with.

    Masks with a hole and with two parts, words in English and Chinese and none, clicks and a box and neither.
    """
    coins, cat = photograph("coins", "JPEG"), photograph("chelsea", "PNG")
    person, coffee = photograph("astronaut", "JPEG"), photograph("coffee", "JPEG")
    disc = ellipse((303, 384), 54, 47, 25, 26)
    ring = ellipse((303, 384), 50, 230, 28, 28) & ~ellipse((303, 384), 50, 230, 14, 14)
    eyes = ellipse((300, 451), 118, 186, 22, 26) | ellipse((300, 451), 118, 276, 22, 26)
    face = ellipse((300, 451), 140, 230, 110, 120)
    suit = ellipse((512, 512), 350, 210, 160, 170)
    cup = ellipse((400, 600), 200, 300, 130, 170)
    return {
        "train-0": [
            (
                (
                    stored(coins),
                    (
                        region(disc, 1, ("Coin", "A small disc of metal.", "A worn coin."), points=((47.2, 54.9, 1),)),
                        region(ring, 2, ("coin", "", "一枚硬币"), outcome="corrected", mask_iou=0.71),
                    ),
                ),
                coins,
            ),
            (
                (
                    stored(cat),
                    (
                        region(eyes, 3, ("", "", "Two green eyes. They look at something.")),
                        region(face, 4, ("猫", "一种宠物", ""), outcome="drawn", mask_iou=None, model_version=None),
                    ),
                ),
                cat,
            ),
        ],
        "train-1": [((stored(person), (region(suit, 5, ("suit", "", ""), box=(30.4, 180.0, 390.0, 512.0)),)), person)],
        "validation-all": [
            ((stored(coffee, "validation"), (region(cup, 6, ("cup", "", "A cup of coffee.")),)), coffee)
        ],
    }


def regions_of(shards: dict[str, list[tuple[ImageRegions, bytes]]]) -> list[tuple[DatasetImage, DatasetRegion]]:
    """All regions with their images, in the order of the shards."""
    found = (item for name in sorted(shards) for item, _ in shards[name])
    return [(image, region) for image, regions in found for region in regions]


def write(
    folder: Path,
    shards: dict[str, list[tuple[ImageRegions, bytes]]],
    formats: Iterable[str],
    parent: Path | None = None,
    facts: DatasetFacts = FACTS,
    whole: bool = False,
) -> list[str]:
    """Write a version of these formats, as an export does; all paths that the modules say they wrote.

    Unless `whole`, it has no pictures and no Croissant, which take their second or two.
    """
    contents = {item[0].path: content for items in shards.values() for item, content in items}
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    left_out = () if whole else ("contact_sheet", "histograms", "croissant")
    modules = [module for module in selected(list(formats)) if module.NAME not in left_out]
    written = []
    for name, items in shards.items():
        for module in modules:
            written += module.write_shard(folder, name, [item for item, _ in items], lambda image: contents[image.path])
    for module in modules:
        written += module.finish(folder, sorted(shards), facts, parent)
    return written


noise = hnp.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24))).filter(np.any)


@st.composite
def drawn(draw: st.DrawFn) -> np.ndarray:
    """Ellipses added and taken away: several parts, holes, parts in holes, shapes that run off the image."""
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    mask = np.zeros((height, width), dtype=bool)
    for adds in draw(st.lists(st.booleans(), min_size=1, max_size=8)):
        center = draw(st.integers(-5, 65)), draw(st.integers(-5, 65))
        mask[ellipse(mask.shape, *center, draw(st.integers(1, 40)), draw(st.integers(1, 40)))] = adds
    if not mask.any():
        mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = True
    return mask


@st.composite
def extreme(draw: st.DrawFn) -> np.ndarray:
    """One pixel, wherever it is, or all of an image."""
    mask = np.zeros((draw(st.integers(1, 40)), draw(st.integers(1, 40))), dtype=bool)
    if draw(st.booleans()):
        mask[:] = True
    else:
        mask[draw(st.integers(0, mask.shape[0] - 1)), draw(st.integers(0, mask.shape[1] - 1))] = True
    return mask


masks = st.one_of(noise, drawn(), extreme())


def plain_image(mask: np.ndarray) -> bytes:
    """A small grey image of the size of `mask`; its file differs with the mask."""
    file = io.BytesIO()
    Image.fromarray(np.where(mask, 200, 60).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def of_masks(*masks: np.ndarray) -> dict[str, list[tuple[ImageRegions, bytes]]]:
    """A shard with an image for each mask."""
    items = {}
    for i, mask in enumerate(masks):
        content = plain_image(mask)
        image = stored(content)
        if image.path not in items:
            items[image.path] = ((image, (region(mask, i),)), content)
    return {"train-all": list(items.values())}
