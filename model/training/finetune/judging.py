"""How good a model is on regions that were corrected: the same prompt before and after, against what people left."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import Tokenizer

from model.explanation import split_explanation
from model.fields import LANGUAGES
from model.language import Question
from model.pam import PAM
from model.prompt import Prompt
from model.reading import read
from model.speaker import WordOptions
from model.training import reliability
from model.training.evaluation import Click, Trial, attempt, hedged, held_out
from model.training.finetune.files import read_frames, read_image, read_mask
from model.training.finetune.records import RegionRecord
from model.training.retelling import tellings
from model.training.shapes import UNKNOWN

METRICS = {"mask": "IoU", "category": "accuracy", "explanation": "rouge-l", "caption": "rouge-l"}
"""Field of a region to what judges it."""


SCORED = ("category", "explanation")
LEAST_KNOWN = 40
"""Fields whose scores are fitted after training, and answers that this takes."""

OLD = 1_000_004
"""Number of the series of drawn scenes and clips that shows what was forgotten; nothing else draws it."""

CLIPS = "way in clips"
"""Whether a caption says where the thing of a drawn clip goes from and to, or stays."""


@dataclass(frozen=True)
class Judged:
    """One region: of each field how good the answer was, 0..1, None where nobody said what is right.

    scores: field to the mean log-probability of what was said, as the model has it (see PAMConfig.calibration).
    """

    name: str
    mask: float | None
    category: float | None
    explanation: float | None
    caption: float | None
    scores: Mapping[str, float]

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
    """What a model makes of each region's first click, or of its box where nobody clicked; of clips, what it says."""
    found = []
    for region in regions:
        found.append(_judge_clip(pam, region) if region.frames else _judge_region(pam, region))
        on_region()
    return found


def _judge_region(pam: PAM, region: RegionRecord) -> Judged:
    image = read_image(region)
    said = pam.perceive(pam.encode(image), _prompt(region), options=_options(pam, region))
    truth, category = read_mask(region, image), region.category
    overlap = None
    if truth is not None:
        overlap = float((said.mask & truth).sum() / max(1, (said.mask | truth).sum()))
    definition = split_explanation(region.answer("explain"), category)[1]
    caption = region.answer("brief_cap") or region.answer("detail_cap")
    return Judged(
        category.casefold(),
        overlap,
        float(said.words.category.casefold() == category.casefold()) if category else None,
        similarity(said.words.explanation, definition) if definition else None,
        similarity(said.words.caption, caption) if caption else None,
        dict(said.words.log_probabilities),
    )


def _judge_clip(pam: PAM, region: RegionRecord) -> Judged:
    """What a model says of a clip, given its masks, and the same question."""
    ((question, wanted), *_) = region.said[0].turns
    (said,) = pam.answer(read(pam, read_frames(region)), [Question(question)])
    return Judged("", None, None, None, similarity(said.text, wanted), {})


@dataclass(frozen=True)
class Verdict:
    """What became of a model.

    regions: on corrections. old: on drawn scenes of old things, a field to how good each answer was, as in Judged; and
    under CLIPS, on drawn clips.
    trials: of the scenes, field to scores (see Judged) and whether the answers were right.
    """

    regions: Sequence[Judged]
    old: Mapping[str, Sequence[float | None]]
    trials: Mapping[str, Sequence[tuple[float, bool]]]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """What `to_dict` wrote."""
        return cls(**{**data, "regions": [Judged(**one) for one in data["regions"]]})


def verdict(pam: PAM, regions: Sequence[RegionRecord], scenes: int, clips: int, on_one: Callable[[], None]) -> Verdict:
    """Judge a model on corrected regions, and on drawn scenes and clips of old things, which only nano knows.

    on_one: called for each region and each scene.
    """

    def clicks() -> Iterator[Click]:
        for click in held_out(OLD, scenes):
            yield click
            on_one()

    judged, trials = judge(pam, regions, on_one), attempt(pam, clicks())
    known = [trial for trial in trials if not hedged(trial.words)]
    fitted = {
        name: [(t.words.log_probabilities[name], t.right(name)) for t in known if t.words[name]] for name in SCORED
    }
    old: dict[str, list[float | None]] = {name: [_old(trial, name) for trial in trials] for name in METRICS}
    old[CLIPS] = [float(facts["way"]) for _, facts in tellings(pam, OLD, clips)]
    return Verdict(judged, old, fitted)


def recalibrated(calibration: Mapping[str, tuple[float, float]], found: Verdict) -> dict[str, tuple[float, float]]:
    """The calibration (see PAMConfig) that fits what a model says after training.

    found: of the model without a calibration. Only scores follow from it, no answer does. Fields that too little is
    known of keep theirs, and so do captions, of which nobody says when they are right.
    """
    fitted = dict(calibration)
    for field in SCORED:
        known = [(one.scores[field], value >= 1) for one in found.regions if (value := getattr(one, field)) is not None]
        known = [pair for pair in [*known, *found.trials.get(field, ())] if np.isfinite(pair[0])]
        if len(known) >= LEAST_KNOWN and field in calibration:
            fitted[field] = reliability.fit(*map(np.array, zip(*known, strict=True)))
    return fitted


def _old(trial: Trial, field: str) -> float | None:
    """Of what has no name "object" is the right category, and no other text says more of it than that."""
    if field == "mask":
        return trial.iou
    if field == "category":
        return float(trial.words.category == trial.truth.category)
    return None if trial.truth.category == UNKNOWN else float(trial.right(field))


def pairs(before: Sequence[Judged], after: Sequence[Judged], field: str) -> list[tuple[float, float]]:
    """How good a field was before and after, of the regions where that is known."""
    both = ((getattr(old, field), getattr(new, field)) for old, new in zip(before, after, strict=True))
    return [(old, new) for old, new in both if old is not None and new is not None]


def per_class(before: Sequence[Judged], after: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    """Mean of each field's scores in each class, before and after; None where there is nothing to compare with."""
    found: dict[str, dict[str, Any]] = {}
    for name in sorted({one.name for one in before if one.name}):
        mine = [i for i, one in enumerate(before) if one.name == name]
        rows = {"regions": len(mine)}
        for field in METRICS:
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
