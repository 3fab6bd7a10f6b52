"""What a suggestion keeps of a region that the model has described."""

from __future__ import annotations

from itertools import islice
from typing import Any

from backend import masks
from backend.suggestion import to_text
from model import Region, Words

_OWN = 8
"""Categories of the model's own that are kept of a suggestion, so that what it was unsure of can be said later."""


def likeliest(words: Words) -> dict[str, float]:
    """The categories that the model alone takes to be likeliest, and how probable it takes them to be."""
    if words.ranking is None:
        return {words.category: words.scores["category"]}
    ranked = zip(words.ranking.labels, words.ranking.probabilities, strict=True)
    return {label: round(float(probability), 6) for label, probability in islice(ranked, _OWN)}


def described(region: Region) -> dict[str, Any]:
    """The fields of a Suggestion that say what a region is."""
    height, width = region.mask.shape
    return {
        "mask_rle": masks.to_coco_rle(region.mask),
        "height": height,
        "width": width,
        "category": region.words.category,
        "explanation": region.words.explanation,
        "caption": region.words.caption,
        "score": region.score,
        "word_scores": dict(region.words.scores),
        "model_version": region.model_version,
        "embedding": None if region.embedding is None else to_text(region.embedding),
    }
