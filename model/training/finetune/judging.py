"""How good a model is on regions that were corrected: the same prompt before and after, against what people left."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer

from model.explanation import split_explanation
from model.fields import LANGUAGES
from model.pam import PAM
from model.prompt import Prompt
from model.speaker import WordOptions
from model.training.finetune.items import read_image, read_mask
from model.training.finetune.records import RegionRecord

METRICS = {"mask": "IoU", "category": "accuracy", "explanation": "rouge-l", "caption": "rouge-l"}
"""Field of a region to what judges it."""


@dataclass(frozen=True)
class Judged:
    """One region: of each field how good the answer was, 0..1, None where nobody said what is right.

    log_probability: of the category that was said.
    """

    name: str
    mask: float | None
    category: float | None
    explanation: float | None
    caption: float | None
    log_probability: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


class _Words(Tokenizer):
    """Words, and single characters of Chinese, which has no spaces; rouge-score's own tokenizer drops all but ASCII."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+", text.casefold())


_ROUGE = RougeScorer(["rougeL"], tokenizer=_Words())


def similarity(said: str, wanted: str) -> float:
    """ROUGE-L (Lin 2004), 0..1: the longest common subsequence of words."""
    return float(_ROUGE.score(wanted, said)["rougeL"].fmeasure)


def judge(pam: PAM, regions: Sequence[RegionRecord], on_region: Callable[[], None]) -> list[Judged]:
    """What a model makes of each region's first click, or of its box where nobody clicked."""
    found = []
    for region in regions:
        image = read_image(region)
        said = pam.perceive(pam.encode(image), _prompt(region), options=_options(pam, region))
        truth, category = read_mask(region, image), region.category
        overlap = None
        if truth is not None:
            overlap = float((said.mask & truth).sum() / max(1, (said.mask | truth).sum()))
        definition = split_explanation(region.answer("explain"), category)[1]
        caption = region.answer("brief_cap") or region.answer("detail_cap")
        found.append(
            Judged(
                category,
                overlap,
                float(said.words.category.casefold() == category.casefold()) if category else None,
                similarity(said.words.explanation, definition) if definition else None,
                similarity(said.words.caption, caption) if caption else None,
                said.words.log_probabilities["category"],
            )
        )
        on_region()
    return found


def pairs(before: Sequence[Judged], after: Sequence[Judged], field: str) -> list[tuple[float, float]]:
    """How good a field was before and after, of the regions where that is known."""
    both = ((getattr(old, field), getattr(new, field)) for old, new in zip(before, after, strict=True))
    return [(old, new) for old, new in both if old is not None and new is not None]


def per_class(before: Sequence[Judged], after: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    """Mean mask and category of each class, before and after; None where there is nothing to compare with."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted({one.name for one in before if one.name}):
        mine = [i for i, one in enumerate(before) if one.name == name]
        rows = {"regions": len(mine)}
        for field in ("mask", "category"):
            values = pairs([before[i] for i in mine], [after[i] for i in mine], field)
            rows[field] = [round(float(v), 4) for v in np.mean(values, axis=0)] if values else [None, None]  # type: ignore[assignment]
        found[name] = rows
    return found


def _prompt(region: RegionRecord) -> Prompt:
    on = [point for point in region.points if point.positive]
    return Prompt((on[0],)) if on else Prompt(box=region.box)


def _options(pam: PAM, region: RegionRecord) -> WordOptions:
    """In the language, and as long, as people wrote; in English where the model does not speak it."""
    suffixes = {one.task.rpartition("_")[2] for one in region.said}
    language = next(
        (name for name, suffix in LANGUAGES.items() if suffix in suffixes and name in pam.config.languages), "en"
    )
    brief = bool(region.answer("brief_cap")) or not region.answer("detail_cap")
    return WordOptions(language, "brief" if brief else "detailed")
