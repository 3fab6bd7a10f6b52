"""How long an annotator waits: from the click's request to the answer, through the whole backend.

python -m benchmarks.click [--clicks 30] [--out results.json] [--beside "pam-studio train --data … --out …"]
"""

from __future__ import annotations

import functools
import http.server
import json
import resource
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import skimage.data
import typer
from flask.testing import FlaskClient
from PIL import Image

from backend.app import create_app
from backend.assembly import assemble
from backend.settings import Settings

CONFIG = (Path(__file__).parents[1] / "label_config" / "image.xml").read_text()
PICTURES = {"coins, 0.1 Mpx": (384, 303), "retina, 2 Mpx": (1411, 1411), "retina enlarged, 12 Mpx": (3464, 3464)}


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server of that folder, on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def request(address: str, width: int, height: int, x: float, y: float) -> dict[str, Any]:
    """A click at x, y percent, as Label Studio sends it."""
    value = {"x": x, "y": y, "width": 0.2, "keypointlabels": ["Object"]}
    click = {"original_width": width, "original_height": height, "image_rotation": 0, "is_positive": True}
    click |= {"value": value, "id": "click", "from_name": "point", "to_name": "image", "type": "keypointlabels"}
    task = {"id": 1, "data": {"image": address}, "annotations": [], "drafts": []}
    return {"tasks": [task], "project": "1.0", "label_config": CONFIG, "params": {"context": {"result": [click]}}}


def ask(client: FlaskClient, body: dict[str, Any]) -> float:
    """Milliseconds until the answer is there."""
    began = time.perf_counter()
    response = client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    return 1000 * (time.perf_counter() - began)


@contextmanager
def running(command: str | None) -> Iterator[None]:
    """What a background job would run, as jobs run it: at the lowest priority, for as long as the block lasts."""
    if command is None:
        yield
        return
    leash = [sys.executable, "-m", "backend.leash", "--nice", *shlex.split(command)]
    with subprocess.Popen(leash, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        yield
        if process.poll() is not None:
            raise SystemExit(f"{command!r} ended, with status {process.returncode}, before the clicks did: no figures")
        assert process.stdin is not None
        process.stdin.close()


def main(
    clicks: Annotated[int, typer.Option(help="Clicks on each picture.")] = 30,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file too.")] = None,
    beside: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="What runs meanwhile, as a background job would run it.")
    ] = None,
) -> None:
    """Click at random places of three pictures, the first time with the picture unseen; one model thread."""
    rng = np.random.default_rng(0)
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, size in PICTURES.items():
            photo = skimage.data.coins() if title.startswith("coins") else skimage.data.retina()
            Image.fromarray(photo).resize(size).save(folder / f"{size[0]}.jpg", quality=92)
        with served(folder) as address, running(beside):
            backend = assemble(Settings(data_dir=folder / "data"))
            while not backend.engine.ready:
                time.sleep(0.05)
            client = create_app(backend).test_client()
            for title, (width, height) in PICTURES.items():
                places = rng.uniform(20, 80, (clicks + 1, 2))
                bodies = [request(f"{address}/{width}.jpg", width, height, x, y) for x, y in places]
                first, *later = (ask(client, body) for body in bodies)
                p50, p95 = np.percentile(later, (50, 95))
                figures[title] = {"first": round(first), "p50": round(p50), "p95": round(p95)}
    print("| milliseconds | first click, picture unseen | later clicks, p50 | p95 |\n|---|---|---|---|")
    for title, row in figures.items():
        print(f"| {title} | {row['first']} | {row['p50']} | {row['p95']} |")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    if out:
        out.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    typer.run(main)
