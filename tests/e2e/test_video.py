"""From a box on a video in a real Label Studio to a masklet, on a clip made of real photographs."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from backend.demo.running import Demo
from backend.demo.studio import DemoProject
from backend.json_node import Node
from backend.ledger import Ledger
from backend.masks import from_coco_rle
from backend.video.grid import grid_of
from backend.video.keyframes import Keyframe, interpolated, read_sequence
from benchmarks import moving
from model.frames import open_frames
from model.prompt import Box
from model.region import FIELDS
from tests.e2e.annotator import Annotator, Pixel
from tests.model.frames.clips import number_in, numbered, write

CONFIG = Path(__file__).resolve().parents[2] / "label_config" / "video.xml"
FRAMES, RATE = 50, 25
CLIP = moving.Path(seed=5, frames=FRAMES)
LABEL, AGAIN = "1", "2"
OTHER_CLIP = moving.Path(seed=4, frames=FRAMES)
MENDED_FRAME, SHIFT = 31, (14, 10)
MENDED_EVENT = "The bowl rolls down and comes back."
CATEGORY = "wooden bowl"


@pytest.mark.e2e
def test_a_box_becomes_a_masklet(demo: Demo, annotator: Annotator, tmp_path: Path) -> None:
    """Box, label, boxes that follow the object, words, a mended frame and word, submission, export: the masks that the
    data set holds are the object's, and the mended frame is known as mended."""
    clip = list(moving.clip(CLIP))
    truth = [_box(frame.truth) for frame in clip]
    project, task = _video_task(demo, write(tmp_path / "clip.mp4", [frame.image for frame in clip], crf="18"))
    screen = VideoScreen(annotator, project, task)
    screen.draw(truth[0])
    answer = screen.label(0)
    annotator.screenshot("answered")
    words = {r["from_name"]: r["value"]["text"][0] for r in answer if r["type"] == "textarea"}
    assert set(words) == set(FIELDS) and all(words.values())
    (box,) = [r for r in answer if r["type"] == "videorectangle"]
    keyframes = read_sequence(Node(box["value"]["sequence"]))
    assert 2 <= len(keyframes) < FRAMES
    overlaps = [_iou(_at(keyframes, number), truth[number - 1]) for number in range(1, FRAMES + 1)]
    assert np.mean(overlaps) >= 0.6 and len(screen.regions()) == 1

    screen.go_to(MENDED_FRAME)
    annotator.screenshot("before_mending")
    middle = _middle(_at(keyframes, MENDED_FRAME))
    screen.drag(middle, (middle[0] + SHIFT[0], middle[1] + SHIFT[1]))
    annotator.screenshot("mended")
    annotator.rewrite("category", CATEGORY)
    annotator.screenshot("rewritten")
    annotator.submit()

    _wait_for_webhook(demo, project)
    document, records = _exported(demo, project, tmp_path / "regions")
    numbers = document["frame_index"]
    masks = [_rle(frame[0]) for frame in document["masklet"]]
    away = [i for i, number in enumerate(numbers) if number + 1 < MENDED_FRAME - 12]
    assert len(away) >= 3
    assert np.mean([_mask_iou(masks[i], clip[numbers[i]].truth) for i in away]) >= 0.6
    moved = _box(masks[numbers.index(MENDED_FRAME - 1)])
    assert _middle(moved) == pytest.approx(np.add(middle, SHIFT), abs=4)
    assert document["masklet_edited_frame_count"][0] >= 1
    assert document["masklet_category"] == [CATEGORY]
    assert words["caption"] in [record["conversations"][1]["value"] for record in records]


