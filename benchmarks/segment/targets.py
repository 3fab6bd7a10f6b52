"""What is asked for: coins, objects outlined on photographs, and objects of drawn scenes that no training has seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import matplotlib.cbook
import numpy as np
import skimage.data
import skimage.io

from model.training.scenes import draw_scene

ROOT = Path(__file__).parents[2]
DATA, VIEWS = ROOT / "tests" / "data", ROOT / "model" / "training" / "views"
SCENES_SEED = 20_001
SCENES = 40


class Set(StrEnum):
    """Sets of targets."""

    TUNING = "tuning"
    TEST = "test"
    COINS = "coins"
    SCENES = "scenes"
    TEACHING = "teaching"


MEASURED = (Set.TUNING, Set.TEST, Set.COINS, Set.SCENES)
"""The others are learned from."""


@dataclass(frozen=True, eq=False)
class Target:
    """One object: its `truth`, bool (H, W), on the picture of that name (see `picture`)."""

    set: Set
    picture: str
    name: str
    truth: np.ndarray


def picture(name: str) -> np.ndarray:
    """uint8 (H, W, 3) RGB: a photograph by its name in objects.json or teaching.json, or "scene N"."""
    if name.startswith("scene "):
        return draw_scene(SCENES_SEED, int(name.removeprefix("scene "))).image
    for own in (DATA / "photographs" / f"{name}.jpg", VIEWS / f"{name}.jpg"):
        if own.exists():
            return skimage.io.imread(own)
    if name == "grace_hopper":
        image = skimage.io.imread(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    elif name == "motorcycle":
        image = skimage.data.stereo_motorcycle()[0]
    else:
        image = getattr(skimage.data, name)()
    return np.ascontiguousarray(np.dstack([image] * 3) if image.ndim == 2 else image)


def targets(of: Set) -> Iterator[Target]:
    """Every target of a set, those of one picture together."""
    if of is Set.COINS:
        labels = skimage.io.imread(DATA / "coins.png")
        yield from (Target(of, "coins", str(k), np.equal(labels, k)) for k in range(1, labels.max() + 1))
    elif of is Set.SCENES:
        for index in range(SCENES):
            objects = draw_scene(SCENES_SEED, index).objects
            thing = objects[index % len(objects)]  # any place in the order from back to front
            yield Target(of, f"scene {index}", thing.facts.category, thing.mask)
    else:
        outlines = json.loads((DATA / ("teaching.json" if of is Set.TEACHING else "objects.json")).read_text())
        shapes = {photo: picture(photo).shape[:2] for photo in outlines[of.value]}
        for entry in outlines["objects"]:
            if entry["photo"] in shapes:
                truth = np.zeros(shapes[entry["photo"]], np.uint8)
                cv2.fillPoly(truth, [np.round(entry["outline"]).astype(np.int32)], 1)
                yield Target(of, entry["photo"], entry["object"], truth.astype(bool))
