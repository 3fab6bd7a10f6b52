"""Webhooks a second, and how long reconciliations take, as a project grows: `python -m benchmarks.intake 10000 100000`.

For each number of regions a ledger is filled (five brush regions to an annotation). Webhooks are sent to `pam-studio
serve` over HTTP by 16 clients at once, each on a new connection, as Label Studio sends them; every one is on the disk
before it is answered. Reconciliations are measured without the wire: of an unchanged project, of one where 100 tasks
were corrected unseen, and of all tasks; the time that the stand-in for Label Studio takes is not counted. With `--plot
file.png` the figures are drawn.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from backend.ledger import Ledger, TaskPage
from backend.masks import to_brush_rle
from backend.reconcile import reconcile
from backend.webhook_event import annotations_of_task
from benchmarks.dataset import PROJECT, REGIONS_PER_IMAGE, mask

CLIENTS = 16
SECONDS = 15.0
CORRECTIONS = 100
PAGE = 25
BEGAN = datetime(2026, 11, 22, tzinfo=UTC)


@functools.cache
def rle(number: int) -> list[int]:
    """The brush RLE of one of a hundred masks: making one takes longer than reading it."""
    return to_brush_rle(mask(number, 0, 0))


def task(id: int, age: int = 0) -> dict[str, Any]:
    """A task with one annotation, as Label Studio lists it; another `age` is another state."""
    results: list[dict[str, Any]] = []
    for number in range(REGIONS_PER_IMAGE):
        common = {"id": f"r{id}-{number}", "to_name": "image", "original_width": 160, "original_height": 120}
        value = {"format": "rle", "rle": rle((id + number + age) % 100)}
        results.append(common | {"from_name": "region", "type": "brushlabels", "value": value})
        for name in ("category", "explanation", "caption"):
            words = {"text": [f"The {name} of {number}, seen {age} times."]}
            results.append(common | {"from_name": name, "type": "textarea", "value": value | words})
    annotation = {
        "id": id, "task": id, "project": PROJECT, "completed_by": id % 7, "was_cancelled": False, "result": results,
        "created_at": BEGAN.isoformat(), "updated_at": (BEGAN + timedelta(seconds=age)).isoformat(),
    }  # fmt: skip
    return {"id": id, "data": {"image": f"/data/upload/1/{id}.jpg"}, "annotations": [annotation]}


class Studio:
    """Label Studio, less the wire; `seconds` is the time that it took itself."""

    def __init__(self, count: int):
        self.count = count
        self.clock = BEGAN
        self.ages: dict[int, int] = {}
        self.seconds = 0.0

    def project(self, project_id: int) -> dict[str, Any]:
        return {"id": project_id, "total_annotations_number": self.count, "skipped_annotations_number": 0}

    def pages(
        self, project_id: int, after: int = -1, changed_from: datetime | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        ids = range(max(after, 0) + 1, self.count + 1) if changed_from is None else sorted(self.ages)
        wanted = [id for id in ids if id > after]
        for start in range(0, len(wanted), PAGE):
            began = time.process_time()
            body = json.dumps([task(id, self.ages.get(id, 0)) for id in wanted[start : start + PAGE]])
            self.seconds += time.process_time() - began
            yield json.loads(body)


def fill(path: Path, tasks: int) -> None:
    """Put the project into a ledger."""
    with Ledger(path) as ledger:
        for start in range(1, tasks + 1, 500):
            page = [task(id) for id in range(start, min(start + 500, tasks + 1))]
            annotations = [each for one in page for each in annotations_of_task(one, PROJECT)]
            ledger.confirm(TaskPage(PROJECT, annotations, [one["id"] for one in page]), ledger.number)


def reconciliations(path: Path, tasks: int) -> dict[str, float]:
    """CPU seconds of reconciliations."""
    studio = Studio(tasks)
    figures = {}
    with Ledger(path) as ledger:

        def measure(name: str, full: bool = False) -> None:
            studio.seconds, began = 0.0, time.process_time()
            done = reconcile(PROJECT, ledger, studio, full=full)
            figures[name] = time.process_time() - began - studio.seconds
            print(f"  {name}: {figures[name]:.3f} s CPU, {done.tasks} tasks read, {done.changed} changed", flush=True)

        measure("all tasks read", full=True)
        measure("unchanged")
        studio.clock += timedelta(hours=1)
        studio.ages = {1 + number * tasks // CORRECTIONS: 1 for number in range(CORRECTIONS)}
        measure("100 corrections missed")
    return figures


def intake(data_dir: Path, tasks: int) -> dict[str, float]:
    """Webhooks per second, and how long the slowest hundredth took."""
    with serving(data_dir) as port:
        bodies = [webhook(1 + number * 37 % tasks, 10 + number) for number in range(400)]
        waits: list[float] = []
        deadline = time.monotonic() + SECONDS

        def send(which: int) -> None:
            for number in range(10**9):
                if time.monotonic() > deadline:
                    return
                began = time.monotonic()
                with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                    body = bodies[(which + CLIENTS * number) % len(bodies)]
                    connection.request("POST", "/webhook", body, {"Content-Type": "application/json"})
                    assert connection.getresponse().status == 201
                waits.append(time.monotonic() - began)

        threads = [threading.Thread(target=send, args=(which,)) for which in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    waits.sort()
    figures = {"per second": len(waits) / SECONDS, "p50": waits[len(waits) // 2], "p99": waits[len(waits) * 99 // 100]}
    print(
        f"  {CLIENTS} clients: {figures['per second']:.0f} webhooks a second of {len(bodies[0]) // 1024} KiB, ", end=""
    )
    print(f"p50 {1000 * figures['p50']:.0f} ms, p99 {1000 * figures['p99']:.0f} ms", flush=True)
    return figures


def webhook(id: int, age: int) -> bytes:
    listed = task(id, age)
    body = {"action": "ANNOTATION_UPDATED", "annotation": listed["annotations"][0], "project": {"id": PROJECT}}
    return json.dumps(body | {"task": {"id": id, "data": listed["data"]}}).encode()


@contextmanager
def serving(data_dir: Path) -> Iterator[int]:
    """`pam-studio serve` over a data directory; its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    program = str(Path(sys.executable).parent / "pam-studio")
    command = [program, "serve", "--port", str(port), "--data-dir", str(data_dir), "--log-level", "warning"]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        wait_until(lambda: ready(port))
        yield port
    finally:
        process.terminate()
        process.wait()


def ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).json()["ready"]
    except httpx.TransportError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("the backend did not start")
        time.sleep(0.2)


def plot(all_figures: Sequence[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    seconds, rate = figure.subplots(1, 2)
    sizes = [figures["regions"] for figures in all_figures]
    for name in ("all tasks read", "100 corrections missed", "unchanged"):
        seconds.plot(sizes, [figures[name] for figures in all_figures], "o-", label=name)
    rate.plot(sizes, [figures["per second"] for figures in all_figures], "o-")
    seconds.set(xscale="log", yscale="log", xlabel="regions", ylabel="CPU seconds", title="Reconciliation")
    rate.set(xscale="log", ylim=(0, None), xlabel="regions", ylabel="webhooks a second", title=f"{CLIENTS} clients")
    figure.legend(*seconds.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    figure.savefig(path, dpi=120)


def main(
    regions: Annotated[list[int], typer.Argument(help="How many regions the project has, for each run.")],
    plot_to: Annotated[Path | None, typer.Option("--plot", help="Draw the figures to this PNG.")] = None,
) -> None:
    """Measure webhook intake and reconciliations, and print the figures."""
    all_figures = []
    for count in regions:
        with tempfile.TemporaryDirectory() as folder:
            tasks, path = count // REGIONS_PER_IMAGE, Path(folder) / "ledger.sqlite"
            print(f"{count} regions, {tasks} tasks", flush=True)
            fill(path, tasks)
            figures: dict[str, Any] = {"regions": count} | reconciliations(path, tasks) | intake(Path(folder), tasks)
            all_figures.append(figures)
    if plot_to is not None:
        plot(all_figures, plot_to)


if __name__ == "__main__":
    typer.run(main)
