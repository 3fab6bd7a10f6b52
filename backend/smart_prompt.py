"""What an annotator points at, read from the context of POST /predict."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from backend import masks
from backend.annotations import words_in
from backend.errors import RequestError
from backend.json_node import Node
from backend.labeling_config import LabelingConfig
from backend.predict_request import Saved
from model.prompt import Box, Point, Prompt

MAX_PROMPTS = 200
STALE_AFTER = timedelta(minutes=10)

_LARGEST_SIDE = 1 << 20
_FURTHEST_PERCENT = 1000.0  # a box may reach over the image's edge, but what lies ten images away is damage


@dataclass(frozen=True, eq=False)
class SmartPrompt:
    """What an annotator points at.

    prompt:    in pixels of the image, whose size Label Studio claims to be `height` x `width`: check it against the
               picture before use.
    label:     the label that the newest drawing carries, or None.
    words:     results of fields for words that annotators filled in for these drawings while they were open, oldest
               first.
    ids:       of the drawings that `prompt` is made of, oldest first.
    stale_ids: of those left out because they are left over from earlier work.
    """

    prompt: Prompt
    height: int
    width: int
    label: str | None
    words: tuple[Node, ...]
    ids: tuple[str, ...]
    stale_ids: tuple[str, ...]


def read_prompt(
    context: Sequence[Node],
    config: LabelingConfig,
    *,
    now: datetime,
    max_pixels: int,
    saved: Collection[Saved] = (),
    known_stale: Collection[str] = (),
    stale_after: timedelta = STALE_AFTER,
) -> SmartPrompt | None:
    """What the drawings in `context` mean together, or None where nobody points at anything.

    All clicks count, oldest first; of boxes the newest, by its bounding box where it is turned; brush strokes are
    merged into one mask. None is for a change of a word or a label of a region that exists (see follow.py), and for
    drawings of other tags. A drawing of a tool that draws no regions stays a prompt when words are given to it.

    A drawing other than the newest is left over, and does not count, when a draft or annotation that nobody touched for
    `stale_after` before `now` (aware) holds it, when its id is in `known_stale`, or when it is a click without sign and
    label, as those restored from a draft are. Label Studio saves such a drawing again with the next draft, which makes
    it look new: whoever asks should remember `stale_ids` for the next click.

    Raises RequestError for damaged drawings, for a click outside of the image, and for more than `max_pixels`.
    """
    drawn = _drawings(context, config)
    if not drawn:
        return None
    if len(drawn) > MAX_PROMPTS:
        raise RequestError(f"{len(drawn)} open prompts, more than the {MAX_PROMPTS} that are read: delete some")
    newest = drawn[-1]
    old = {*known_stale, *(id for s in saved if now - s.updated_at > stale_after for id in s.region_ids)}
    stale = [drawing for drawing in drawn[:-1] if _id(drawing) in old or _has_lost_its_sign(drawing)]
    fresh = [drawing for drawing in drawn if drawing not in stale]
    height, width = _size(newest, max_pixels)
    for drawing in fresh:
        if _size(drawing, max_pixels) != (height, width):
            raise RequestError(f"`{drawing.path}` and `{newest.path}` are drawn on images of different sizes")
    return SmartPrompt(
        prompt=_prompt(fresh, height, width),
        height=height,
        width=width,
        label=_label(newest, context),
        words=tuple(_said(context, config, [_id(drawing) for drawing in fresh])),
        ids=tuple(map(_id, fresh)),
        stale_ids=tuple(map(_id, stale)),
    )


def _drawings(context: Sequence[Node], config: LabelingConfig) -> list[Node]:
    """The results that smart tools drew on the image, less those that are regions already: a region carries words."""
    named = [result["id"].value for result in _words(context, config)]
    tools = [(control.name, control.type, config.image) for control in config.prompts]
    return [
        result
        for result in context
        if (result["from_name"].value, result["type"].value, result["to_name"].value) in tools
        and not (result["from_name"].value == config.output.name and result["id"].value in named)
    ]


def _words(context: Sequence[Node], config: LabelingConfig) -> Iterator[Node]:
    """The results of fields for words."""
    fields = [word.name for word in config.words.values() if word.kind != "label"]
    return (result for result in context if result["from_name"].value in fields)


def _said(context: Sequence[Node], config: LabelingConfig, ids: Sequence[str]) -> Iterator[Node]:
    """Those of the drawings with these ids that hold a text."""
    for result in _words(context, config):
        if result["id"].value in ids and any(words_in([result], config).values()):
            yield result


def _has_lost_its_sign(drawing: Node) -> bool:
    """Whether it is a click restored from a draft, in which Label Studio keeps neither `is_positive` nor the label."""
    label = drawing["value"]["keypointlabels"]
    return drawing["type"].value == "keypointlabels" and drawing["is_positive"].is_missing and not label.value


def _prompt(drawings: Sequence[Node], height: int, width: int) -> Prompt:
    points: list[Point] = []
    box: Box | None = None
    mask: np.ndarray | None = None
    for drawing in drawings:
        match drawing["type"].text().removesuffix("labels"):
            case "keypoint":
                points.append(_point(drawing, height, width))
            case "rectangle":
                box = bounding_box(drawing["value"], height, width)
            case "brush":
                strokes = masks.from_brush_rle(_rle(drawing["value"]), height, width)
                mask = strokes if mask is None else mask | strokes
    return Prompt(tuple(points), box, mask)


def _point(drawing: Node, height: int, width: int) -> Point:
    x, y = (drawing["value"][axis].number(0, 100) / 100 for axis in "xy")
    return Point(x * width, y * height, drawing["is_positive"].flag(default=True))


def bounding_box(value: Node, height: int, width: int) -> Box:
    """The bounding box, in pixels, of a rectangle in percent that is turned clockwise round its top left corner, cut
    to the image. Raises RequestError where nothing is left of it."""
    left, top = (value[axis].number(-_FURTHEST_PERCENT, _FURTHEST_PERCENT) for axis in "xy")
    across, down = (value[side].number(0, _FURTHEST_PERCENT) for side in ("width", "height"))
    angle = math.radians(value["rotation"].number(-360, 360, default=0))
    sides = np.array([[0, 0], [across, 0], [across, down], [0, down]]) * (width / 100, height / 100)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    corners = sides @ turn + (left * width / 100, top * height / 100)
    x0, y0 = np.maximum(corners.min(axis=0), 0).tolist()
    x1, y1 = np.minimum(corners.max(axis=0), (width, height)).tolist()
    if not (x0 < x1 and y0 < y1):
        raise RequestError(f"the box in `{value.path}` is empty or lies outside of the image: draw it on the image")
    return Box(x0, y0, x1, y1)


def _rle(value: Node) -> list[int]:
    if value["format"].value != "rle" or not isinstance(value["rle"].value, list):
        raise RequestError(f'`{value.path}` must hold a brush mask: a list `rle`, and `format` "rle"')
    return value["rle"].value


def _size(drawing: Node, max_pixels: int) -> tuple[int, int]:
    height = drawing["original_height"].whole(1, _LARGEST_SIDE)
    width = drawing["original_width"].whole(1, _LARGEST_SIDE)
    if height * width > max_pixels:
        raise RequestError(
            f"`{drawing.path}` is drawn on {width} x {height} pixels, more than the {max_pixels} that are read",
            code="image_too_large",
            status=413,
        )
    if drawing["image_rotation"].number(-360, 360, default=0) % 360:
        raise RequestError("the image is turned in Label Studio: turn it back (image_rotation 0), then click again")
    return height, width


def _label(drawing: Node, context: Sequence[Node]) -> str | None:
    """A tool with labels carries its own; with a plain tool it stands in a result of type "labels" of the same id."""
    for result in (drawing, *(other for other in context if other["id"].value == drawing["id"].value)):
        for label in result["value"][result["type"].text()].items(MAX_PROMPTS):
            return label.text()
    return None


def _id(drawing: Node) -> str:
    return drawing["id"].text()
