"""A track as Label Studio keeps it: boxes on some frames, and straight lines between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from backend.errors import RequestError
from backend.json_node import Node
from backend.smart_prompt import bounding_box
from model.prompt import Box

MAX_KEYFRAMES = 100_000
_LAST_FRAME = 100_000_000


class Shape(NamedTuple):
    """A rectangle in percent of the frame, turned clockwise by degrees round its top left corner."""

    x: float
    y: float
    width: float
    height: float
    rotation: float = 0.0


@dataclass(frozen=True)
class Keyframe:
    """A box on a frame.

    frame:   Label Studio's number, from 1.
    enabled: whether the object is still seen after this frame; it is seen on it in any case.
    """

    frame: int
    shape: Shape
    enabled: bool = True

    def is_like(self, other: Keyframe) -> bool:
        """Whether both say the same, but for rounding."""
        same = all(abs(a - b) < 1e-6 for a, b in zip(self.shape, other.shape, strict=True))
        return same and self.frame == other.frame and self.enabled == other.enabled

    def box(self, height: int, width: int) -> Box:
        """The part of the frame that it covers, in pixels. Raises RequestError where there is none."""
        return bounding_box(Node(self.shape._asdict(), f"the box on frame {self.frame}"), height, width)


def read_sequence(sequence: Node) -> list[Keyframe]:
    """The keyframes of a `videorectangle`, by their frames. Raises RequestError for a damaged one."""
    found: dict[int, Keyframe] = {}
    for node in sequence.items(MAX_KEYFRAMES):
        x, y = (node[side].number(-1000, 1000) for side in ("x", "y"))
        width, height = (node[side].number(0, 1000) for side in ("width", "height"))
        shape = Shape(x, y, width, height, node["rotation"].number(-360, 360, default=0))
        frame = node["frame"].whole(0, _LAST_FRAME)
        found[frame] = Keyframe(frame, shape, node["enabled"].flag(default=True))
    if not found:
        raise RequestError(f"`{sequence.path}` holds no box: draw one")
    return [found[frame] for frame in sorted(found)]


def write_sequence(keyframes: Sequence[Keyframe], rate: float) -> list[dict[str, Any]]:
    """The `sequence` of a `videorectangle`; `time` is Label Studio's, a frame later than the picture."""
    return [k.shape._asdict() | {"frame": k.frame, "enabled": k.enabled, "time": k.frame / rate} for k in keyframes]


def interpolated(keyframes: Sequence[Keyframe], frame: int) -> Shape | None:
    """What Label Studio draws on a frame, None where it draws nothing; rotations go the shorter way round."""
    before = [k for k in keyframes if k.frame <= frame][-1:]
    if not before or not (before[0].enabled or before[0].frame == frame):
        return None
    after = next((k for k in keyframes if k.frame > frame), None)
    if after is None:
        return before[0].shape
    share = (frame - before[0].frame) / (after.frame - before[0].frame)
    turn = (after.shape.rotation - before[0].shape.rotation + 180) % 360 - 180
    target = after.shape._replace(rotation=before[0].shape.rotation + turn)
    return Shape(*(a + (b - a) * share for a, b in zip(before[0].shape, target, strict=True)))


def iou(box: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    across, down = (max(0.0, min(box[i + 2], other[i + 2]) - max(box[i], other[i])) for i in (0, 1))
    areas = [(each.x1 - each.x0) * (each.y1 - each.y0) for each in (box, other)]
    return across * down / (sum(areas) - across * down)


def simplified(boxes: Mapping[int, Box | None], height: int, width: int, tolerance: float) -> list[Keyframe]:
    """The fewest keyframes that a greedy walk finds for tight boxes, in pixels, on Label Studio's frames.

    boxes:     frame (ascending, none left out) to box, None where the object is gone.
    tolerance: pixels that an edge may be off on any frame.

    What ends before the last frame ends in a keyframe that is not enabled, so that nothing is drawn after it.
    """
    keyframes: list[Keyframe] = []
    run: list[tuple[int, Box]] = []
    for frame, box in boxes.items():
        if box is not None:
            run.append((frame, box))
        elif run:
            keyframes += _line(run, height, width, tolerance, goes_on=False)
            run = []
    return keyframes + (_line(run, height, width, tolerance, goes_on=True) if run else [])


def _line(run: Sequence[tuple[int, Box]], height: int, width: int, tolerance: float, goes_on: bool) -> list[Keyframe]:
    """Keyframes of one stretch in which the object is seen: Douglas and Peucker's way (Cartographica 10, 1973), with
    the edges' greatest distance in place of a line's."""
    frames = np.array([frame for frame, _ in run], dtype=float)
    edges = np.array([box for _, box in run], dtype=float)
    kept = {0, len(run) - 1}
    open_parts = [(0, len(run) - 1)]
    while open_parts:
        first, last = open_parts.pop()
        if last - first < 2:
            continue
        share = ((frames[first : last + 1] - frames[first]) / (frames[last] - frames[first]))[:, None]
        off = np.abs(edges[first : last + 1] - (edges[first] + share * (edges[last] - edges[first]))).max(axis=1)
        worst = int(off.argmax())
        if off[worst] > tolerance:
            kept.add(first + worst)
            open_parts += [(first, first + worst), (first + worst, last)]
    order = sorted(kept)
    return [Keyframe(run[i][0], _shape(run[i][1], height, width), goes_on or i != order[-1]) for i in order]


def _shape(box: Box, height: int, width: int) -> Shape:
    x0, y0, x1, y1 = box
    return Shape(100 * x0 / width, 100 * y0 / height, 100 * (x1 - x0) / width, 100 * (y1 - y0) / height)
