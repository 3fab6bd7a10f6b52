"""What became of a suggestion: accepted as it was, or corrected, and by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from rapidfuzz.distance import Levenshtein
from scipy import ndimage
from skimage.metrics import hausdorff_distance
from skimage.segmentation import find_boundaries

from backend.annotations import CorrectedRegion, mask_in, words_in
from backend.category import category_name, names_category
from backend.json_node import Node
from backend.labeling_config import LabelingConfig
from backend.masks import from_coco_rle, to_coco_rle
from backend.suggestion import Suggestion
from model.region import FIELDS

Kind = Literal["accepted", "corrected", "drawn"]


@dataclass(frozen=True)
class WordChange:
    """What an annotator made of the words that were offered for one field.

    letters, words: how many letters and how many words were inserted, deleted or exchanged (Levenshtein distance).
    share:          `letters` over the length of the longer of the two texts, 0 (kept) to 1 (nothing is left of it).
    """

    offered: str
    written: str
    letters: int
    words: int
    share: float


@dataclass(frozen=True)
class Outcome:
    """What became of the suggestion of one region.

    mask_iou:          of the mask as it was offered and as it was submitted, 0..1; None where nothing was offered, or
                       the image has another size by now.
    boundary_distance: pixels between their outlines: the modified Hausdorff distance, which is the larger of the two
                       mean distances from a point of one outline to the nearest of the other (Dubuisson and Jain, "A
                       modified Hausdorff distance for object matching", ICPR 1994). None where `mask_iou` is.
    words:             field to what became of its words, for fields where something was offered or written.
    """

    kind: Kind
    mask_iou: float | None = None
    boundary_distance: float | None = None
    words: Mapping[str, WordChange] = field(default_factory=dict)


def as_offered(suggestion: Suggestion, results: Sequence[dict[str, Any]], config: LabelingConfig) -> Suggestion:
    """`suggestion` with what the screen shows of it: `results` read back as if they were submitted untouched."""
    nodes = [Node(result, f"result[{index}]") for index, result in enumerate(results)]
    rle = None
    if nodes and not config.output.type.startswith("brush"):
        rle = to_coco_rle(mask_in(nodes, config, suggestion.height * suggestion.width))
    return replace(suggestion, offered=words_in(nodes, config), offered_rle=rle)


def offered_words(suggestion: Suggestion, config: LabelingConfig) -> Mapping[str, str]:
    """Field to text as the screen showed it last, with single spaces."""
    return suggestion.offered if suggestion.offered is not None else _shown(suggestion, config)


def is_outdated(name: str, words: Mapping[str, str], suggestion: Suggestion | None) -> bool:
    """Whether the text of a field, as submitted in `words`, was left as it was offered for another category.

    An explanation speaks of its category in any case; a caption where it names it, unless the new category does so too.
    What the annotator had written before it was offered is theirs.
    """
    text = words[name]
    if suggestion is None or name == "category" or not text or not words["category"]:
        return False
    if suggestion.sources.get(name) == "annotator":
        return False
    offered = suggestion.offered or {}
    first = offered.get("category") or suggestion.category
    if text == offered.get(name):
        of = suggestion.fitted_to or first
    elif text == " ".join(suggestion[name].split()):
        of = first
    else:
        return False
    if not of or category_name(of) == category_name(words["category"]):
        return False
    return name == "explanation" or (names_category(text, of) and not names_category(words["category"], of))


def compare(
    region: CorrectedRegion, suggestion: Suggestion | None, config: LabelingConfig, with_distance: bool = True
) -> Outcome:
    """What became of `suggestion` in the region that an annotator submitted under its id.

    with_distance: whether `boundary_distance`, which takes longer than all else, is wanted; None without.
    """
    if suggestion is None:
        return Outcome("drawn")
    words = word_changes(region.words, suggestion, config)
    if (suggestion.height, suggestion.width) != region.mask.shape:
        return Outcome("corrected", words=words)
    before = from_coco_rle(suggestion.offered_rle or suggestion.mask_rle, suggestion.height, suggestion.width)
    iou = float((before & region.mask).sum() / (before | region.mask).sum())
    is_kept = iou == 1 or suggestion.offered_rle is not None and _is_rounded(before, region.mask)
    kept_words = all(change.letters == 0 for change in words.values())
    distance = _between(before, region.mask) if with_distance else None
    return Outcome("accepted" if is_kept and kept_words else "corrected", iou, distance, words)


def is_refined(earlier: Suggestion, later: Suggestion) -> bool:
    """Whether `later` answered the prompt of `earlier` and more: clicks were added, so that it took its place.

    A smart tool sends all of its open clicks each time. What was found unasked gives way to what was found so later.
    """
    if earlier.unasked or later.unasked:
        return earlier.unasked and later.unasked and later.created_at > earlier.created_at
    return (
        later.created_at > earlier.created_at
        and bool(earlier.points or earlier.box)
        and earlier.box in (None, later.box)
        and set(earlier.points) <= set(later.points)
        and (len(later.points), later.box) != (len(earlier.points), earlier.box)
    )


def word_changes(written: Mapping[str, str], suggestion: Suggestion, config: LabelingConfig) -> dict[str, WordChange]:
    """What became of a suggestion's words, where some were offered or written; written: every one of FIELDS."""
    offered = offered_words(suggestion, config)
    return {
        name: _change(offered.get(name, ""), written[name]) for name in FIELDS if offered.get(name) or written[name]
    }


def _shown(suggestion: Suggestion, config: LabelingConfig) -> dict[str, str]:
    """What the screen must have shown of a suggestion from before that was kept with it."""
    texts = {name: " ".join(suggestion[name].split()) for name in config.words}
    lists = {name: field.shown for name, field in config.words.items() if field.kind != "textarea"}
    return {name: text for name, text in texts.items() if name not in lists or text in lists[name]}


def _change(offered: str, written: str) -> WordChange:
    return WordChange(
        offered,
        written,
        letters=Levenshtein.distance(offered, written),
        words=Levenshtein.distance(offered.split(), written.split()),
        share=Levenshtein.normalized_distance(offered, written),
    )


def _is_rounded(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two masks differ by no more than what rounding does to the corners of a polygon.

    Label Studio keeps them in percent. Pixels whose centres lie on an edge fall to either side of it then, so that no
    pixel further than one from the outline changes. A brush mask comes back pixel for pixel and needs no such grace.
    """
    grown, shrunk = ndimage.binary_dilation(before), ndimage.binary_erosion(before, border_value=1)
    return not (after & ~grown).any() and not (shrunk & ~after).any()


def _between(before: np.ndarray, after: np.ndarray) -> float | None:
    """Pixels between the outlines of two masks of one size, or None where one of them is empty."""
    either = before | after
    rows, columns = np.flatnonzero(either.any(axis=1)), np.flatnonzero(either.any(axis=0))
    if not before.any() or not after.any():
        return None
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # A mask that ends at the image's edge has an outline there too.
    first, second = (find_boundaries(np.pad(mask[window], 1), mode="inner") for mask in (before, after))
    return float(hausdorff_distance(first, second, method="modified"))
