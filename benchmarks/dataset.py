"""How long exports take, and how much memory, as a project grows: `python -m benchmarks.dataset 10000 100000`.

For each number of regions a ledger is filled (five regions to an image, brush masks, half of them suggested), and
then, each in a process of its own: a full export, one of nothing new, and one after 100 annotations of as many tasks
were corrected. Times are of the wall and of the CPU; on a machine that others use, the second one can be compared. With
`--plot file.png` the figures are drawn.
"""

from __future__ import annotations

import functools
import io
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from PIL import Image

from backend.dataset.export import ExportOptions, ProjectSource, export
from backend.ledger import Ledger, TaskPage
from backend.masks import to_brush_rle, to_coco_rle
from backend.suggestion import Suggestion
from backend.webhook_event import Annotation
from model.prompt import Point

WIDTH, HEIGHT = 160, 120
REGIONS_PER_IMAGE = 5
CORRECTIONS = 100
MASKS = 20_000
PROJECT = 1
CONFIG = """<View>
<KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/></KeyPointLabels>
<BrushLabels name="region" toName="image"><Label value="Object"/></BrushLabels>
<Image name="image" value="$image"/>
<TextArea name="category" toName="image" perRegion="true"/>
<TextArea name="explanation" toName="image" perRegion="true"/>
<TextArea name="caption" toName="image" perRegion="true"/>
</View>"""
KINDS = ("coin", "cat", "cup", "rocket", "leaf", "brick", "moon", "retina", "horse", "page")
BEGAN = datetime(2026, 11, 22, tzinfo=UTC)


def picture(address: str, task: int) -> bytes:
    """A small JPEG of soft patches, another one for each task."""
    chance = np.random.default_rng(task)
    patches = chance.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(cv2.resize(patches, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)).save(file, "JPEG", quality=85)
    return file.getvalue()


def mask(task: int, number: int, grown: int) -> np.ndarray:
    """One of MASKS ellipses: so many that no cache of an export gains from meeting one again."""
    chance = np.random.default_rng((task * REGIONS_PER_IMAGE + number) % MASKS)
    centre = int(chance.integers(20, WIDTH - 20)), int(chance.integers(20, HEIGHT - 20))
    axes = int(chance.integers(6, 18)) + grown, int(chance.integers(6, 18))
    angle = int(chance.integers(0, 180))
    return cv2.ellipse(np.zeros((HEIGHT, WIDTH), np.uint8), centre, axes, angle, 0, 360, 1, -1).astype(bool)


