"""Which of the regions can be learned from, and which regions judge what was learned."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image
from transformers import PreTrainedTokenizerBase

from model.errors import PromptError, RecordError
from model.prompt import Box, Prompt
from model.training.conversation import tokenise
from model.training.finetune.records import RegionRecord, Regions

SAME_BOX = 0.9
"""IoU from which two boxes on one picture mean one thing."""

HELD_OUT_SHARE, MOST_HELD_OUT = 0.15, 1 / 3
"""Of the pictures: how many are held out where a data set has no validation split, and how many at most where that is
too small."""

LEAST_JUDGED = 20
"""Regions that tell better from worse: so many are held out where there are enough pictures. A tenth of them, which is
what an export puts aside, comes to so many after some 200 corrections only."""

NEAR, MOST_HASHED = 6, 3000
"""Bits of 64 by which the perceptual hashes of near-duplicates differ at most, as in an export; and how many pictures
are looked at for that."""

MAX_ANSWER = 512
"""Tokens of a text. No answer is longer (DecodingOptions), and one that was cut would teach to stop in mid-sentence."""


@dataclass(frozen=True, eq=False)
class Splits:
    """What is trained on and what judges it.

    left_out: reason to how many texts or records. held_out: how many of the validation regions were taken from those to
    train on, picture by picture. single: categories with one region to train on.
    """

    train: list[RegionRecord]
    validation: list[RegionRecord]
    left_out: Counter[str]
    held_out: int
    single: list[str]


def prepare(
    train: Regions,
    validation: Regions,
    tokenizer: PreTrainedTokenizerBase,
    at_most: int,
    seen: Collection[str] = frozenset(),
) -> Splits:
    """Clean both splits; where few regions validate, hold some pictures out.

    at_most: validation regions that are looked at, drawn by their hashes; fewer than LEAST_JUDGED of them are not added
    to where it asks for fewer. seen: `name_of` pictures that the base was trained on, which judge nothing.
    Raises RecordError where nothing is left to train on, and for a picture that is damaged.
    """
    left_out = train.left_out + validation.left_out
    learned = _clean(train.regions, tokenizer, left_out)
    judged = _clean(validation.regions, tokenizer, left_out)
    learned, held_out = _hold_out(learned, len(judged), min(LEAST_JUDGED, at_most), seen)
    judged += held_out
    if not learned:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in left_out.most_common()) or "it is empty"
        raise RecordError(f"the data set has no region to learn from ({reasons})")
    counts = Counter(region.category.casefold() for region in learned if region.category)
    single = sorted(name for name, count in counts.items() if count == 1)
    return Splits(learned, sorted(judged, key=_draw)[:at_most], left_out, len(held_out), single)


def _clean(
    regions: Sequence[RegionRecord], tokenizer: PreTrainedTokenizerBase, left_out: Counter[str]
) -> list[RegionRecord]:
    kept = []
    for region in _without_contradictions(regions, left_out):
        if problem := _unseen(region):
            left_out[problem] += 1
            continue
        said = []
        for one in region.said:
            try:
                sample = tokenise(tokenizer, one.turns)
            except RecordError as error:
                left_out[f"a text that is no plain conversation: {str(error)[:60]}"] += 1
                continue
            if sum(label >= 0 for label in sample.labels) > MAX_ANSWER:
                left_out[f"a text of more than {MAX_ANSWER} tokens"] += 1
                continue
            said.append(one)
        if said:
            kept.append(replace(region, said=tuple(said)))
    return kept


def _unseen(region: RegionRecord) -> str:
    """Why a region cannot be looked at, "" where it can. Of the picture only the head is read."""
    try:
        with Image.open(region.image) as file:
            width, height = file.size
    except (OSError, Image.DecompressionBombError, ValueError):
        return "a region whose picture is gone, or is none"
    try:
        Prompt(region.points, region.box).check(height, width)
    except PromptError:
        return "a region outside of its picture"
    return ""


def _without_contradictions(regions: Sequence[RegionRecord], left_out: Counter[str]) -> list[RegionRecord]:
    """One thing that was called different names keeps the one that most gave it, or none; captions may differ."""
    by_image: dict[str, list[int]] = defaultdict(list)
    for i, region in enumerate(regions):
        if region.category and region.box:
            by_image[str(region.image)].append(i)
    kept = list(regions)
    for members in by_image.values():
        for i in members:
            alike = [j for j in members if j == i or _iou(regions[i].box, regions[j].box) >= SAME_BOX]
            votes = Counter(regions[j].category.casefold() for j in alike).most_common(2)
            if len(votes) > 1 and (votes[0][1] == votes[1][1] or votes[0][0] != regions[i].category.casefold()):
                named = ("recognize_en", "recognize_ch", "explain_en", "explain_ch")
                kept[i] = replace(regions[i], said=tuple(s for s in regions[i].said if s.task not in named))
                left_out["a name that contradicts another one of the same thing"] += 1
    return kept


def _iou(one: Box | None, other: Box | None) -> float:
    assert one is not None and other is not None
    across = max(0.0, min(one.x1, other.x1) - max(one.x0, other.x0))
    down = max(0.0, min(one.y1, other.y1) - max(one.y0, other.y0))
    areas = (one.x1 - one.x0) * (one.y1 - one.y0) + (other.x1 - other.x0) * (other.y1 - other.y0)
    return across * down / max(areas - across * down, 1e-9)


def name_of(image: Path) -> str:
    """What a picture is known by, wherever its data set lies."""
    return _digest(image.name)[:8]


def _hold_out(
    regions: Sequence[RegionRecord], judged: int, least: int, seen: Collection[str]
) -> tuple[list[RegionRecord], list[RegionRecord]]:
    """Some pictures with all their regions, in groups of near-duplicates, until `least` regions judge; `judged` do
    already. None where there is but one group, or where one of each was `seen` before."""
    count: Counter[Path] = Counter(region.image for region in regions)
    wanted = 0 if judged else max(1, round(HELD_OUT_SHARE * len(count)))
    if not wanted and judged >= least:
        return list(regions), []
    together = _near_duplicates(sorted(count))
    fresh = [group for group in together if not any(name_of(path) in seen for path in group)]
    groups = sorted(fresh, key=lambda group: min(_digest(path.name) for path in group))
    most = max(wanted, MOST_HELD_OUT * len(count))
    held: set[Path] = set()
    for group in groups:
        if len(held) >= wanted and judged >= least:
            break
        if len(held) + len(group) <= most:
            held |= group
            judged += sum(count[path] for path in group)
    if wanted and not held and groups and len(together) > 1:
        held = min(groups, key=len)
    if len(held) == len(count):
        held = set()
    return [r for r in regions if r.image not in held], [r for r in regions if r.image in held]


def _near_duplicates(paths: Sequence[Path]) -> list[set[Path]]:
    """Pictures that are to be on one side, each in one group; of very many pictures, each is its own."""
    groups = [{path} for path in paths]
    if len(paths) > MOST_HASHED:
        return groups
    hashes = np.array([_perceptual_hash(path) for path in paths])
    for i, each in enumerate(hashes):
        for j in np.flatnonzero((hashes[:i] != each).sum(axis=1) <= NEAR):
            if groups[i] is not groups[j]:
                groups[i] |= groups[j]
                for path in groups[j]:
                    groups[paths.index(path)] = groups[i]
    return list({id(group): group for group in groups}.values())


def _perceptual_hash(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as file:
            return imagehash.phash(file.convert("RGB")).hash.ravel()
    except OSError as error:  # it breaks off behind its head
        raise RecordError(f"{path} is damaged ({error}): mend it, or remove it") from error


def _draw(region: RegionRecord) -> str:
    return _digest(f"{region.image.name} {region.id} {region.points} {region.box}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
