"""An annotation, read back: the regions that an annotator left behind, and the prompts that they came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.errors import RequestError
from backend.json_node import Node
from backend.labeling_config import LabelingConfig, WordField
from backend.masks import MaskError, from_brush_rle, from_polygons
from backend.suggestion import Suggestion
from backend.webhook_event import Annotation
from model.prompt import Box, Point
from model.region import FIELDS


@dataclass(frozen=True, eq=False)
class CorrectedRegion:
    """One region as the annotator submitted it.

    image_address: as the task's data has it.
    mask:          bool (H, W), not empty, at the size of the upright image.
    words:         field to text, "" where the annotator left none; every one of FIELDS is there.
    points, box:   the prompt that the region was suggested for, in pixels of the upright image; nothing where the
                   region was drawn by hand.
    model_version: the model that suggested it, or None.
    """

    region_id: str
    project_id: int
    task_id: int
    annotation_id: int
    image_address: str
    mask: np.ndarray
    words: Mapping[str, str]
    points: tuple[Point, ...] = ()
    box: Box | None = None
    model_version: str | None = None


@dataclass(frozen=True)
class LeftOut:
    """Something that could not be taken over, and why."""

    task_id: int
    reason: str
    annotation_id: int | None = None
    region_id: str | None = None


def corrected_regions(
    annotation: Annotation,
    config: LabelingConfig,
    suggestion_of: Callable[[str], Suggestion | None],
    max_pixels: int,
) -> Iterator[CorrectedRegion | LeftOut]:
    """The regions of `annotation`, one at a time, since each holds a mask; LeftOut in place of one that has none.

    Prompts that stayed in the annotation are no regions. suggestion_of: region id to what was suggested under it.
    max_pixels: largest mask that is read; what an annotation says of its image's size is not trusted further.
    None of a video: its objects are `backend.dataset.masklets`.
    """
    if config.video:
        return
    for region_id, results in by_region(annotation.result).items():
        try:
            words = words_in(results, config)
            if not any(is_mask(result, config) for result in results) and not any(words.values()):
                continue
            mask = mask_in(results, config, max_pixels)
        except (RequestError, MaskError) as error:
            yield LeftOut(annotation.task_id, error.message, annotation.id, region_id)
            continue
        suggestion = suggestion_of(region_id)
        # The image behind an address may have been exchanged: clicks on another one say nothing of this mask.
        fits = suggestion is not None and (suggestion.height, suggestion.width) == mask.shape
        yield CorrectedRegion(
            region_id=region_id,
            project_id=annotation.project_id,
            task_id=annotation.task_id,
            annotation_id=annotation.id,
            image_address=str(annotation.task_data.get(config.data_key) or ""),
            mask=mask,
            words=words,
            points=suggestion.points if suggestion and fits else (),
            box=suggestion.box if suggestion and fits else None,
            model_version=suggestion.model_version if suggestion else None,
        )


def words_in(results: Sequence[Node], config: LabelingConfig) -> dict[str, str]:
    """Each of FIELDS to what the results of one region say there, with single spaces; "" where they say nothing."""
    return {field: _words(config.words.get(field), results) for field in FIELDS}


def mask_in(results: Sequence[Node], config: LabelingConfig, max_pixels: int) -> np.ndarray:
    """What the results of one region cover together, bool (H, W); MaskError or RequestError where it has no mask."""
    return _mask([result for result in results if is_mask(result, config)], max_pixels)


def by_region(results: Sequence[Any]) -> dict[str, list[Node]]:
    """Results, raw, by the id of their region; relations between regions have none."""
    regions: dict[str, list[Node]] = {}
    for index, result in enumerate(results):
        if (name := region_id(result)) is not None:
            regions.setdefault(name, []).append(Node(result, f"result[{index}]"))
    return regions


def region_id(result: object) -> str | None:
    """The id of the region that a result belongs to; None for one that belongs to none, such as a relation."""
    name = result.get("id") if isinstance(result, dict) else None
    return _text(name) if isinstance(name, str) else None


def is_mask(result: Node, config: LabelingConfig) -> bool:
    """Whether a result draws an object; one from a tag that has left the config since counts, a prompt does not."""
    name = result["from_name"].value
    is_prompt = name != config.output.name and name in [control.name for control in config.prompts]
    return result["type"].value in list(_MASKS) and not is_prompt


def _words(field: WordField | None, results: Sequence[Node]) -> str:
    """What the annotator wrote or chose for one field; several entries are joined."""
    if field is None:
        return ""
    if field.kind == "textarea":
        return " ".join(filter(None, map(_text, _entries_of(field, results))))
    # An option may be written as an alias; what the annotator read, and a model should learn, is what was shown.
    shown = dict(zip(field.options, field.shown, strict=False))
    return ", ".join(dict.fromkeys(_text(shown.get(path) or path[-1]) for path in chosen(field, results)))


def chosen(field: WordField, results: Sequence[Node]) -> list[tuple[str, ...]]:
    """The options of a list that the results of one region hold, each as its path; none of a text area."""
    if field.kind == "textarea":
        return []
    entries = _entries_of(field, results)
    paths = [tuple(map(_text, entry if isinstance(entry, list) else [entry])) for entry in entries]
    return [path for path in paths if any(path)]


def _entries_of(field: WordField, results: Sequence[Node]) -> list[Any]:
    return [e for result in results if result["from_name"].value == field.name for e in _entries(result, field)]


def _entries(result: Node, field: WordField) -> list[Any]:
    """The entries in a result of a word field: under the key `text` for a text area, else under the result's type."""
    kind = result["type"].text()
    entries = result["value"]["text" if field.kind == "textarea" else _LABELS_OF.get(kind, kind)].value
    return entries if isinstance(entries, list) else [entries]


