"""What a shard holds, in numbers that add up: card, pictures and class numbers follow from the sum over all shards.

Every version has it, whatever formats were asked for.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.dataset.formats import fragments, samples
from backend.dataset.formats.words import word_count
from backend.dataset.region import DatasetFacts, DatasetImage, DatasetRegion, ImageBytes, ImageRegions

NAME = "summary"
UNNAMED = "unnamed"
"""The category of regions that the annotator gave none; COCO and YOLO have no region without a category."""

TEXTS = ("category", "explanation", "caption")
IOU_BINS = 20
_TOTAL = f"{fragments.FOLDER}/summary.json"


@dataclass
class Summary:
    """Counts over regions and images. A counter's key is one text; parts of it are separated by tabs.

    images, regions:   by split.
    projects:          regions by the project's id.
    categories:        by name.
    first_use:         category to the annotation and region that used it first.
    languages:         by text and language; outcomes: by outcome; models: by model and outcome.
    missing:           by what a region lacks: a text, or the prompt (neither clicked nor boxed).
    area_octaves:      by the whole part of log2 of area / pixels of the image.
    iou_bins:          by the interval, of IOU_BINS, that the IoU of suggested and corrected mask lies in.
    caption_words:     by tens of words; regions_per_image: by their number.
    annotators:        the hashes of all.
    updated_at:        the latest, "" where there is no region.
    """

    images: Counter[str] = field(default_factory=Counter)
    regions: Counter[str] = field(default_factory=Counter)
    projects: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    first_use: dict[str, tuple[int, str]] = field(default_factory=dict)
    languages: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    area_octaves: Counter[str] = field(default_factory=Counter)
    iou_bins: Counter[str] = field(default_factory=Counter)
    caption_words: Counter[str] = field(default_factory=Counter)
    regions_per_image: Counter[str] = field(default_factory=Counter)
    annotators: set[str] = field(default_factory=set)
    updated_at: str = ""

    def add_image(self, image: DatasetImage, regions: Sequence[DatasetRegion]) -> None:
        """Count an image and its regions."""
        self.images[image.split] += 1
        self.regions_per_image[str(len(regions))] += 1
        for region in regions:
            self._add_region(image, region)

    def merge(self, fields: Mapping[str, Any]) -> None:
        """Add what another one holds, given as `as_json` has it."""
        for name, value in fields.items():
            counter = getattr(self, name)
            if isinstance(counter, Counter):
                for key, count in value.items():
                    counter[key] += count
        for name, (number, region) in fields["first_use"].items():
            use = (number, region)
            self.first_use[name] = min(self.first_use.get(name, use), use)
        self.annotators.update(fields["annotators"])
        self.updated_at = max(self.updated_at, fields["updated_at"])

    def as_json(self) -> dict[str, Any]:
        """All fields, in an order that does not depend on how they came about."""
        fields = vars(self) | {"annotators": sorted(self.annotators)}
        return {k: dict(sorted(v.items())) if isinstance(v, Mapping) else v for k, v in fields.items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Summary:
        """The inverse of `as_json`."""
        summary = cls()
        summary.merge(fields)
        return summary

    def _add_region(self, image: DatasetImage, region: DatasetRegion) -> None:
        self.regions[image.split] += 1
        self.projects[str(region.project_id)] += 1
        name = region.category or UNNAMED
        self.categories[name] += 1
        use = (region.annotation_id, region.id)
        self.first_use[name] = min(self.first_use.get(name, use), use)
        for text in TEXTS:
            if text in region.languages:
                self.languages[f"{text}\t{region.languages[text]}"] += 1
            else:
                self.missing[text] += 1
        self.missing["prompt"] += not region.points and region.box is None
        self.outcomes[region.outcome] += 1
        if region.model_version is not None:
            self.models[f"{region.model_version}\t{region.outcome}"] += 1
        self.area_octaves[str(math.floor(math.log2(region.area / (image.height * image.width))))] += 1
        if region.mask_iou is not None and region.outcome == "corrected":
            self.iou_bins[str(min(int(region.mask_iou * IOU_BINS), IOU_BINS - 1))] += 1
        if region.caption:
            self.caption_words[str(int(word_count(region.caption)) // 10 * 10)] += 1
        if region.annotator is not None:
            self.annotators.add(region.annotator)
        self.updated_at = max(self.updated_at, region.updated_at)


def write_shard(
    folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes, parent: Path | None = None
) -> list[str]:
    """Write the summary of a shard, and what of it the contact sheet may show, as a fragment; the paths written."""
    summary = Summary()
    for image, regions in items:
        summary.add_image(image, regions)
    return fragments.write(folder, NAME, shard, [fragments.dumps(summary.as_json()), *samples.candidates(items)])


def finish(folder: Path, shards: Sequence[str], facts: DatasetFacts, parent: Path | None = None) -> list[str]:
    """Write the sum over all shards, and what the contact sheet shows, for others to read; the paths written."""
    total = Summary()
    chosen = samples.Choice()
    for shard in shards:
        lines = fragments.read(folder, NAME, [shard])
        total.merge(json.loads(next(lines)))
        chosen.offer(lines)
    return [
        fragments.write_lines(folder, _TOTAL, [fragments.dumps(total.as_json())]),
        fragments.write_lines(folder, samples.CHOSEN, chosen.lines),
    ]


def read(folder: Path) -> Summary:
    """The sum over all shards, as `finish` wrote it."""
    return Summary.from_json(json.loads((folder / _TOTAL).read_text(encoding="utf-8")))


def titles(summary: Summary, facts: DatasetFacts) -> dict[int, str]:
    """Id to title of the projects that have a region in the data set; of all, where there is no region."""
    held = {id: title for id, title in sorted(facts.projects.items()) if summary.projects[str(id)]}
    return held or dict(sorted(facts.projects.items()))


def class_names(summary: Summary) -> list[str]:
    """The categories, those that were used first in front: as the set grows, new ones come last and numbers stay."""
    return sorted(summary.first_use, key=lambda name: summary.first_use[name])