@pytest.mark.e2e
def test_two_objects_and_what_happens_to_them(demo: Demo, annotator: Annotator, tmp_path: Path) -> None:
    """Two boxes in one clip, one after the other: each is followed by itself, and has its events with their captions
    under it; an event that a person rewrote stays as it is when the other object is answered; when that one is mended,
    its events from there on are replaced in their places; the data set holds both masklets, and the words of each event
    with its own object."""
    clip = list(_with_two(moving.clip(CLIP), moving.clip(OTHER_CLIP)))
    project, task = _video_task(demo, write(tmp_path / "two.mp4", [image for image, _ in clip], crf="18"))
    screen = VideoScreen(annotator, project, task)
    screen.draw(_box(clip[0][1][0]))
    first = screen.label(0)
    annotator.deselect()
    screen.open_up(0)
    screen.select_event(1)
    annotator.screenshot("event")
    annotator.rewrite("caption", MENDED_EVENT)
    screen.page.keyboard.press("u")
    shown = len(screen.regions())
    screen.draw(_box(clip[0][1][1]), shown + 1)
    annotator.screenshot("second_box")
    second = screen.label(shown)
    annotator.screenshot("second_answered")
    for results, other in ((first, second), (second, first)):
        (box,) = [r for r in results if r["type"] == "videorectangle"]
        events = [r for r in results if r["type"] == "timelinelabels"]
        assert events and all(r["parentID"] == box["id"] for r in events)
        ranges = [r["value"]["ranges"][0] for r in events]
        assert ranges[0]["start"] == 1 and ranges[-1]["end"] == FRAMES
        captions = {r["id"]: r["value"]["text"] for r in results if r["from_name"] == "caption"}
        assert all(captions[r["id"]][0] for r in events)
        assert not {r["id"] for r in results} & {r["id"] for r in other}
    screen.select_again(shown)
    screen.go_to(MENDED_FRAME)
    (box,) = [r for r in second if r["type"] == "videorectangle"]
    middle = _middle(_at(read_sequence(Node(box["value"]["sequence"])), MENDED_FRAME))
    screen.drag(middle, (middle[0] + 5, middle[1] + 4))
    third = screen.label(shown, AGAIN)
    annotator.screenshot("replaced")
    old, new = _parts(second), _parts(third)
    assert new and {id for id, (_, end, _) in old.items() if end >= MENDED_FRAME} <= set(new)
    annotator.submit()
    on_screen = _parts(_saved(demo, task))
    assert {id: on_screen[id] for id in old | new} == old | new
    assert sorted(on_screen) == sorted(_parts(first) | old | new)

    _wait_for_webhook(demo, project)
    document, records = _exported(demo, project, tmp_path / "regions")
    assert len(document["masklet_id"]) == 2
    numbers = document["frame_index"]
    found = [[_rle(frame[each]) for frame in document["masklet"]] for each in (0, 1)]
    overlaps = np.array(
        [[np.mean([_mask_iou(m, clip[n][1][i]) for m, n in zip(masks, numbers, strict=True)]) for i in (0, 1)]
         for masks in found]
    )  # fmt: skip
    assert max(overlaps.trace(), overlaps[::-1].trace()) / 2 >= 0.6
    said = [record["conversations"][1]["value"] for record in records]
    assert said.count(MENDED_EVENT) == 1 and len(said) >= 2


# Not 24 to 26 with B-frames: Chromium 150 goes by the durations of samples when it seeks, and then a file gives the two
# frames after the rate changes those of frames before; it shows the ninth and tenth a tenth of a second too long.
@pytest.mark.e2e
@pytest.mark.parametrize(("b_frames", "numbers"), [("3", (1, 2, 4, 13, 23, 27, 28, 30)), ("0", (13, 24, 25, 26, 30))])
def test_the_frame_that_a_number_shows(
    demo: Demo, annotator: Annotator, tmp_path: Path, b_frames: str, numbers: tuple[int, ...]
) -> None:
    """In a clip of variable frame rate: the player counts as many frames as `backend.video.grid`, and shows on each the
    picture that it says, which carries its number."""
    times = [0.1 * n if n < 10 else 0.9 + 0.02 * (n - 9) for n in range(40)]
    images = [numbered(n, moving.HEIGHT, moving.WIDTH) for n in range(len(times))]
    path = write(tmp_path / "uneven.mp4", images, times=times, bf=b_frames, g="12", crf="18")
    with open_frames(path) as frames:
        grid = grid_of(frames, RATE)
    screen = VideoScreen(annotator, *_video_task(demo, path), count=grid.count)
    shown = {}
    for number in (*numbers, grid.count - 1):
        screen.go_to(number)
        shown[number] = number_in(screen.picture())
    annotator.screenshot("number")
    assert shown == {number: grid.at(number) for number in shown}


