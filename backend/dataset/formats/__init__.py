"""The formats of a data set: one module for each, around the types of `backend.dataset.region`.

Besides what is asked for, every version has a summary, from which come its card (`README.md`), contact sheet,
histograms and Croissant metadata.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from backend.dataset.formats import (
    card,
    coco,
    conflicts,
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
from backend.dataset.region import Format

FORMATS: Mapping[str, Format] = {module.NAME: module for module in (pam_jsonl, coco, parquet, webdataset, yolo, video)}
"""Name to module."""


def selected(names: Collection[str]) -> list[Format]:
    """The modules to write a version with, in the order in which they finish: formats, and what every version has.

    The summary is first, as others read it; Croissant and the card are last, as they say which files are there.
    """
    chosen = (FORMATS[name] for name in sorted(names))
    return [summary, *chosen, conflicts, contact_sheet, histograms, croissant, card]
