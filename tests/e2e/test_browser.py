"""From a click in a real Label Studio to a training record, on a real photograph."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from backend import masks
from backend.demo.running import Demo
from backend.ledger import Ledger
from backend.suggestion import Suggestion
from backend.webhook_event import Annotation
from model.region import FIELDS
from tests.e2e.annotator import Annotator, Pixel

WIDTH, HEIGHT = 384, 303
COIN, BESIDE_COIN = (153, 47), (188, 75)
"""The third coin of the first row, and the dark cloth near it."""
NEXT_COIN, NEXT_CORNERS = (217, 47), ((188, 17), (246, 76))
STROKE = ((150, 78), (165, 84), (182, 84))
THIRD_CORNERS = ((254, 22), (307, 74))
MENDED = {"category": "silver coin", "caption": "A worn silver coin with a head on it."}


@dataclass(frozen=True)
class SavedRegion:
    """A region as Label Studio keeps it."""

    mask: np.ndarray
    words: dict[str, str]


@pytest.mark.e2e
def test_click_becomes_a_corrected_training_record(demo: Demo, annotator: Annotator, tmp_path: Path) -> None:
    """The whole path: suggestion, refinement, acceptance, mended words and mask, submission, ledger and export; and the
    next coin is called what the annotator called the first two."""
    task = coins_task(demo)
    suggested = point_at_a_coin(annotator, demo.project, task)
    mend(annotator)
    box_the_next_coin(annotator)
    annotator.submit()

    coin, next_coin = saved_regions(demo, task)
    assert coin.words == suggested | MENDED
    assert next_coin.words.keys() == set(FIELDS) and next_coin.words["category"] == MENDED["category"]
    for region, centre, other in ((coin, COIN, NEXT_COIN), (next_coin, NEXT_COIN, COIN)):
        assert region.mask[centre[1], centre[0]] and not region.mask[other[1], other[0]]

    with Ledger(data_dir(demo) / "ledger.sqlite") as ledger:
        annotation = journalled_annotation(ledger, demo.project)
        assert annotation.task_id == task
        clicked, boxed = (ledger.suggestion(region_id) for region_id in region_ids(demo, task))
    assert clicked and [point.positive for point in clicked.points] == [True, False]
    assert boxed and boxed.box and not boxed.points
    assert_painted(STROKE, coin.mask, suggested_mask(clicked))
    assert np.array_equal(next_coin.mask, suggested_mask(boxed))

    out = tmp_path / "regions"
    run_export(demo, out)
    assert_exported(out, coin, next_coin)
    box_a_third_coin(demo, annotator, task)


def point_at_a_coin(annotator: Annotator, project: int, task: int) -> dict[str, str]:
    """Click a coin, refine with Alt+click, accept; the words that came with it."""
    annotator.open(project, task, WIDTH, HEIGHT)
    annotator.switch_on_auto_annotation()
    annotator.choose_smart_point()
    annotator.click(COIN)
    annotator.screenshot("suggestion")
    annotator.click(BESIDE_COIN, negative=True)
    annotator.screenshot("refined")
    annotator.accept()
    annotator.select_region(0)
    annotator.screenshot("accepted")
    words = {field: annotator.read(field) for field in FIELDS}
    assert all(words.values()), f"a field came back empty: {words}"
    return words


def mend(annotator: Annotator) -> None:
    for field, text in MENDED.items():
        annotator.rewrite(field, text)
    annotator.screenshot("mended_words")
    annotator.paint(STROKE)
    annotator.screenshot("mended_mask")
    annotator.deselect()


def box_the_next_coin(annotator: Annotator) -> None:
    annotator.choose_smart_box()
    annotator.draw_box(*NEXT_CORNERS)
    annotator.screenshot("box_suggestion")
    annotator.accept()
    assert annotator.region_count() == 2
    annotator.select_region(1)
    annotator.rewrite("category", MENDED["category"])
    annotator.screenshot("two_regions")
    annotator.deselect()


def box_a_third_coin(demo: Demo, annotator: Annotator, task: int) -> None:
    """It comes with the words that two others were corrected to, and the ledger knows that they are remembered."""
    annotator.choose_smart_box()
    annotator.draw_box(*THIRD_CORNERS)
    annotator.accept()
    annotator.select_region(2)
    annotator.screenshot("remembered")
    assert annotator.read("category") == MENDED["category"]
    with Ledger(data_dir(demo) / "ledger.sqlite") as ledger:
        *_, suggestion = ledger.suggestions_of_task(demo.project, task)
    assert suggestion.sources["category"] == "memory"


def coins_task(demo: Demo) -> int:
    tasks = ask(demo, f"/api/tasks/?project={demo.project}&page_size=100")["tasks"]
    assert len(tasks) >= 6
    return next(task["id"] for task in tasks if task["data"]["image"].endswith("-coins.png"))


def saved_results(demo: Demo, task: int) -> list[dict]:
    (annotation,) = ask(demo, f"/api/tasks/{task}/")["annotations"]
    return annotation["result"]


def region_ids(demo: Demo, task: int) -> list[str]:
    """In the order in which the regions were made."""
    return list(dict.fromkeys(result["id"] for result in saved_results(demo, task)))


def saved_regions(demo: Demo, task: int) -> list[SavedRegion]:
    results = saved_results(demo, task)
    assert {result["type"] for result in results} == {"brushlabels", "textarea"}
    return [saved_region([r for r in results if r["id"] == region_id]) for region_id in region_ids(demo, task)]


def saved_region(results: list[dict]) -> SavedRegion:
    by_name = {result["from_name"]: result["value"] for result in results}
    mask = masks.from_brush_rle(by_name.pop("region")["rle"], HEIGHT, WIDTH)
    return SavedRegion(mask, {name: value["text"][0] for name, value in by_name.items()})


def journalled_annotation(ledger: Ledger, project: int) -> Annotation:
    """What the webhook brought; Label Studio sends it in the background, a moment after the submission."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [annotation for task in ledger.annotations_by_task(project) for annotation in task]
        if found:
            (annotation,) = found
            return annotation
        time.sleep(0.2)
    raise AssertionError("no webhook reached the ledger within a minute")


