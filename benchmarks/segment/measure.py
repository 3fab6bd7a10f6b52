"""All methods on the objects of one picture; a module of its own, which spawned processes can import."""

from __future__ import annotations

import cv2
import numpy as np

from benchmarks.segment.annotator import Segmenter, Session, annotate
from benchmarks.segment.baselines import BASELINES, baseline
from benchmarks.segment.targets import Target, picture
from model.proposals import prepare, propose

NANO = "nano"


def measure(batch: list[Target], baselines: bool, caps: tuple[int, int]) -> list[Session]:
    """Sessions of every method on targets of one picture. caps: clicks of nano and of the baselines at most."""
    cv2.setNumThreads(1)
    image = picture(batch[0].picture)
    segmenters = {NANO: nano(image)}
    if baselines:
        segmenters |= {name: baseline(method, image) for name, method in BASELINES.items()}
    return [
        annotate(target, name, segmenter, caps[name != NANO])
        for name, segmenter in segmenters.items()
        for target in batch
    ]


def nano(image: np.ndarray) -> Segmenter:
    """The masks that nano shows (its decoder only passes on features for the words)."""
    working = prepare(image)
    return lambda prompt: propose(working, prompt)[0].mask
