"""A picture of some regions of a version, with mask and words: the first thing to look at."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from backend.dataset.formats import fonts, samples
from backend.dataset.region import DatasetFacts, ImageBytes, ImageRegions
from backend.masks import from_coco_rle

NAME = "contact_sheet"
FILE = "contact_sheet.png"

_COLUMNS = 4
_CELL = (320, 330)  # width, height
_PICTURE = (304, 220)
_MARGIN = 8
_TITLE, _TEXT = 16, 13
_LINE = 1.3
_CAPTION_LINES = 3
_TINT = np.array([255, 110, 0])
_CONTEXT = 0.35  # of the region's size, shown on every side
_LARGEST_ENLARGEMENT = 8.0
_COMPRESSION = 2  # every version is drawn anew: a third more bytes than by default, in a quarter of the time


def write_shard(
    folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes, parent: Path | None = None
) -> list[str]:
    """Nothing: the summary offers the shard's regions."""
    return []


def finish(folder: Path, shards: Sequence[str], facts: DatasetFacts, parent: Path | None = None) -> list[str]:
    """Write `contact_sheet.png`, unless there is no region; the paths written."""
    shown = samples.read(folder)
    if not shown:
        return []
    width, height = _CELL
    columns = min(_COLUMNS, len(shown))
    sheet = Image.new("RGB", (columns * width, -(-len(shown) // columns) * height), "white")
    for i, sample in enumerate(shown):
        sheet.paste(_cell(folder, sample), (i % columns * width, i // columns * height))
    (folder / FILE).unlink(missing_ok=True)
    sheet.save(folder / FILE, compress_level=_COMPRESSION)
    return [FILE]


def _cell(folder: Path, sample: Mapping[str, Any]) -> Image.Image:
    cell = Image.new("RGB", _CELL, "white")
    picture = _picture(folder, sample)
    cell.paste(picture, (_MARGIN + (_PICTURE[0] - picture.width) // 2, _MARGIN + (_PICTURE[1] - picture.height) // 2))
    draw = ImageDraw.Draw(cell)
    category, explanation, caption = sample["words"]
    top = float(_MARGIN + _PICTURE[1] + 4)
    top = _write(draw, top, category or "no category", _TITLE, "black", lines=1)
    top = _write(draw, top, caption or explanation or "no words", _TEXT, "#333333", lines=_CAPTION_LINES)
    _write(draw, top, f"{sample['outcome']}, {sample['split']}", _TEXT, "#0066aa", lines=1)
    return cell


def _picture(folder: Path, sample: Mapping[str, Any]) -> Image.Image:
    """The region and some of what is round it, tinted and outlined, as large as the cell allows."""
    height, width = sample["size"]
    x, y, w, h = sample["bbox"]
    margin = int(_CONTEXT * max(w, h)) + 4
    box = (max(x - margin, 0), max(y - margin, 0), min(x + w + margin, width), min(y + h + margin, height))
    with Image.open(folder / sample["path"]) as image:
        crop = image.convert("RGB").crop(box)
    scale = min(_PICTURE[0] / crop.width, _PICTURE[1] / crop.height, _LARGEST_ENLARGEMENT)
    size = max(round(crop.width * scale), 1), max(round(crop.height * scale), 1)
    mask = from_coco_rle(sample["rle"], height, width)[box[1] : box[3], box[0] : box[2]]
    mask = np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))
    pixels = np.asarray(crop.resize(size, Image.Resampling.BICUBIC)).copy()
    pixels[mask > 0] = (0.65 * pixels[mask > 0] + 0.35 * _TINT).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(pixels, contours, -1, (255, 255, 255), 3)
    cv2.drawContours(pixels, contours, -1, _TINT.tolist(), 1)
    return Image.fromarray(pixels)


def _write(draw: ImageDraw.ImageDraw, top: float, text: str, size: int, colour: str, lines: int) -> float:
    """Draw `text`, broken into at most so many lines; where the next text begins."""
    font = _font(str(fonts.font_of(text)), size)
    for line in _broken(fonts.readable(text), font, lines):
        draw.text((_MARGIN, top), line, fill=colour, font=font)
        top += size * _LINE
    return top


@functools.lru_cache(maxsize=16)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def _broken(text: str, font: ImageFont.FreeTypeFont, lines: int) -> list[str]:
    """`text` in lines that fit, at spaces where it has any; what is too much becomes an ellipsis."""
    broken: list[str] = []
    while text and len(broken) < lines:
        end = min(len(text), _PICTURE[0])  # a letter is a pixel wide at least; a text may have millions
        while font.getlength(text[:end]) > _PICTURE[0] and end > 1:
            end -= 1
        if end < len(text) and " " in text[1:end]:
            end = text.rindex(" ", 1, end)
        broken.append(text[:end].strip())
        text = text[end:].strip()
    if text:
        last = broken[-1]
        while last and font.getlength(last + "…") > _PICTURE[0]:
            last = last[:-1]
        broken[-1] = last + "…"
    return broken