def suggested_mask(suggestion: Suggestion) -> np.ndarray:
    return masks.from_coco_rle(suggestion.mask_rle, suggestion.height, suggestion.width)


def assert_painted(stroke: tuple[Pixel, ...], mended: np.ndarray, suggested: np.ndarray) -> None:
    """Where the brush went there is mask now, and nothing is lost."""
    places = [(int(y), int(x)) for x, y in stroke]
    assert all(mended[place] for place in places)
    assert not all(suggested[place] for place in places)
    assert mended[suggested].mean() > 0.99
    assert mended.sum() > suggested.sum() + 50


def run_export(demo: Demo, out: Path) -> None:
    """`pam-studio export`, as a person runs it, with no word of Label Studio but what the ledger remembers."""
    program = str(Path(sys.executable).parent / "pam-studio")
    command = [program, "export", "--project", str(demo.project), "--out", str(out), "--data-dir", str(data_dir(demo))]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def assert_exported(out: Path, coin: SavedRegion, next_coin: SavedRegion) -> None:
    version = out / "latest"
    assert answers(version, "recognize_en") == [coin.words["category"], next_coin.words["category"]]
    assert answers(version, "brief_cap_en") == [coin.words["caption"], next_coin.words["caption"]]
    first = records(version, "recognize_en")[0]
    assert (version / first["image"]).is_file()
    # A screen has pixels of its own, so a click lands within one of the photograph's.
    clicks = [point for point, label in zip(first["points"], first["labels"], strict=True) if label == 1]
    assert any(max(abs(x - COIN[0]), abs(y - COIN[1])) <= 1 for x, y in clicks)

    (file,) = version.glob("coco/instances_*.json")
    coco = json.loads(file.read_text())
    assert [row["attributes"]["category"] for row in coco["annotations"]] == [
        coin.words["category"],
        next_coin.words["category"],
    ]
    assert [row["attributes"]["outcome"] for row in coco["annotations"]] == ["corrected", "corrected"]
    for row, region in zip(coco["annotations"], (coin, next_coin), strict=True):
        height, width = row["segmentation"]["size"]
        assert np.array_equal(masks.from_coco_rle(row["segmentation"]["counts"], height, width), region.mask)


def records(version: Path, task: str) -> list[dict]:
    (file,) = version.glob(f"pam/*/{task}.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def answers(version: Path, task: str) -> list[str]:
    return [record["conversations"][1]["value"] for record in records(version, task)]


def ask(demo: Demo, path: str) -> dict:
    headers = {"Authorization": f"Token {demo.token}"}
    response = httpx.get(demo.label_studio.url + path, headers=headers, timeout=30, trust_env=False)
    return response.raise_for_status().json()


def data_dir(demo: Demo) -> Path:
    return demo.data_dir
