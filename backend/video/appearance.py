"""Where an object of a video is looked at, for its like to be found."""

from __future__ import annotations

from collections.abc import Iterable

from backend.ledger.tracks import FrameMask, Track
from backend.masks import from_coco_rle
from model.prompt import Prompt


def appearance(track: Track, masks: Iterable[FrameMask]) -> FrameMask | None:
    """Of its masks, the one on the first frame that it was boxed on, or else on the first that it was seen on.

    None where no mask shows it.
    """
    first = None
    for mask in masks:
        if mask.box is None:
            continue
        if track.anchors and mask.frame == track.anchors[0].index:
            return mask
        first = first or mask
    return first


def prompt_of(track: Track, shown: FrameMask) -> Prompt:
    """The object as a model is shown it on that frame. Raises MaskError for a damaged mask."""
    return Prompt(box=shown.box, mask=from_coco_rle(shown.rle, track.height, track.width))