@functools.cache
def brush_rle(which: int, grown: int) -> list[int]:
    return to_brush_rle(mask(which // REGIONS_PER_IMAGE, which % REGIONS_PER_IMAGE, grown))


def annotation(task: int, age: int) -> Annotation:
    """The annotation of a task; another `age` gives other masks and words."""
    results: list[dict[str, Any]] = []
    for number in range(REGIONS_PER_IMAGE):
        kind = KINDS[(task + number) % len(KINDS)]
        common = {"id": f"r{task}-{number}", "original_width": WIDTH, "original_height": HEIGHT}
        rle = {"format": "rle", "rle": brush_rle((task * REGIONS_PER_IMAGE + number) % MASKS, age)}
        results.append(common | {"from_name": "region", "type": "brushlabels", "value": rle})
        for name, text in (
            ("category", kind),
            ("explanation", f"A {kind} is a thing that people draw."),
            ("caption", f"A {kind} of {axes_in_words(number)} size, seen {age} times."),
        ):
            results.append(common | {"from_name": name, "type": "textarea", "value": {"text": [text]}})
    then = BEGAN + timedelta(seconds=age)
    address = {"image": f"/data/upload/1/{task}.jpg"}
    return Annotation(task, PROJECT, task, results, address, False, BEGAN, then, annotator=task % 7)


def axes_in_words(number: int) -> str:
    return ("small", "moderate", "usual", "good", "great")[number % 5]


def suggestions(task: int) -> Iterator[Suggestion]:
    for number in range(0, REGIONS_PER_IMAGE, 2):
        kind = KINDS[(task + number) % len(KINDS)]
        yield Suggestion(
            region_id=f"r{task}-{number}", project_id=PROJECT, task_id=task, points=(Point(80.5, 60.5),), box=None,
            mask_rle=to_coco_rle(mask(task, number, 0)), height=HEIGHT, width=WIDTH, category=kind, explanation="",
            caption="", score=0.9, word_scores={}, model_version="nano-1", image_address="", image_sha256="",
            seconds=0.2, created_at=BEGAN,
        )  # fmt: skip


class Studio:
    """Label Studio, when nothing has happened that the ledger does not know."""

    clock = BEGAN

    def project(self, project_id: int) -> dict[str, Any]:
        return {"id": project_id, "title": "Benchmark", "label_config": CONFIG}

    def pages(self, *arguments: object) -> Iterator[list[dict[str, Any]]]:
        return iter(())


def fill(path: Path, tasks: int) -> None:
    """Put the project into a ledger."""
    with Ledger(path) as ledger:
        for start in range(1, tasks + 1, 200):
            page = range(start, min(start + 200, tasks + 1))
            ledger.confirm(TaskPage(PROJECT, [annotation(task, 0) for task in page], list(page)), ledger.number)
            for task in page:
                for suggestion in suggestions(task):
                    ledger.record_suggestion(suggestion)


def correct(path: Path, tasks: int) -> None:
    """Correct the annotations of CORRECTIONS tasks, evenly spread."""
    count = min(CORRECTIONS, tasks)
    some = [1 + number * tasks // count for number in range(count)]
    with Ledger(path) as ledger:
        ledger.confirm(TaskPage(PROJECT, [annotation(task, 1) for task in some], some), ledger.number)


def run_export(path: Path, out: Path) -> None:
    from unittest import mock

    # What is measured is the export: there is no Label Studio here to read from.
    with Ledger(path) as ledger, mock.patch("backend.dataset.export.reconcile"):
        options = ExportOptions(max_pixels=1_000_000)
        report = export([ProjectSource(PROJECT, Studio(), picture)], out, ledger, options)
    print(report.summary().splitlines()[0], flush=True)


def measured(work: Callable[[], None]) -> dict[str, float]:
    """Seconds of the wall and of the CPU, and peak memory in MiB, of `work` in a process of its own."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_measure, args=(work, sender))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"it failed with status {process.exitcode}")
    return receiver.recv()


def _measure(work: Callable[[], None], sender: Any) -> None:
    # So that imports are not measured; pyarrow takes pandas in when it makes its first table.
    import pandas  # noqa: F401

    import backend.dataset.formats  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.monotonic()
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sender.send({"wall": time.monotonic() - began, "cpu": cpu, "mib": after.ru_maxrss / 1024})


def benchmark(regions: int, folder: Path, ledgers: Path) -> dict[str, Any]:
    """The figures for one number of regions. ledgers: folder of filled ledgers, where this one is added if missing."""
    tasks = regions // REGIONS_PER_IMAGE
    filled, path, out = ledgers / f"{regions}.sqlite", folder / f"{regions}.sqlite", folder / f"{regions}"
    if not filled.exists():
        part = filled.with_suffix(".part")
        fill(part, tasks)
        part.rename(filled)
    shutil.copy(filled, path)
    figures: dict[str, Any] = {"regions": regions, "images": tasks}
    figures["full"] = measured(partial(run_export, path, out))
    figures["nothing new"] = measured(partial(run_export, path, out))
    correct(path, tasks)
    figures["100 corrections"] = measured(partial(run_export, path, out))
    for name in ("full", "nothing new", "100 corrections"):
        one = figures[name]
        share = 100 * one["cpu"] / figures["full"]["cpu"]
        print(
            f"{regions} regions, {name}: {one['wall']:.1f} s, CPU {one['cpu']:.1f} s ({share:.1f}% of full), "
            f"peak {one['mib']:.0f} MiB",
            flush=True,
        )
    return figures


def plot(all_figures: Sequence[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    seconds, memory = figure.subplots(1, 2)
    sizes = [figures["regions"] for figures in all_figures]
    for name in ("full", "100 corrections", "nothing new"):
        seconds.plot(sizes, [figures[name]["cpu"] for figures in all_figures], "o-", label=name)
        memory.plot(sizes, [figures[name]["mib"] for figures in all_figures], "o-", label=name)
    seconds.set(xscale="log", yscale="log", xlabel="regions", ylabel="CPU seconds", title="Export: time")
    memory.set(xscale="log", ylim=(0, None), xlabel="regions", ylabel="MiB", title="Export: peak memory")
    figure.legend(*seconds.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    figure.savefig(path, dpi=120)


def main(
    regions: Annotated[list[int], typer.Argument(help="Numbers of regions.")],
    picture_file: Annotated[Path | None, typer.Option("--plot", help="Draw the figures to this PNG.")] = None,
    figures_file: Annotated[Path | None, typer.Option("--figures", help="Write them to this JSON file.")] = None,
    ledgers: Annotated[Path | None, typer.Option(help="Keep the filled ledgers here, for the next run.")] = None,
) -> None:
    """Measure exports of projects of these sizes."""
    with tempfile.TemporaryDirectory() as folder:
        kept = ledgers or Path(folder) / "ledgers"
        kept.mkdir(parents=True, exist_ok=True)
        found = [benchmark(number, Path(folder), kept) for number in sorted(regions)]
    if picture_file:
        plot(found, picture_file)
    if figures_file:
        figures_file.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
