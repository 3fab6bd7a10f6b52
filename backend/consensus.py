"""Whose regions count where several annotators worked on one task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pycocotools import mask as coco

from backend.annotations import LeftOut, corrected_regions, region_id
from backend.labeling_config import LabelingConfig
from backend.masks import to_coco_rle
from backend.webhook_event import Annotation

Rule = Literal["all", "latest", "ground_truth", "agreement"]


@dataclass(frozen=True)
class Consensus:
    """Chooses among the annotations of one task.

    rule: "all" takes every annotation; "latest" the one that was changed last; "ground_truth" those that are marked as
          that, and none where none is; "agreement" the regions that most annotators of the task drew.
    iou:  how much two masks must overlap to be one object, for "agreement", 0..1.
    max_pixels: largest mask that is read.
    """

    rule: Rule
    iou: float
    config: LabelingConfig
    max_pixels: int

    def choose(self, annotations: Sequence[Annotation]) -> list[Annotation]:
        """The annotations of a task that count; for "agreement", each with those of its results that count.

        Cancelled annotations never do.
        """
        counting = [annotation for annotation in annotations if not annotation.was_cancelled]
        choices: dict[Rule, Callable[[list[Annotation]], list[Annotation]]] = {
            "all": lambda those: those,
            "latest": lambda those: sorted(those, key=_age)[-1:],
            "ground_truth": lambda those: [annotation for annotation in those if annotation.ground_truth],
            "agreement": self._agreed,
        }
        return choices[self.rule](counting)

    def _agreed(self, annotations: list[Annotation]) -> list[Annotation]:
        """Of the last annotation of each annotator, the regions that more than half of them drew.

        Of the regions that are one object, the one counts that overlaps best with the others. A single annotator
        agrees with nobody but is all that there is: those regions count, and so do all objects in videos.
        """
        latest = {
            annotation.id if annotation.annotator is None else -1 - annotation.annotator: annotation
            for annotation in sorted(annotations, key=_age)
        }
        drawn = [self._drawn(annotation) for annotation in latest.values()]
        if len(drawn) < 2 or self.config.video:
            return list(latest.values())
        kept = {(region.annotation_id, region.region_id) for region in _medoids(drawn, self.iou)}
        return [
            replace(annotation, result=[r for r in annotation.result if (annotation.id, region_id(r)) in kept])
            for annotation in sorted(latest.values(), key=lambda annotation: annotation.id)
        ]

    def _drawn(self, annotation: Annotation) -> list[_Drawn]:
        """The regions of one annotation that have a mask, as RLE: the masks of a task may be many."""
        regions = corrected_regions(annotation, self.config, lambda _: None, self.max_pixels)
        return [
            _Drawn(annotation.id, region.region_id, {"size": region.mask.shape, "counts": to_coco_rle(region.mask)})
            for region in regions
            if not isinstance(region, LeftOut)
        ]


@dataclass(frozen=True)
class _Drawn:
    annotation_id: int
    region_id: str
    rle: dict


def _medoids(drawn: list[list[_Drawn]], least: float) -> list[_Drawn]:
    """One region for each object that more than half of the annotators drew; `drawn` holds a list for each annotator.

    Objects are found greedily: regions come in the order of their overlap with all others; each takes along the best
    free one of each other annotator that overlaps by `least`, and stands for them where these are enough.
    """
    regions = [region for of_one in drawn for region in of_one]
    who = np.repeat(np.arange(len(drawn)), [len(of_one) for of_one in drawn])
    overlap = _overlaps(regions)
    free = np.ones(len(regions), dtype=bool)
    found = []
    for index in np.argsort(-overlap.sum(axis=1), kind="stable"):
        if free[index] and 2 * len(partners := _partners(index, overlap, who, free, least)) > len(drawn):
            found.append(regions[index])
            free[partners] = False
    return found


def _partners(index: int, overlap: np.ndarray, who: np.ndarray, free: np.ndarray, least: float) -> list[int]:
    """`index` and, of each other annotator, the free region that overlaps with it most, if that is enough."""
    partners = [int(index)]
    for other in set(who.tolist()) - {int(who[index])}:
        candidates = np.flatnonzero(free & (who == other))
        if candidates.size:
            nearest = int(candidates[overlap[index, candidates].argmax()])
            if overlap[index, nearest] >= least:
                partners.append(nearest)
    return partners


def _overlaps(regions: list[_Drawn]) -> np.ndarray:
    """IoU of each region with each, float (N, N); 0 between images of two sizes."""
    if not regions:
        return np.zeros((0, 0))
    rles = [region.rle for region in regions]
    sizes = [tuple(rle["size"]) for rle in rles]
    same = np.array([[a == b for b in sizes] for a in sizes])
    return np.where(same, coco.iou(rles, rles, [0] * len(rles)), 0.0)


def _age(annotation: Annotation) -> tuple:
    return annotation.updated_at, annotation.id