def _text(value: object) -> str:
    """A text with single spaces, such as UTF-8 can hold; "" for anything else."""
    return " ".join(value.split()).encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _mask(results: Sequence[Node], max_pixels: int) -> np.ndarray:
    """What the results of one region cover together; raises MaskError or RequestError where that cannot be read."""
    if not results:
        raise MaskError("the region has words but no mask")
    sizes = {_size(result, max_pixels) for result in results}
    if len(sizes) > 1:
        raise MaskError(f"its parts disagree about the size of the image (height, width): {sorted(sizes)}")
    mask = np.zeros(sizes.pop(), dtype=bool)
    for result in results:
        mask |= _MASKS[result["type"].text()](result["value"], *mask.shape)
    if not mask.any():
        raise MaskError("its mask is empty")
    return mask


def _size(result: Node, max_pixels: int) -> tuple[int, int]:
    height, width = result["original_height"].whole(1), result["original_width"].whole(1)
    if height * width > max_pixels:
        raise MaskError(f"it is said to lie on {width} x {height} pixels, more than the {max_pixels} that are read")
    if result["image_rotation"].number(-360, 360, default=0) % 360:
        raise MaskError("it was drawn on a turned view of the image, which is not supported: turn it back")
    return height, width


def _brush(value: Node, height: int, width: int) -> np.ndarray:
    rle = value["rle"].value
    if not isinstance(rle, list):
        raise MaskError(f"`{value.path}` holds no brush mask: it needs a list `rle`")
    return from_brush_rle(rle, height, width)


def _polygon(value: Node, height: int, width: int) -> np.ndarray:
    corners = [_corner(point) for point in value["points"].items(_MOST_POINTS)]
    return from_polygons([np.array(corners).reshape(-1, 2) * (width / 100, height / 100)], height, width)


def _corner(point: Node) -> tuple[float, float]:
    if len(point.items(2)) != 2:
        raise MaskError(f"`{point.path}` must hold x and y")
    x, y = (number.number(-_FURTHEST, _FURTHEST) for number in point.items(2))
    return x, y


def _rectangle(value: Node, height: int, width: int) -> np.ndarray:
    """Label Studio turns a rectangle about its top left corner, clockwise, in pixels (not in percent)."""
    corner = np.array([value[axis].number(-_FURTHEST, _FURTHEST) for axis in "xy"]) * (width / 100, height / 100)
    across, down = (value[side].number(0, _FURTHEST) / 100 for side in ("width", "height"))
    angle = math.radians(value["rotation"].number(-_FURTHEST, _FURTHEST, default=0))
    along = across * width * np.array([math.cos(angle), math.sin(angle)])
    downwards = down * height * np.array([-math.sin(angle), math.cos(angle)])
    ring = np.array([corner, corner + along, corner + along + downwards, corner + downwards])
    return from_polygons([ring], height, width)


_LABELS_OF = {"videorectangle": "labels"}
"""Where the labels of a result stand, if not under its type."""

_FURTHEST = 1000.0
"""Percent, or degrees: a region may reach over the image's edge, but what lies ten images away is damage."""

_MOST_POINTS = 100_000

_MASKS: Mapping[str, Callable[[Node, int, int], np.ndarray]] = {
    "brushlabels": _brush,
    "brush": _brush,
    "polygonlabels": _polygon,
    "polygon": _polygon,
    "rectanglelabels": _rectangle,
    "rectangle": _rectangle,
}
"""Type of a result to the reader of its value."""
