"""The regions that a contact sheet shows: a random choice, and yet always the same.

It is of the regions whose ids have the smallest hashes, so shards choose without knowing of each other.
"""

from __future__ import annotations

import bisect
import hashlib
import heapq
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from backend.dataset.formats import fragments
from backend.dataset.region import ImageRegions

COUNT = 24
CHOSEN = f"{fragments.FOLDER}/samples.jsonl"
"""Where the choice of a version lies."""

_SEED = "contact sheet"


def candidates(items: Sequence[ImageRegions]) -> list[str]:
    """Hash and description of the regions of a shard that may be shown, one line each; they rise."""
    keyed = (
        (hashlib.sha256(f"{_SEED} {region.id}".encode()).hexdigest(), image, region)
        for image, regions in items
        for region in regions
    )
    return sorted(
        f"{key}\t"
        + fragments.dumps(
            {
                "path": image.path,
                "size": [image.height, image.width],
                "rle": region.rle,
                "bbox": list(region.bbox),
                "words": [region.category_as_written, region.explanation, region.caption],
                "outcome": region.outcome,
                "split": image.split,
            }
        )
        for key, image, region in heapq.nsmallest(COUNT, keyed, key=lambda candidate: candidate[0])
    )


class Choice:
    """The COUNT smallest of the lines that are offered."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def offer(self, lines: Iterable[str]) -> None:
        """Take those of `lines`, which rise, that are smaller than the largest so far; the others are not looked at."""
        for line in lines:
            if len(self.lines) == COUNT and line >= self.lines[-1]:
                return
            bisect.insort(self.lines, line)
            del self.lines[COUNT:]


def read(folder: Path) -> list[dict[str, Any]]:
    """What a version shows."""
    with open(folder / CHOSEN, encoding="utf-8", newline="\n") as file:
        return [json.loads(line.partition("\t")[2]) for line in file]
