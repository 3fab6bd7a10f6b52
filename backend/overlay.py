"""A region drawn on its photograph: mask, box, clicks and words."""

from __future__ import annotations

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from backend.masks import bounding_box
from model import Prompt, Region

COLOUR, POSITIVE, NEGATIVE = (255, 64, 96), (40, 200, 90), (230, 40, 40)
PAPER, INK = (255, 255, 255), (20, 20, 20)
OPACITY = 0.45
FORMATS = frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in Image.SAVE)
"""File suffixes that a picture can be saved with."""


def draw(image: np.ndarray, prompt: Prompt, region: Region) -> Image.Image:
    """The picture, uint8 (H, W, 3) RGB, with the region on it and its words underneath."""
    height, width = image.shape[:2]
    stroke = max(2, round(max(height, width) / 300))
    painted = image.astype(np.float32)
    painted[region.mask] += (np.array(COLOUR) - painted[region.mask]) * OPACITY
    inner = ndimage.binary_erosion(region.mask, iterations=stroke)
    painted[region.mask & ~inner] = COLOUR
    picture = Image.fromarray(painted.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    if region.mask.any():
        x0, y0, x1, y1 = bounding_box(region.mask)
        pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=COLOUR, width=max(1, stroke // 2))
    if prompt.box:
        pen.rectangle(tuple(prompt.box), outline=POSITIVE, width=stroke)
    for point in prompt.points:
        _cross(pen, point.x, point.y, 4 * stroke, POSITIVE if point.positive else NEGATIVE, stroke)
    return _with_words(picture, region)


def _cross(pen: ImageDraw.ImageDraw, x: float, y: float, r: int, colour: tuple[int, int, int], stroke: int) -> None:
    for shade, wide in ((PAPER, 2 * stroke), (colour, stroke)):
        pen.line((x - r, y, x + r, y), fill=shade, width=wide)
        pen.line((x, y - r, x, y + r), fill=shade, width=wide)


def _with_words(picture: Image.Image, region: Region) -> Image.Image:
    size = max(14, round(max(picture.size) / 45))
    font = ImageFont.load_default(size)
    columns = max(20, int(picture.width / (0.5 * size)) - 2)
    words = region.words
    said = (f"{words.category}  (mask {region.score:.2f})", words.explanation, words.caption)
    lines = [line for text in said for line in (textwrap.wrap(text, columns) or [""])]
    sheet = Image.new("RGB", (picture.width, picture.height + round(size * (1.4 * len(lines) + 1))), PAPER)
    sheet.paste(picture)
    pen = ImageDraw.Draw(sheet)
    for i, line in enumerate(lines):
        pen.text((size // 2, picture.height + size * (0.5 + 1.4 * i)), line, fill=INK, font=font)
    return sheet
