"""A real Label Studio, annotated through its API while the backend is up, down and restarted; the data set is then
compared with Label Studio's own export, which is read here by the SDK's decoder and not by ours."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle, mask2rle
from pycocotools import mask as coco

from backend.demo import photographs
from backend.demo.running import LABEL_CONFIG, Demo
from backend.demo.studio import DemoProject
from backend.ledger import Ledger

pytestmark = pytest.mark.e2e

HEIGHT, WIDTH = 303, 384
Region = tuple[str, bytes, int, int]
"""Category, packed mask, task, annotation."""


class Annotators:
    """Those who work in a project, by the API that Label Studio's own screen uses.

    pictures: PNG files, one for each task.
    """

    def __init__(self, demo: Demo, title: str, pictures: Sequence[bytes] = ()):
        self.demo = demo
        self._http = httpx.Client(
            base_url=demo.label_studio.url,
            headers={"Authorization": f"Token {demo.token}"},
            timeout=60,
            trust_env=False,
        )
        self.project = self._call("POST", "/api/projects/", {"title": title, "label_config": LABEL_CONFIG.read_text()})[
            "id"
        ]
        with DemoProject(demo.label_studio.url, demo.token) as connecting:
            connecting.connect(self.project, demo.backend.url)
        # Unless others are given, the same photograph each time: what is compared is which regions are there.
        for picture in pictures or [photographs.read("coins.png")] * 7:
            files = {"file": ("coins.png", picture)}
            self._http.post(f"/api/projects/{self.project}/import", files=files).raise_for_status()
        listed = self._call("GET", f"/api/tasks/?project={self.project}&page_size=100")["tasks"]
        self.tasks = sorted(task["id"] for task in listed)

    def create(self, task: int, *regions: list[dict], cancelled: bool = False) -> int:
        body = {"result": sum(regions, []), "was_cancelled": cancelled}
        return self._call("POST", f"/api/tasks/{task}/annotations/", body)["id"]

    def click(self, task: int, x: float, y: float, width: int, height: int) -> dict[str, Any]:
        """What is suggested for a click at a pixel of a picture of `width` x `height`."""
        (connected,) = self._call("GET", f"/api/ml/?project={self.project}")
        frame = {"original_width": width, "original_height": height, "image_rotation": 0}
        value = {"x": 100 * x / width, "y": 100 * y / height, "width": 0.2, "keypointlabels": ["Object"]}
        point = {"id": f"click-{x}-{y}", "from_name": "point", "to_name": "image", "type": "keypointlabels"}
        drawn = frame | point | {"value": value, "is_positive": True, "origin": "manual"}
        asked = {"task": task, "context": {"result": [drawn]}}
        return self._call("POST", f"/api/ml/{connected['id']}/interactive-annotating", asked)["data"]

    def update(self, annotation: int, **fields: Any) -> None:
        self._call("PATCH", f"/api/annotations/{annotation}/", fields)

    def delete(self, annotation: int) -> None:
        self._http.delete(f"/api/annotations/{annotation}/").raise_for_status()

    def delete_tasks(self, *tasks: int) -> None:
        """By the button of the task list, which deletes many at once."""
        selected = {"selectedItems": {"all": False, "included": list(tasks)}, "project": self.project}
        self._call("POST", f"/api/dm/actions?id=delete_tasks&project={self.project}", selected)

    def exported(self) -> set[Region]:
        """Label Studio's own export: the regions of annotations that were not cancelled."""
        tasks = self._call("GET", f"/api/projects/{self.project}/export?exportType=JSON&download_all_tasks=true")
        return {
            region
            for task in tasks
            for annotation in task["annotations"]
            if not annotation["was_cancelled"]
            for region in regions_of(annotation["result"], task["id"], annotation["id"])
        }

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        response = self._http.request(method, path, json=body)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text[:300]}"
        return response.json()


