"""Seconds from a box on a video to Label Studio's first answer, and how far the object is followed by then.

    python -m benchmarks.first_answer [SECONDS_OF_CLIP]

A clip of 480 x 270 pixels at 25 frames a second, nano, one thread; the file is already fetched.
"""

from __future__ import annotations

import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path

import cv2

from backend.app import create_app
from backend.assembly import assemble
from backend.settings import Settings
from benchmarks import moving
from model.prompt import Box
from tests.backend.video.conftest import keyframe, region, request
from tests.model.frames.clips import write


def main(seconds: float) -> None:
    shown = list(moving.clip(moving.Path(seed=5, frames=round(25 * seconds))))
    x, y, width, height = cv2.boundingRect(shown[0].truth.astype("uint8"))
    with tempfile.TemporaryDirectory() as folder:
        data = write(Path(folder) / "clip.mp4", [frame.image for frame in shown], rate=25, crf="18").read_bytes()
        backend = assemble(Settings(data_dir=Path(folder) / "data", video_seconds=90))
        while not backend.engine.ready:
            time.sleep(0.1)
        client = create_app(backend).test_client()
        address = "data:video/mp4;base64," + b64encode(data).decode()
        body = request(region("r", [keyframe(1, Box(x, y, x + width, y + height))]), address=address)
        began = time.monotonic()
        answer = client.post("/predict", json=body).json
        taken = time.monotonic() - began
        (work,) = backend.suggester.videos.tracking.works()
        keyframes = answer["results"][0]["result"][0]["value"]["sequence"]
        print(
            f"{seconds:g} s, {len(shown)} frames: answer after {taken:.1f} s, {work.done} frames followed "
            f"({1000 * work.seconds / max(1, work.done):.0f} ms each), {len(keyframes)} keyframes"
        )
        backend.close()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
