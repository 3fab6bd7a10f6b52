"""The formats of a data set: one module for each, around the types of `backend.dataset.region`.

Besides what is asked for, every version has a summary, from which come its card (`README.md`), contact sheet,
histograms and Croissant metadata.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from backend.dataset.formats import (
    card,
    coco,
    contact_sheet,
    croissant,
    histograms,
    pam_jsonl,
    parquet,
    summary,
    video,
    webdataset,
    yolo,
)
from backend.dataset.region import DatasetFacts, Format, ImageBytes, ImageRegions

FORMATS: Mapping[str, Format] = {module.NAME: module for module in (pam_jsonl, coco, parquet, webdataset, yolo, video)}
"""Name to module."""

_OF_EVERY_VERSION: tuple[Format, ...] = (summary, contact_sheet)


def write_shard(
    folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes, formats: Collection[str]
) -> list[str]:
    """Write the files of one shard in the formats of these names; their paths below `folder`."""
    modules = [*_OF_EVERY_VERSION, *(FORMATS[name] for name in sorted(formats))]
    return [path for module in modules for path in module.write_shard(folder, shard, items, image_bytes)]


def finish(
    folder: Path, shards: Sequence[str], facts: DatasetFacts, formats: Collection[str], parent: Path | None = None
) -> list[str]:
    """Write the files that span all shards, pictures and card; their paths below `folder`.

    parent: the folder of an older version, where files that would be the same are hard-linked from.
    """
    written = []
    for name in sorted(formats):
        if name == yolo.NAME:
            written += yolo.finish(folder, shards, facts, parent)
        else:
            written += FORMATS[name].finish(folder, shards, facts)
    for module in (contact_sheet, histograms, croissant, card):
        written += module.finish(folder, shards, facts)
    return written