def drawn(id: str, category: str, corner: int) -> list[dict]:
    """A region as the screen saves it: a disc, and its category."""
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    mask = (rows - 40 - corner) ** 2 + (columns - 50 - 2 * corner) ** 2 < 30**2
    rle = mask2rle(mask.astype(np.uint8) * 255)
    common = {"id": id, "to_name": "image", "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    value = {"format": "rle", "rle": rle}
    return [
        common | {"from_name": "region", "type": "brushlabels", "value": value | {"brushlabels": ["Object"]}},
        common | {"from_name": "category", "type": "textarea", "value": value | {"text": [category]}},
    ]


def regions_of(results: list[dict], task: int, annotation: int) -> set[Region]:
    categories = {r["id"]: r["value"]["text"][0] for r in results if r["from_name"] == "category"}
    return {
        (
            categories[r["id"]],
            packed(decode_rle(r["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)[:, :, 3]),
            task,
            annotation,
        )
        for r in results
        if r["type"] == "brushlabels"
    }


def packed(mask: np.ndarray) -> bytes:
    return np.packbits(mask > 127 if mask.dtype == np.uint8 and mask.max() > 1 else mask > 0).tobytes()


def run_export(demo: Demo, project: int, out: Path) -> set[Region]:
    """`pam-studio export`, as a person runs it; the regions of the newest version."""
    program = str(Path(sys.executable).parent / "pam-studio")
    command = [program, "export", "--project", str(project), "--out", str(out), "--data-dir", str(demo.data_dir)]
    result = subprocess.run([*command, "--formats", "coco"], capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stdout + result.stderr
    documents = [json.loads(file.read_text()) for file in (out / "latest" / "coco").glob("instances_*.json")]
    return {
        (
            each["attributes"]["category"],
            packed(coco.decode(each["segmentation"])),
            each["attributes"]["task_id"],
            each["attributes"]["annotation_id"],
        )
        for document in documents
        for each in document["annotations"]
    }


def held(demo: Demo, project: int) -> dict[int, bool]:
    """What webhooks alone have brought: annotations to whether they are cancelled."""
    with Ledger(demo.data_dir / "ledger.sqlite") as ledger:
        return {a.id: a.was_cancelled for of_task in ledger.annotations_by_task(project) for a in of_task}


def change_number(demo: Demo, project: int) -> int:
    with Ledger(demo.data_dir / "ledger.sqlite") as ledger:
        return ledger.change_number(project)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.2)


def test_the_data_set_is_what_label_studio_says(demo: Demo, tmp_path: Path) -> None:
    """Created, updated, cancelled and deleted; with the backend up, down and up again."""
    work = Annotators(demo, "Ledger")
    first, second, third, fourth, fifth, sixth, seventh = work.tasks
    out = tmp_path / "regions"

    changed = work.create(first, drawn("a1", "coin", 0), drawn("a2", "small coin", 40))
    deleted = work.create(second, drawn("b1", "coin", 10))
    skipped = work.create(third, drawn("c1", "coin", 20), cancelled=True)
    unskipped = work.create(fourth, drawn("d1", "coin", 30), cancelled=True)
    other = work.create(first, drawn("e1", "medal", 5))
    work.create(seventh, drawn("f1", "coin", 50))
    work.update(changed, result=drawn("a1", "old coin", 2) + drawn("a2", "small coin", 40))
    work.delete_tasks(seventh)
    expected = {changed: False, deleted: False, skipped: True, unskipped: True, other: False}
    wait_for(lambda: held(demo, work.project) == expected)
    number = change_number(demo, work.project)
    assert run_export(demo, work.project, out) == work.exported()
    assert change_number(demo, work.project) == number, "its list says of an annotation what its webhooks said"
    assert {category for category, *_ in work.exported()} == {"old coin", "small coin", "coin", "medal"}

    demo.backend.stop()
    work.update(changed, result=drawn("a1", "very old coin", 7))
    work.update(unskipped, was_cancelled=False)
    work.delete(deleted)
    work.create(fifth, drawn("g1", "token", 60), drawn("g2", "coin", 80))
    gone_with_its_task = work.create(sixth, drawn("h1", "coin", 90))
    work.delete_tasks(sixth)
    assert held(demo, work.project) == expected
    assert run_export(demo, work.project, out) == work.exported()

    demo.backend.start()
    demo.backend.wait_until_healthy(120)
    work.update(other, was_cancelled=True)
    late = work.create(second, drawn("i1", "button", 15))
    work.delete_tasks(fifth)
    wait_for(
        lambda: held(demo, work.project) == {changed: False, skipped: True, unskipped: False, other: True, late: False}
    )
    assert gone_with_its_task not in held(demo, work.project)
    assert run_export(demo, work.project, out) == work.exported()
    assert {category for category, *_ in work.exported()} == {"very old coin", "coin", "button"}
    assert len(list(out.glob("v0*"))) == 3

    assert run_export(demo, work.project, out) == work.exported()
    assert len(list(out.glob("v0*"))) == 3, "nothing changed, so there is no new version"
