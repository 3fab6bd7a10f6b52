"""Clips of real photographs with a moving object, and requests about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks import moving
from model.prompt import Box
from tests.model.frames.clips import write

ADDRESS = "/data/upload/1/clip.mp4"
CONFIG = (Path(__file__).parents[3] / "label_config" / "video.xml").read_text()
FRAMES, RATE = 20, 25


class Clip:
    """A clip as a file, and the box of its object on each frame, from 0."""

    def __init__(self, path: Path):
        shown = list(moving.clip(moving.Path(seed=5, frames=FRAMES)))
        self.data = write(path, [frame.image for frame in shown], rate=RATE, crf="18").read_bytes()
        self.masks = [frame.truth for frame in shown]
        self.boxes = [
            Box(x, y, x + w, y + h) for x, y, w, h in (cv2.boundingRect(m.view(np.uint8)) for m in self.masks)
        ]


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return Clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


def keyframe(number: int, box: Box, enabled: bool = True) -> dict[str, Any]:
    """As Label Studio draws one on a video of the clip's size."""
    across, down = 100 / moving.WIDTH, 100 / moving.HEIGHT
    return {
        "frame": number, "enabled": enabled, "rotation": 0, "x": box.x0 * across, "y": box.y0 * down,
        "width": (box.x1 - box.x0) * across, "height": (box.y1 - box.y0) * down, "time": number / RATE,
    }  # fmt: skip


def region(id: str, sequence: Sequence[dict[str, Any]], words: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """The results of a region as Label Studio sends them."""
    common = {"id": id, "to_name": "video", "origin": "manual"}
    value = {"framesCount": FRAMES, "duration": FRAMES / RATE, "sequence": list(sequence)}
    return [
        common | {"from_name": "box", "type": "videorectangle", "value": value | {"labels": ["Object"]}},
        *(
            common | {"from_name": name, "type": "textarea", "value": value | {"text": [text]}}
            for name, text in (words or {}).items()
        ),
    ]


def request(*regions: list[dict[str, Any]], address: str = ADDRESS, config: str = CONFIG) -> dict[str, Any]:
    """A body of POST /predict."""
    return {
        "tasks": [{"id": 7, "data": {"video": address}, "annotations": [], "drafts": []}],
        "project": "3.1795351069",
        "label_config": config,
        "params": {"context": {"result": [result for one in regions for result in one]}},
    }


def webhook(
    action: str, results: Sequence[dict[str, Any]] = (), *, task: int = 7, annotation: int = 1, minute: int = 0
) -> dict[str, Any]:
    """What Label Studio says of an annotation, or of a task that is gone."""
    at = f"2030-01-01T10:{minute:02d}:00Z"
    said = {
        "id": annotation, "task": task, "project": 3, "result": list(results), "was_cancelled": False,
        "created_at": at, "updated_at": at, "completed_by": 1,
    }  # fmt: skip
    about: dict[str, Any] = {"annotation": said, "task": {"id": task, "data": {"video": ADDRESS}}}
    if action == "ANNOTATIONS_DELETED":
        about = {"annotations": [{"id": annotation}]}
    elif action == "TASKS_DELETED":
        about = {"tasks": [{"id": task}]}
    return {"action": action, "project": {"id": 3}, **about}
