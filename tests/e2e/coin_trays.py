"""Photographs of twelve coins each: the halves of scikit-image's photograph, as if taken from several sides."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from skimage import data

from backend.dataset.region import Split
from backend.dataset.splits import side
from backend.settings import Settings
from model.everything import deepest

COINS = Path(__file__).resolve().parents[1] / "data" / "coins.png"
BETWEEN_ROWS = 152
TURNS = 8


@dataclass(frozen=True, eq=False)
class Tray:
    """A photograph.

    file:    a PNG.
    coins:   a place on each coin, x and y in pixels, and how many pixels the coin covers.
    """

    file: bytes
    width: int
    height: int
    coins: tuple[tuple[float, float, int], ...]


def tray(half: Split, turn: int) -> Tray:
    """The upper half of the coins, to train on, or the lower half, to validate; seen from side 0..TURNS - 1.

    What validates is told by a picture's hash. So that no coin is trained on that judges what was learned, a mark that
    nobody sees is chosen in each file with which its hash is on its half's side.
    """
    rows = slice(0, BETWEEN_ROWS) if half == "train" else slice(BETWEEN_ROWS, None)
    picture, labels = (_seen_from(turn, whole[rows]) for whole in (data.coins(), np.array(Image.open(COINS))))
    masks = [labels == label for label in np.unique(labels) if label]
    coins = tuple((*deepest(mask)[:2], int(mask.sum())) for mask in masks)
    height, width = picture.shape
    return Tray(_file(picture, half), width, height, coins)


def _seen_from(turn: int, pixels: np.ndarray) -> np.ndarray:
    return np.rot90(pixels[:, ::-1] if turn >= 4 else pixels, turn % 4)


def _file(picture: np.ndarray, half: Split) -> bytes:
    share = Settings.model_fields["validation"].default
    for number in count():
        mark, file = PngInfo(), io.BytesIO()
        mark.add_text("Comment", str(number))
        Image.fromarray(picture).save(file, "PNG", pnginfo=mark)
        if side(hashlib.sha256(file.getvalue()).hexdigest(), share) == half:
            return file.getvalue()
    raise AssertionError("some number does")
