"""What clicks wait for while another model takes over, and while the memory is seen anew by it.

python -m benchmarks.takeover [--clicks 60] [--tasks 100] [--out results.json]
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import skimage.data
import torch
import typer
from flask.testing import FlaskClient
from PIL import Image

import model
from backend.app import create_app
from backend.assembly import Backend, assemble
from backend.ledger import Project
from backend.models import registry_of
from backend.settings import Settings
from benchmarks.click import CONFIG, ask, request, served
from model import checkpoints

WIDTH, HEIGHT = 384, 303

PAUSE_SECONDS = 0.25
"""Between an answer and the next click: quicker than people."""

MOST = 200
"""Clicks while the memory is seen anew."""


def other_model(run: Path) -> str:
    """A finished training in `run` whose weights are nano's, a little shaken; its version."""
    pam = model.load("nano")
    generator = torch.Generator().manual_seed(0)
    for weights in pam.perceiver.parameters():
        weights.mul_(1 + 0.02 * torch.randn(weights.shape, generator=generator))
    checkpoints.save(pam, run / "checkpoint", {})
    checkpoint = checkpoints.read(run / "checkpoint")
    version = checkpoint.version(checkpoint.recorded or "")
    data = {"path": "", "train": 0, "validation": 0}
    report = {"base": "", "version": version, "data": data, "validation": {"regions": 0, "fields": {}}}
    (run / "report.json").write_text(json.dumps(report))
    return version


def remember(backend: Backend, client: FlaskClient, address: str, tasks: int) -> None:
    """Have `tasks` tasks with a corrected region in the memory of project 1."""
    backend.ledger.remember_project(Project(1, CONFIG))
    results = client.post("/predict", json=request(address, WIDTH, HEIGHT, 40, 41)).json["results"][0]["result"]
    made = backend.ledger.suggestion(results[0]["id"])
    assert made is not None
    moment = datetime.now(UTC).isoformat()
    for task in range(2, tasks + 2):
        region_id = f"region{task}"
        backend.ledger.record_suggestion(replace(made, task_id=task, region_id=region_id))
        state = {
            "id": task, "task": task, "project": 1, "result": [result | {"id": region_id} for result in results],
            "was_cancelled": False, "created_at": moment, "updated_at": moment,
        }  # fmt: skip
        payload = {"annotation": state, "task": {"id": task, "data": {"image": address}}, "project": {"id": 1}}
        backend.ledger.journal("ANNOTATION_CREATED", payload)


def timed(client: FlaskClient, bodies: list[dict[str, Any]], goes_on: Callable[[int], bool]) -> list[float]:
    """Milliseconds of clicks, for as long as `goes_on`, told how many there were, says so."""
    found: list[float] = []
    while goes_on(len(found)):
        time.sleep(PAUSE_SECONDS)
        found.append(ask(client, bodies[len(found) % len(bodies)]))
    return found


def main(
    clicks: Annotated[int, typer.Option(help="Clicks while nothing else goes on.")] = 60,
    tasks: Annotated[int, typer.Option(help="Tasks with a region that is seen anew.")] = 100,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file too.")] = None,
) -> None:
    """Click on coins; one model thread, one annotator who never rests."""
    places = np.random.default_rng(0).uniform(20, 80, (clicks, 2))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Image.fromarray(skimage.data.coins()).save(folder / "coins.jpg", quality=92)
        version = other_model(folder / "run")
        with served(folder) as address:
            url = f"{address}/coins.jpg"
            bodies = [request(url, WIDTH, HEIGHT, x, y) for x, y in places]
            backend = assemble(Settings(data_dir=folder / "data"))
            while not backend.engine.ready:
                time.sleep(0.05)
            client = create_app(backend).test_client()
            remember(backend, client, url, tasks)
            ask(client, bodies[0])
            figures = {"nothing else": timed(client, bodies, lambda done: done < clicks)}
            registry = registry_of(backend.settings)
            registry.add(folder / "run", version)
            registry.promote(version, "benchmark")
            began = time.perf_counter()
            figures["another model is loaded"] = timed(client, bodies, lambda done: backend.engine.version != version)
            loaded = time.perf_counter()
            left = backend.ledger.memories.unseen
            figures["memory is seen anew"] = timed(client, bodies, lambda done: any(left(version)) and done < MOST)
            seen = time.perf_counter()
            while any(left(version)):
                time.sleep(0.05)
            unhindered = time.perf_counter()
            backend.close()
    print("| milliseconds | clicks | p50 | p95 | longest |\n|---|---|---|---|---|")
    for title, row in figures.items():
        p50, p95, longest = np.percentile(row, (50, 95, 100)) if row else (np.nan,) * 3
        print(f"| {title} | {len(row)} | {p50:.0f} | {p95:.0f} | {longest:.0f} |")
    print(f"\nfrom promotion to the first click of the new model {loaded - began:.1f} s")
    print(f"{tasks} tasks seen anew in {seen - loaded:.1f} s beside clicks, and {unhindered - seen:.1f} s after them")
    if out:
        out.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    typer.run(main)
