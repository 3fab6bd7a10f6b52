"""What the memory of corrected regions costs: a lookup, a long closed list, the first reading of a project.

    python -m benchmarks.memory --regions 10000

Times are the quickest and the median of many runs, in milliseconds; the reading is done once.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from backend.labeling_config import LabelingConfig, parse
from backend.ledger import Ledger, Memory
from backend.masks import to_brush_rle, to_coco_rle
from backend.memory import ProjectMemories
from backend.memory.index import Index
from backend.suggestion import Suggestion, to_text
from model import outline
from model.region import Region, Words
from model.vocabulary import Ranking

WIDTHS = (96 + outline.LENGTH, 256 + outline.LENGTH)
"""Of nano's embeddings and of PAM-3B's."""

CONFIG = """<View><KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/></KeyPointLabels>
<BrushLabels name="region" toName="image"><Label value="Object"/></BrushLabels><Image name="image" value="$image"/>
<TextArea name="category" toName="image" perRegion="true"/>
<TextArea name="explanation" toName="image" perRegion="true"/></View>"""
REGIONS_OF_TASK = 10


def timed(run: Callable[[], object], times: int = 60) -> str:
    """The quickest and the median of some runs."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append(1000 * (time.perf_counter() - began))
    return f"{min(taken):6.2f} ms at best, {statistics.median(taken):6.2f} ms in the middle"


def lookup(count: int, width: int, random: np.random.Generator) -> str:
    """The neighbours of one region among `count`, a tenth of which has gone again."""
    index = Index(width)
    embeddings = random.standard_normal((count, width)).astype(np.float16)
    for task in range(count // REGIONS_OF_TASK):
        rows = range(task * REGIONS_OF_TASK, (task + 1) * REGIONS_OF_TASK)
        index.replace(task, [Memory(task, f"r{i}", "m", f"class {i % 50}", "", "", embeddings[i]) for i in rows])
    for task in range(count // REGIONS_OF_TASK // 10):
        index.replace(task, [])
    return timed(lambda: index.neighbours(embeddings[-1]))


def closed_list(count: int, random: np.random.Generator, folder: Path) -> str:
    """Advice on a region whose category is one of `count` labels."""
    labels = tuple(f"Kind of thing {i}" for i in range(count))
    probabilities = np.sort(random.dirichlet(np.ones(count)))[::-1]
    ranking = Ranking(labels, tuple(probabilities.tolist()), tuple(np.log(probabilities).tolist()), count)
    words = Words(labels[0], "A thing.", "A thing.", {"category": -1.0, "explanation": -1.0, "caption": -1.0}, ranking)
    region = Region(np.ones((2, 2), bool), 0.9, 0.9, words, "m", np.ones(96, np.float32) / 96**0.5)
    with Ledger(folder / "closed.sqlite") as ledger:
        config = parse(CONFIG)
        ledger.memories.replace(1, {}, (0, config.fingerprint))
        memories = ProjectMemories(ledger)
        return timed(lambda: memories.advise(1, config, region, labels))


def first_reading(count: int, random: np.random.Generator, folder: Path) -> str:
    """Seconds until a project of `count` submitted regions is known, and until it is loaded again after a start."""
    config = parse(CONFIG)
    with Ledger(folder / "project.sqlite") as ledger:
        for task in range(count // REGIONS_OF_TASK):
            _annotate(ledger, task, random)
        began = time.perf_counter()
        ProjectMemories(ledger)._prepare(1, config, "m")
        read = time.perf_counter() - began
        began = time.perf_counter()
        _load(ledger, config)
        return f"{read:.1f} s to read, {time.perf_counter() - began:.1f} s to load"


def _load(ledger: Ledger, config: LabelingConfig) -> None:
    ProjectMemories(ledger)._prepare(1, config, "m")


def _annotate(ledger: Ledger, task: int, random: np.random.Generator) -> None:
    """One task of 512 x 512 pixels whose regions were suggested and submitted."""
    rows, columns = np.ogrid[:512, :512]
    results = []
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    for number in range(REGIONS_OF_TASK):
        region_id = f"t{task}r{number}"
        mask = (rows - random.integers(60, 450)) ** 2 + (columns - random.integers(60, 450)) ** 2 < 40**2
        vector = to_text(random.standard_normal(96))
        ledger.record_suggestion(
            Suggestion(
                region_id, 1, task, (), None, to_coco_rle(mask), 512, 512, "object", "A thing.", "A thing.", 0.9, {},
                "m", "", "", 0.1, moment, {}, None, vector,
            )
        )  # fmt: skip
        common = {"id": region_id, "to_name": "image", "original_width": 512, "original_height": 512}
        rle = {"format": "rle", "rle": to_brush_rle(mask)}
        results.append(common | {"from_name": "region", "type": "brushlabels", "value": rle})
        for name, text in (("category", f"class {number}"), ("explanation", "Its explanation.")):
            results.append(common | {"from_name": name, "type": "textarea", "value": {**rle, "text": [text]}})
    annotation = {
        "id": task + 1, "task": task, "project": 1, "result": results, "was_cancelled": False,
        "created_at": moment.isoformat(), "updated_at": (moment + timedelta(seconds=1)).isoformat(),
    }  # fmt: skip
    payload = {"annotation": annotation, "project": {"id": 1}, "task": {"id": task, "data": {"image": "a"}}}
    ledger.journal("ANNOTATION_CREATED", payload)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", type=int, default=100_000, help="regions to look among (default %(default)s)")
    parser.add_argument("--labels", type=int, default=20_000, help="length of the closed list (default %(default)s)")
    parser.add_argument("--regions", type=int, default=10_000, help="of the project read (default %(default)s)")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    for width in WIDTHS:
        print(f"neighbours among {options.memories}, {width} wide: {lookup(options.memories, width, random)}")
    with tempfile.TemporaryDirectory() as folder:
        print(f"advice with {options.labels} labels: {closed_list(options.labels, random, Path(folder))}")
        print(f"first reading of {options.regions} regions: {first_reading(options.regions, random, Path(folder))}")


if __name__ == "__main__":
    main()