class VideoScreen:
    """Label Studio's screen for a video of `moving.WIDTH` x `moving.HEIGHT` pixels, with Auto-Annotation on."""

    def __init__(self, annotator: Annotator, project: int, task: int, count: int = FRAMES):
        self.annotator, self.page = annotator, annotator.page
        self.page.goto(f"{annotator.url}/projects/{project}/data?task={task}")
        expect(self._canvas()).to_be_visible(timeout=60_000)
        expect(self.page.get_by_text(f"of {count}")).to_be_visible(timeout=60_000)
        self.page.get_by_text("Auto-Annotation", exact=True).click()
        annotator.screenshot("video")

    def draw(self, box: Box, count: int = 1) -> None:
        """Draw a box; count: of the regions that are listed then."""
        self.drag((box.x0, box.y0), (box.x1, box.y1))
        expect(self.page.locator(".lsf-outliner-item")).to_have_count(count)

    def open_up(self, index: int) -> None:
        """Show what lies under a region in the list."""
        before = len(self.regions())
        self.page.locator(".lsf-tree-switcher").nth(index).click()
        self.page.wait_for_function(f"document.querySelectorAll('.lsf-outliner-item').length > {before}")

    def select_event(self, index: int) -> None:
        """Select what lies under a region: it has a caption alone."""
        self.page.locator(".lsf-outliner-item").nth(index).click()
        expect(self.page.get_by_label("Start frame")).to_be_visible()

    def select_again(self, index: int) -> None:
        """Select a region anew: after an answer the one that is selected is the one that was replaced."""
        self.page.keyboard.press("Escape")
        self.page.locator(".lsf-outliner-item").nth(index).click()
        expect(self.page.get_by_text("Category", exact=True)).to_be_visible()

    def label(self, index: int, label: str = LABEL) -> list[dict[str, Any]]:
        """Select a region and give it a label; the results that Label Studio is answered with."""
        if not self.page.get_by_text("Category", exact=True).is_visible():
            self.page.locator(".lsf-outliner-item").nth(index).click()
        expect(self.page.get_by_text("Category", exact=True)).to_be_visible()
        with self.page.expect_response(
            lambda response: "interactive-annotating" in response.url, timeout=100_000
        ) as answer:
            self.page.keyboard.press(label)
        assert answer.value.status == 200, answer.value.text()
        expect(self.page.locator("[data-testid=htx-textbox-content]").first).to_be_visible()
        return answer.value.json()["data"]["result"]

    def go_to(self, number: int) -> None:
        """Show the frame that Label Studio calls `number`."""
        shown = self.page.locator(".lsf-frames-control")
        shown.click()
        shown.locator("input").fill(str(number))
        shown.locator("input").press("Enter")
        expect(shown).to_contain_text(f"{number}")
        self.page.wait_for_timeout(500)  # for the player to begin; on a busy machine it then takes its time
        self.page.wait_for_function("Array.from(document.querySelectorAll('video')).every(v => !v.seeking)")
        self.page.wait_for_timeout(100)

    def picture(self) -> np.ndarray:
        """What the player shows, uint8 (HEIGHT, WIDTH, 3)."""
        x, y = self._on_screen((0, 0))
        area = {"x": x, "y": y, "width": moving.WIDTH, "height": moving.HEIGHT}
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot(clip=area))).convert("RGB"))

    def regions(self) -> list[str]:
        return self.page.locator(".lsf-outliner-item").all_inner_texts()

    def drag(self, start: Pixel, end: Pixel) -> None:
        mouse = self.page.mouse
        mouse.move(*self._on_screen(start))
        mouse.down()
        mouse.move(*self._on_screen(((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)), steps=5)
        mouse.move(*self._on_screen(end), steps=5)
        mouse.up()

    def _canvas(self) -> Locator:
        return self.page.locator(".lsf-video canvas").first

    def _on_screen(self, at: Pixel) -> Pixel:
        """The video stands in the middle of its canvas, unscaled where it fits."""
        frame = self._canvas().bounding_box()
        assert frame is not None and frame["width"] >= moving.WIDTH and frame["height"] >= moving.HEIGHT
        left = frame["x"] + (frame["width"] - moving.WIDTH) / 2
        return left + at[0], frame["y"] + (frame["height"] - moving.HEIGHT) / 2 + at[1]


def _with_two(
    one: Iterable[moving.Moving], other: Iterable[moving.Moving]
) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]]:
    """The frames of one clip with the object of another before them, and what is seen of both objects."""
    for below, above in zip(one, other, strict=True):
        image = np.where(above.truth[..., None], above.image, below.image)
        yield image, (below.truth & ~above.truth, above.truth)


