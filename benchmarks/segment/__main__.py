"""Interactive segmentation as the field measures it: simulated clicks on outlined objects, nano beside the classics.

python -m benchmarks.segment --out results/
python -m benchmarks.segment --sets tuning --no-baselines
"""

from __future__ import annotations

import json
import shlex
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import groupby, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import cv2
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.segment import report, sheet
from benchmarks.segment.annotator import CAP, SHOWN, Session
from benchmarks.segment.measure import NANO, measure
from benchmarks.segment.targets import MEASURED, Set, targets

app = typer.Typer(add_completion=False)


@app.command()
def main(
    sets: Annotated[
        str, typer.Option(help=f"Which sets, by commas: {', '.join(Set)}. Nobody tunes anything on test.")
    ] = ",".join(MEASURED),
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many objects of each set.")] = None,
    cap: Annotated[int, typer.Option(min=1, help="Clicks after which an object is given up.")] = CAP,
    baselines: Annotated[
        bool, typer.Option(help="Measure flood fill, GrabCut, watershed and random walker too.")
    ] = True,
    baseline_cap: Annotated[
        int, typer.Option(min=1, help="The same for the baselines, of which some are slow.")
    ] = SHOWN,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; more than one makes the times longer.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for segment.json, segment.md and segment.png.")] = None,
) -> None:
    """Measure, and print the table."""
    console = Console(stderr=True)
    try:
        wanted = [Set(name.strip()) for name in sets.split(",")]
    except ValueError as error:
        sys.exit(f"segment: {error}; --sets takes {', '.join(Set)}")
    asked = [target for name in wanted for target in islice(targets(name), limit)]
    batches = [list(group) for _, group in groupby(asked, lambda t: (t.set, t.picture))]
    work = partial(measure, baselines=baselines, caps=(cap, baseline_cap))
    sessions: list[Session] = []
    with Progress(console=console, transient=True) as progress, ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        bar = progress.add_task("objects", total=len(asked))
        for found in pool.map(work, batches):
            sessions += found
            progress.advance(bar, len({s.target.name for s in found}))
            if not console.is_terminal:
                console.print(line(found), highlight=False)
    order = list(dict.fromkeys((s.target.set, s.method) for s in sorted(sessions, key=lambda s: s.method != NANO)))
    sessions.sort(key=lambda s: (wanted.index(s.target.set), order.index((s.target.set, s.method))))
    results = report.summary(sessions)
    text = report.table(results)
    print(text)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        command = shlex.join(["python", "-m", "benchmarks.segment", *sys.argv[1:]])
        everything = {"command": command, "figures": results, "sessions": report.each(sessions)}
        (out / "segment.json").write_text(json.dumps(everything, indent=1) + "\n")
        (out / "segment.md").write_text(f"`{command}`\n\n{text}\n")
        cv2.imwrite(str(out / "segment.png"), sheet.draw([s for s in sessions if s.method == NANO]))


def line(found: list[Session]) -> str:
    """What nano made of one picture's objects."""
    return "\n".join(
        f"{s.target.set} {s.target.picture} {s.target.name}: {' '.join(f'{v:.2f}' for v in s.ious)}  box {s.box:.2f}"
        for s in found
        if s.method == NANO
    )


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.segment")
