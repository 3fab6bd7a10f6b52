"""From a track's anchors to the frames that are still to be followed, and from its masks to boxes on the screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from backend.ledger.tracks import Anchor, FrameMask, Key, Track, Tracks
from backend.masks import from_coco_rle
from backend.video.grid import Grid
from model.prompt import Box, Point, Prompt

BEHIND = 3
"""Anchors behind a stretch that are shown to the model before it: each costs a frame."""

DOT = 0.0125
"""Sides, relative to the longer side of the picture, up to which a box is a click in its middle."""


@dataclass(frozen=True)
class Stretch:
    """Frames to follow an object through, from a prompt on the first of them.

    start, stop: as in `range(start, stop, step)`, step being 1 or, backward, -1; `stop` may be -1.
    is_known:    whether the first frame's mask is in the ledger already.
    behind:      frames that it does not go through, and what the object is known to be there.
    """

    anchor: int
    prompt: Prompt
    start: int
    stop: int
    backward: bool = False
    is_known: bool = False
    behind: Mapping[int, Prompt] = field(default_factory=dict)

    def __len__(self) -> int:
        return abs(self.stop - self.start) - self.is_known


def meant(box: Box, height: int, width: int) -> Prompt:
    """What a drawn box says: one as small as a dot is a click, which Label Studio does not have on videos."""
    most = DOT * max(height, width)
    if box.x1 - box.x0 > most or box.y1 - box.y0 > most:
        return Prompt(box=box)
    return Prompt(points=(Point((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2),))


def stretches(track: Track, known: Iterable[FrameMask], most: int) -> list[Stretch]:
    """The ways that the object is still to be followed: from each anchor to the next, and from the first backward.

    known: the masks that there are. most: frames to follow an object from one anchor, each way.
    A way that was broken off is taken up on its last frame on which the object was seen.
    """
    known = list(known)
    reached = _reached(track, known)
    ways = []
    for anchor, end in zip(track.anchors, [*(a.index for a in track.anchors[1:]), track.frames], strict=True):
        ways.append(_way(track, anchor, min(end, anchor.index + most), 1, reached))
    first = track.anchors[0]
    if first.index:
        ways.append(_way(track, first, max(-1, first.index - most - 1), -1, reached))
    shown = {mask.frame: mask for mask in known if mask.box is not None}
    # A click after what lies behind would mend the mask that was followed to it.
    return [
        way if way.prompt.points else replace(way, behind=_behind(track, way, shown))
        for way in ways
        if way is not None and len(way)
    ]


def is_untold(tracks: Tracks, key: Key) -> bool:
    """Whether there is a frame whose mask is known and that is in no event."""
    events = iter(tracks.events.of(key))
    event = next(events, None)
    for mask in tracks.masks(key):
        while event is not None and event.last < mask.frame:
            event = next(events, None)
        if event is None or mask.frame < event.first:
            return True
    return False


def boxes(track: Track, known: Iterable[FrameMask], grid: Grid) -> tuple[dict[int, Box | None], float]:
    """The object's box on each of Label Studio's frames, None where it is gone; and the mean score of its masks.

    A stretch that is not followed yet counts as gone.
    """
    by_index = {mask.frame: mask for mask in known}
    seen = [mask.score for mask in by_index.values() if mask.box is not None]
    if not seen:
        return {}, 0.0
    numbers = np.flatnonzero((grid.shown >= min(by_index)) & (grid.shown <= max(by_index))) + 1
    shown: dict[int, Box | None] = {}
    for number in numbers.tolist():
        mask = by_index.get(grid.at(number))
        shown[number] = mask.box if mask else None
    for first, last in track.hidden:
        shown |= dict.fromkeys((n for n in range(first, min(last, grid.count) + 1) if n in shown), None)
    for anchor in track.anchors:
        if anchor.number in shown and (mask := by_index.get(anchor.index)):
            shown[anchor.number] = mask.box
    if numbers.size and numbers[-1] < grid.count:
        shown[int(numbers[-1]) + 1] = None
    return shown, float(np.mean(seen))


def _reached(track: Track, known: Iterable[FrameMask]) -> dict[tuple[int, int], tuple[int, FrameMask | None]]:
    """Anchor and direction to the furthest frame that is known, and the furthest mask on which the object is seen."""
    found: dict[tuple[int, int], tuple[int, FrameMask | None]] = {}
    starts = {anchor.id: anchor.index for anchor in track.anchors}
    for mask in known:
        ahead = mask.frame - starts.get(mask.anchor, mask.frame)
        for step in (1, -1):
            if ahead * step < 0:
                continue
            furthest, seen = found.get((mask.anchor, step), (mask.frame, None))
            if step * (mask.frame - furthest) >= 0:
                furthest = mask.frame
            if mask.box is not None and (seen is None or step * (mask.frame - seen.frame) > 0):
                seen = mask
            found[mask.anchor, step] = furthest, seen
    return found


def _behind(track: Track, way: Stretch, shown: Mapping[int, FrameMask]) -> dict[int, Prompt]:
    """The anchors nearest to a stretch on the side that it leads away from: what was drawn there stays remembered."""
    step = -1 if way.backward else 1
    offset = {a.index: step * (way.start - a.index) for a in track.anchors}
    past = sorted((a for a in track.anchors if offset[a.index] > 0), key=lambda a: offset[a.index])
    found = {}
    for anchor in past[:BEHIND]:
        mask = shown.get(anchor.index)
        if mask is not None and mask.anchor == anchor.id:
            found[anchor.index] = Prompt(mask=from_coco_rle(mask.rle, track.height, track.width))
        else:
            found[anchor.index] = meant(anchor.box, track.height, track.width)
    return found


def _way(
    track: Track, anchor: Anchor, stop: int, step: int, reached: dict[tuple[int, int], tuple[int, FrameMask | None]]
) -> Stretch | None:
    furthest, seen = reached.get((anchor.id, step), (anchor.index, None))
    if seen is not None and furthest == stop - step:
        return None
    if seen is None or seen.frame == anchor.index:
        # The way forward brings the anchor's own mask.
        prompt = meant(anchor.box, track.height, track.width)
        return Stretch(anchor.id, prompt, anchor.index, stop, step < 0, step < 0 or seen is not None)
    mask = from_coco_rle(seen.rle, track.height, track.width)
    return Stretch(anchor.id, Prompt(mask=mask), seen.frame, stop, step < 0, is_known=True)
