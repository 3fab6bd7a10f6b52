"""One region, as the results that Label Studio shows and saves as one region."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backend import closed_list, masks
from backend.json_node import Node
from backend.labeling_config import LabelingConfig, WordField
from model.region import FIELDS, Region

_ID_LETTERS = string.ascii_letters + string.digits

_PLURALS = (r"(?<=\w\w)ies$", "y"), (r"(?<=s|x|z)es$", ""), (r"(?<=ch|sh)es$", ""), (r"(?<=[^su])s$", "")


def new_region_id() -> str:
    """An id that no other region has: it is the only thread from a suggestion to its correction.

    Twelve letters and digits, 71 random bits: a longer one breaks the lines of Label Studio's region panel.
    """
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(12))


def answer(
    region: Region, config: LabelingConfig, region_id: str, label: str | None, polygon_tolerance: float
) -> list[dict[str, Any]]:
    """The results of `region`: its mask in the tag that takes masks, then each of its words in the tag that holds it.

    All share `region_id`, which makes them one region on the screen, and stays when an annotator accepts it. A polygon
    that has several parts stays one region too: its parts are joined by seams, so that its words belong to all of it,
    and a reader of the saved polygon (`masks.from_polygons`) gets the whole mask back. A word that a closed list does
    not hold, and a word that the model left empty, is left out for the annotator to say.

    label:             what the annotator pointed with, or None.
    polygon_tolerance: in pixels; see `masks.to_polygons`.

    An empty mask has no results.
    """
    if not region.mask.any():
        return []
    height, width = region.mask.shape
    common = {"id": region_id, "to_name": config.image, "original_width": width, "original_height": height}

    def result(name: str, type: str, value: dict[str, Any]) -> dict[str, Any]:
        return common | {"image_rotation": 0, "from_name": name, "type": type, "value": value}

    output = config.output
    value = _shape(region.mask, output.type, polygon_tolerance)
    if output.type.endswith("labels"):
        chosen = _label(config, region.words.category, label)
        value[output.type] = [] if chosen is None else [chosen]
    results = [result(output.name, output.type, value) | {"score": round(float(region.score), 4)}]
    for field in FIELDS:
        word = config.words.get(field)
        said = worded(word, region.words[field]) if word is not None and word.name != output.name else None
        if word is not None and said is not None:
            results.append(result(word.name, word.kind, {"text" if word.kind == "textarea" else word.kind: [said]}))
    return results


def with_given(results: Sequence[dict[str, Any]], given: Sequence[Node]) -> list[dict[str, Any]]:
    """`results` of one region with what annotators said in fields of their own: it stands as they said it.

    given: results of such fields, oldest first.
    """
    said = {str(each["from_name"].value): each for each in given} if results else {}
    kept = [result for result in results if result["from_name"] not in said]
    common = {key: results[0][key] for key in ("id", "to_name", "original_width", "original_height")} if said else {}
    for name, each in said.items():
        type = each["type"].text()
        key = "text" if type == "textarea" else type
        value = {key: each["value"][key].value}
        kept.append(common | {"image_rotation": 0, "from_name": name, "type": type, "value": value})
    return kept


def _shape(mask: np.ndarray, type: str, tolerance: float) -> dict[str, Any]:
    """The mask as the value of a result of `type`; lengths are percent of the image's sides."""
    height, width = mask.shape
    if type.startswith("brush"):
        return {"format": "rle", "rle": masks.to_brush_rle(mask)}
    if type.startswith("polygon"):
        ring = masks.to_one_polygon(mask, tolerance) * (100 / width, 100 / height)
        return {"points": ring.tolist(), "closed": True}
    x0, y0, x1, y1 = masks.bounding_box(mask)
    across, down = 100 / width, 100 / height
    return {
        "x": x0 * across, "y": y0 * down, "width": (x1 - x0) * across, "height": (y1 - y0) * down, "rotation": 0,
    }  # fmt: skip


def _label(config: LabelingConfig, category: str, pointed_with: str | None) -> str | None:
    """The label of the mask: what the annotator chose to point with, else what the model says, else the only one.

    Pointing with the only label of a tool is no choice, so there the model is asked first.
    """
    labels = config.output.labels
    if (chosen := closed_list.annotators_choice(config, pointed_with)) is not None:
        return chosen
    mine = pointed_with if pointed_with in labels else None
    word = config.words.get("category")
    if word is None or word.name != config.output.name:
        word = WordField(config.output.name, "label", tuple((each,) for each in labels), labels)
    said = _option(word, category)
    only = labels[0] if len(labels) == 1 else None
    return said[0] if said else mine or only


def worded(word: WordField, text: str) -> str | list[str] | None:
    """`text` as the tag `word` takes it, or None when it has nothing to say or may not say it."""
    if word.kind == "textarea":
        return text.strip() or None
    option = _option(word, text)
    if option is None:
        return None
    return list(option) if word.kind == "taxonomy" else option[-1]


def _option(word: WordField, text: str) -> tuple[str, ...] | None:
    """The option of a closed list that `text` names: by its letters, else by its words, else in singular or plural.

    A label that was chosen from the list (see closed_list.py) always names one. Free text may name none, or more than
    one, and then is None: a wrong word is worse than none.
    """
    if (chosen := closed_list.labels(word).get(text)) is not None:
        return chosen
    readings: tuple[Callable[[str], str], ...] = (str.strip, str.casefold, _plain, _singular)
    for reading in readings:
        names = [{reading(shown), reading(option[-1])} for option, shown in zip(word.options, word.shown, strict=True)]
        named = [option for option, name in zip(word.options, names, strict=True) if reading(text) in name - {""}]
        if named:
            return named[0] if len(named) == 1 else None
    return None


def _plain(text: str) -> str:
    """`text` in lower case without its article and punctuation: "The traffic-light." is "traffic light"."""
    words = re.sub(r"[\W_]+", " ", text.casefold()).split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)


def _singular(text: str) -> str:
    """`_plain` with the ending of its last word taken off that an English plural has."""
    plain = _plain(text)
    for ending, singular in _PLURALS:
        shorter, changed = re.subn(ending, singular, plain)
        if changed:
            return shorter
    return plain
