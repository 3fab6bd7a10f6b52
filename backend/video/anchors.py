"""What an annotator means by the boxes of a region: which were drawn by hand since the last answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backend.errors import RequestError
from backend.ledger.tracks import Anchor, Track
from backend.video.grid import Grid
from backend.video.keyframes import Keyframe, interpolated, iou

MAX_ANCHORS = 1000
_SAME_PIXELS = 1e-3


def drawn(keyframes: Sequence[Keyframe], sent: Sequence[Keyframe]) -> list[Keyframe]:
    """The keyframes that an annotator drew, moved, or switched on or off since `sent` was answered."""
    known = {keyframe.frame: keyframe for keyframe in sent}
    return [k for k in keyframes if k.frame not in known or not k.is_like(known[k.frame])]


def overlap(drawn: Keyframe, sent: Sequence[Keyframe], height: int, width: int) -> float | None:
    """IoU of a box that was drawn and what `sent` shows on its frame: 0 where the object is gone there; None where
    `sent` says nothing of the frame, which lies before or after all that was answered."""
    if not sent or not sent[0].frame <= drawn.frame <= sent[-1].frame:
        return None
    shape = interpolated(sent, drawn.frame)
    try:
        return 0.0 if shape is None else iou(Keyframe(drawn.frame, shape).box(height, width), drawn.box(height, width))
    except RequestError:  # one of them lies outside of the picture
        return 0.0


def anchored(track: Track, keyframes: Sequence[Keyframe], sent: Sequence[Keyframe], grid: Grid) -> Track:
    """`track` with what an annotator made of the keyframes that were `sent`.

    A box that was drawn or moved is an anchor: the object is followed from there anew. An anchor whose keyframe was
    removed is one no more, unless it is the last. A keyframe after which the object was switched off hides it until the
    next keyframe; one that was switched on is an anchor. Raises RequestError for boxes outside of the picture, and
    where there are too many.
    """
    new = drawn(keyframes, sent)
    present = {keyframe.frame for keyframe in keyframes}
    removed = {keyframe.frame for keyframe in sent} - present
    numbers = {keyframe.frame for keyframe in new}
    by_index = {a.index: a for a in track.anchors if a.number not in removed}
    hidden = [stretch for stretch in track.hidden if stretch[0] - 1 not in numbers]
    known = {keyframe.frame: keyframe for keyframe in sent}
    id = max((anchor.id for anchor in track.anchors), default=0)
    for keyframe in new:
        was = known.get(keyframe.frame)
        if not keyframe.enabled:
            after = next((k.frame for k in keyframes if k.frame > keyframe.frame), grid.count + 1)
            hidden.append((keyframe.frame + 1, after - 1))
            if was is not None and replace(was, enabled=False).is_like(keyframe):
                continue
        index, box = grid.at(keyframe.frame), keyframe.box(track.height, track.width)
        # An answer that the screen never showed leaves the box that was drawn: the object is followed from it already.
        if index not in by_index or not np.allclose(by_index[index].box, box, atol=_SAME_PIXELS):
            id += 1
            by_index[index] = Anchor(id, index, keyframe.frame, box, overlap(keyframe, sent, track.height, track.width))
    if not by_index:
        by_index = {anchor.index: anchor for anchor in track.anchors}
    if len(by_index) > MAX_ANCHORS:
        raise RequestError(f"{len(by_index)} boxes were drawn by hand, more than the {MAX_ANCHORS} that are followed")
    return replace(track, anchors=tuple(by_index[i] for i in sorted(by_index)), hidden=tuple(sorted(set(hidden))))
