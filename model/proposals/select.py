"""Which of several masks to believe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SAME = 0.8
"""IoU above which two masks count as the same answer."""


def agreement(masks: Sequence[np.ndarray]) -> np.ndarray:
    """float64 (n, n): IoU of each of `masks`, bool (h, w), with each other."""
    flat = np.stack([m.ravel() for m in masks]).astype(np.float32)
    overlap = (flat @ flat.T).astype(np.float64)
    area = overlap.diagonal()
    return overlap / np.maximum(area[:, None] + area[None, :] - overlap, 1)


def rank(masks: Sequence[np.ndarray]) -> list[tuple[np.ndarray, float]]:
    """Masks that differ from each other, each with its mean IoU with all the others; the medoid first."""
    iou = agreement(masks)
    score = (iou.sum(axis=1) - iou.diagonal()) / max(1, len(masks) - 1)
    chosen: list[int] = []
    for k in np.argsort(-score, kind="stable").tolist():
        if all(iou[k, other] < SAME for other in chosen):
            chosen.append(k)
    return [(masks[k], float(score[k])) for k in chosen]