def _parts(results: list[dict[str, Any]]) -> dict[str, tuple[int, int, str]]:
    """First and last frame, and caption, of each part of the timeline, by its region's id."""
    captions = {r["id"]: r["value"]["text"][0] for r in results if r["from_name"] == "caption"}
    ranges = {r["id"]: r["value"]["ranges"][0] for r in results if r["type"] == "timelinelabels"}
    return {id: (span["start"], span["end"], captions[id]) for id, span in ranges.items()}


def _saved(demo: Demo, task: int) -> list[dict[str, Any]]:
    """What Label Studio keeps of the one annotation of a task."""
    headers = {"Authorization": f"Token {demo.token}"}
    with httpx.Client(base_url=demo.label_studio.url, headers=headers, timeout=60, trust_env=False) as http:
        (annotation,) = http.get(f"/api/tasks/{task}/annotations/").raise_for_status().json()
    return annotation["result"]


def _rle(found: dict[str, Any]) -> np.ndarray:
    return from_coco_rle(found["counts"], *found["size"])


def _video_task(demo: Demo, video: Path) -> tuple[int, int]:
    http = httpx.Client(
        base_url=demo.label_studio.url, headers={"Authorization": f"Token {demo.token}"}, timeout=60, trust_env=False
    )
    with http:
        wanted = {"title": "Videos", "label_config": CONFIG.read_text()}
        project = http.post("/api/projects/", json=wanted).raise_for_status().json()["id"]
        with DemoProject(demo.label_studio.url, demo.token) as connecting:
            connecting.connect(project, demo.backend.url)
        files = {"file": (video.name, video.read_bytes())}
        http.post(f"/api/projects/{project}/import", files=files).raise_for_status()
        (task,) = http.get("/api/tasks/", params={"project": project}).raise_for_status().json()["tasks"]
    return project, task["id"]


def _wait_for_webhook(demo: Demo, project: int) -> None:
    deadline = time.monotonic() + 60
    with Ledger(demo.data_dir / "ledger.sqlite") as ledger:
        while not ledger.count_annotations(project):
            assert time.monotonic() < deadline, "no webhook reached the ledger within a minute"
            time.sleep(0.2)


def _exported(demo: Demo, project: int, out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """SA-V's document of the one video, and PAM's records of its captions."""
    program = str(Path(sys.executable).parent / "pam-studio")
    command = [program, "export", "--project", str(project), "--out", str(out), "--data-dir", str(demo.data_dir)]
    result = subprocess.run([*command, "--formats", "video"], capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stdout + result.stderr
    (document,) = out.glob("latest/video/*/*_manual.json")
    (records,) = out.glob("latest/video/*/video_cap_en.jsonl")
    return json.loads(document.read_text()), [json.loads(line) for line in records.read_text().splitlines()]


def _at(keyframes: list[Keyframe], number: int) -> Box | None:
    shape = interpolated(keyframes, number)
    return None if shape is None else Keyframe(number, shape).box(moving.HEIGHT, moving.WIDTH)


def _box(mask: np.ndarray) -> Box:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return Box(x, y, x + width, y + height)


def _middle(box: Box | None) -> Pixel:
    assert box is not None, "the object is gone"
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


def _iou(box: Box | None, other: Box) -> float:
    if box is None:
        return 0.0
    across = min(box.x1, other.x1) - max(box.x0, other.x0)
    down = min(box.y1, other.y1) - max(box.y0, other.y0)
    both = max(0.0, across) * max(0.0, down)
    areas = [(one.x1 - one.x0) * (one.y1 - one.y0) for one in (box, other)]
    return both / (sum(areas) - both)


def _mask_iou(mask: np.ndarray, other: np.ndarray) -> float:
    return float((mask & other).sum() / (mask | other).sum())
