"""Objects in videos, from an annotation to the masks of a data set: what was suggested, mended, drawn, or lost."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.dataset.export import ExportOptions, ProjectSource, export
from backend.errors import VideoFileError
from backend.ledger import Ledger
from backend.ledger.track_events import TrackEvent
from backend.ledger.track_parts import Part
from backend.ledger.tracks import Anchor, FrameMask, Key, Track
from backend.masks import from_coco_rle, to_coco_rle
from backend.video.video_files import VideoFile
from model.prompt import Box
from tests.backend.annotated_project import MEGAPIXEL, Studio, fetch
from tests.backend.annotated_project import annotation as annotated
from tests.model.frames.clips import number_in, numbered, write

CONFIG = (Path(__file__).parents[3] / "label_config" / "video.xml").read_text()
HEIGHT, WIDTH, FRAMES = 96, 160, 50
WORDS = {"category": "ball", "explanation": "A round thing.", "caption": "A ball rolls over numbers."}


def disc(index: int) -> np.ndarray:
    """The object on a frame of the file, from 0: a disc that rolls to the right."""
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return (rows - 50) ** 2 + (columns - 30 - 2 * index) ** 2 <= 14**2


def box(index: int) -> Box:
    return Box(16 + 2 * index, 36, 45 + 2 * index, 65)


def keyframe(number: int, at: Box, enabled: bool = True) -> dict[str, Any]:
    return {
        "frame": number, "enabled": enabled, "rotation": 0, "x": 100 * at.x0 / WIDTH, "y": 100 * at.y0 / HEIGHT,
        "width": 100 * (at.x1 - at.x0) / WIDTH, "height": 100 * (at.y1 - at.y0) / HEIGHT, "time": number / 25,
    }  # fmt: skip


SENT = [keyframe(1, box(0)), keyframe(FRAMES, box(FRAMES - 1))]


def task(sequence: list[dict[str, Any]], words: dict[str, str] | None = None) -> dict[str, Any]:
    common = {"id": "r1", "to_name": "video", "origin": "manual"}
    results = [common | {"from_name": "box", "type": "videorectangle", "value": {"sequence": sequence}}]
    for name, text in (WORDS if words is None else words).items():
        value = {"sequence": sequence, "text": [text]}
        results.append(common | {"from_name": name, "type": "textarea", "value": value})
    return {"id": 5, "data": {"video": "/data/upload/1/clip.mp4"}, "annotations": [annotated(9, results)]}


class Exports:
    """Exports of one annotated video."""

    def __init__(self, folder: Path, ledger: Ledger):
        self.out, self.ledger = folder / "regions", ledger
        self.path = write(folder / "clip.mp4", [numbered(n, HEIGHT, WIDTH) for n in range(FRAMES)])
        self.sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()

    def track(self, *anchors: int) -> None:
        key = Key(1, 5, "r1")
        made = tuple(Anchor(id, index, index + 1, box(index)) for id, index in enumerate(anchors or (0,), 1))
        self.ledger.tracks.save(
            Track(key, self.sha256, HEIGHT, WIDTH, FRAMES, 25.0, made, "nano-1", sent=SENT, words=WORDS)
        )
        self.ledger.tracks.add(key, [FrameMask(n, to_coco_rle(disc(n)), box(n), 0.9, 1) for n in range(FRAMES)])

    def run(self, one: dict[str, Any], rate: float = 6) -> Path:
        def opened(address: str, task: int) -> AbstractContextManager[VideoFile]:
            if not self.path.exists():
                raise VideoFileError("the file is gone")
            return nullcontext(VideoFile(self.path, self.sha256))

        options = ExportOptions(MEGAPIXEL, formats=("video", "coco"), validation=0, video_rate=rate)
        source = ProjectSource(1, Studio(one, config=CONFIG), fetch, opened)
        return export([source], self.out, self.ledger, options).version

    def document(self, one: dict[str, Any], rate: float = 6) -> dict[str, Any]:
        (file,) = self.run(one, rate).glob("video/train/*_manual.json")
        return json.loads(file.read_text())


@pytest.fixture
def exports(tmp_path: Path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield Exports(tmp_path, ledger)


def mask_of(document: dict[str, Any], index: int) -> np.ndarray:
    found = document["masklet"][document["frame_index"].index(index)][0]
    return from_coco_rle(found["counts"], *found["size"])


def test_untouched_boxes_are_the_masks_behind_them(exports: Exports) -> None:
    """Pixel masks, although Label Studio keeps two boxes; frames at the rate that is asked for; the file of each frame
    shows that frame; the caption is a record for training."""
    exports.track()
    document = exports.document(task(SENT))
    assert document["frame_index"] == list(range(0, FRAMES, 3))  # at least 16 frames: 6 a second would be too few
    assert all(np.array_equal(mask_of(document, n), disc(n)) for n in document["frame_index"])
    assert document["masklet_edited_frame_count"] == [0] and document["masklet_category"] == ["ball"]
    version = exports.out / "latest"
    from PIL import Image

    shown = [number_in(np.array(Image.open(version / name))) for name in document["frames"]]
    assert shown == document["frame_index"]
    (line,) = (version / "video/train/video_cap_en.jsonl").read_text().splitlines()
    assert json.loads(line)["conversations"][1]["value"] == WORDS["caption"]
    assert len(json.loads(line)["frames"]) == len(shown)


def test_a_box_that_was_moved_moves_the_mask(exports: Exports) -> None:
    """The frame that a person mended is in the data set, known as mended, and its mask fills the person's box."""
    exports.track()
    moved = Box(60, 20, 100, 80)
    document = exports.document(
        task([SENT[0], keyframe(25, box(24)), keyframe(26, moved), keyframe(27, box(26)), SENT[1]])
    )
    mask = mask_of(document, 25)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (60, 20, 100, 80)
    assert 0.7 < mask[20:80, 60:100].mean() < 0.85  # an ellipse
    assert np.array_equal(mask_of(document, 9), disc(9))
    assert document["masklet_edited_frame_count"][0] == 3


@pytest.mark.parametrize("spoil", ["no track", "another file"])
def test_a_box_without_masks_is_the_mask(exports: Exports, spoil: str) -> None:
    """What was drawn by hand, or on a file that was exchanged since, has no masks: the box is all that is known."""
    if spoil == "another file":
        exports.track()
        exports.sha256 = "0" * 64
    document = exports.document(task(SENT))
    mask = mask_of(document, 0)
    assert mask[36:65, 16:45].all() and mask.sum() == 29 * 29
    assert document["masklet_edited_frame_count"] == [len(document["frame_index"])]


def test_parts_of_the_timeline_have_captions_of_their_own(exports: Exports) -> None:
    """A range with a caption is a training record of its own, with the caption before it as history."""
    exports.track()
    one = task(SENT)
    common = {"id": "t1", "to_name": "video", "origin": "manual"}
    ranges = {"ranges": [{"start": 26, "end": 50}]}
    one["annotations"][0]["result"] += [
        common | {"from_name": "part", "type": "timelinelabels", "value": ranges | {"timelinelabels": ["Rolls"]}},
        common | {"from_name": "caption", "type": "textarea", "value": ranges | {"text": ["It has slowed down."]}},
    ]
    version = exports.run(one, rate=25)
    lines = (version / "video/train/video_cap_en.jsonl").read_text().splitlines()
    assert [json.loads(line)["conversations"][1]["value"] for line in lines] == [
        WORDS["caption"],
        "It has slowed down.",
    ]
    assert WORDS["caption"] in json.loads(lines[1])["conversations"][0]["value"]
    assert [len(json.loads(line)["frames"]) for line in lines] == [25, 25]


@pytest.mark.parametrize("link", ["ledger", "parent", "none"])
def test_parts_belong_to_the_object_that_they_were_told_of(exports: Exports, link: str) -> None:
    """Two objects share a timeline: a part goes with the one under which it was answered, or under which it stands in
    the list; one that a person drew beside two objects goes with none."""
    exports.track()
    one, other = task(SENT), task([keyframe(1, box(3)), keyframe(FRAMES, box(9))], {"caption": "The other one."})
    for result in other["annotations"][0]["result"]:
        one["annotations"][0]["result"].append(result | {"id": "r2"})
    common: dict[str, Any] = {"id": "t1", "to_name": "video", "origin": "manual"}
    if link == "parent":
        common["parentID"] = "r1"
    elif link == "ledger":
        exports.ledger.tracks.events.put(Key(1, 5, "r1"), [TrackEvent("t1", 0, 49, "As it was told.", True)])
    ranges = {"ranges": [{"start": 1, "end": 50}]}
    one["annotations"][0]["result"] += [
        common | {"from_name": "event", "type": "timelinelabels", "value": ranges | {"timelinelabels": ["event"]}},
        common | {"from_name": "caption", "type": "textarea", "value": ranges | {"text": ["As I mended it."]}},
    ]
    lines = (exports.run(one, rate=25) / "video/train/video_cap_en.jsonl").read_text().splitlines()
    said = {json.loads(line)["conversations"][1]["value"] for line in lines}
    first = WORDS["caption"] if link == "none" else "As I mended it."
    assert said == {first, "The other one."}


@pytest.mark.parametrize("said", ["As it was told.", "As I mended it."])
def test_a_part_that_was_withdrawn(exports: Exports, said: str) -> None:
    """It describes what was followed by mistake before a correction, and was submitted before it could be replaced: no
    data set learns from it. What a person made of it is theirs."""
    exports.track()
    one, key = task(SENT), Key(1, 5, "r1")
    exports.ledger.tracks.events.put(key, [TrackEvent("told", 0, 24, "Rolls.", True)])
    exports.ledger.tracks.parts.put(
        key, [Part("told", 1, 25, "Rolls.", 1.0), Part("t1", 26, 50, "As it was told.", 1.0)]
    )
    for id, start, text in (("told", 1, "Rolls."), ("t1", 26, said)):
        common: dict[str, Any] = {"id": id, "to_name": "video", "origin": "manual", "parentID": "r1"}
        ranges = {"ranges": [{"start": start, "end": start + 24}]}
        one["annotations"][0]["result"] += [
            common | {"from_name": "event", "type": "timelinelabels", "value": ranges | {"timelinelabels": ["event"]}},
            common | {"from_name": "caption", "type": "textarea", "value": ranges | {"text": [text]}},
        ]
    lines = (exports.run(one, rate=25) / "video/train/video_cap_en.jsonl").read_text().splitlines()
    captions = {json.loads(line)["conversations"][1]["value"] for line in lines}
    assert captions == {"Rolls.", WORDS["caption"] if said == "As it was told." else said}


def test_a_stretch_that_was_switched_off_is_left_out(exports: Exports) -> None:
    """The annotator's word on where the object is goes before the tracker's."""
    exports.track()
    document = exports.document(task([SENT[0] | {"enabled": False}, keyframe(20, box(19)), SENT[1]]))
    assert document["frame_index"][0] == 0 and document["frame_index"][1] >= 19


def test_an_exported_version_is_not_made_again(exports: Exports) -> None:
    """The same annotation gives the same version, to the byte; a word that was changed gives another."""
    exports.track()
    first = exports.run(task(SENT))
    assert exports.run(task(SENT)) == first
    assert exports.run(task(SENT), rate=12) != first


def test_a_lost_video_is_reported(exports: Exports) -> None:
    """It is left out with a reason and asked for again, and nothing else suffers."""
    exports.track()
    exports.path.unlink()
    version = exports.run(task(SENT))
    assert "the file is gone" in (version / "left_out.jsonl").read_text()
    assert not list(version.glob("video/train/*"))


@pytest.mark.parametrize(("sequence", "said"), [([], "holds no box"), ([{"frame": 1}], "a number")])
def test_a_damaged_region_is_reported(exports: Exports, sequence: list, said: str) -> None:
    """An annotation may hold anything; the export goes on."""
    exports.track()
    assert said in (exports.run(task(sequence)) / "left_out.jsonl").read_text()


def test_a_box_off_the_picture_is_gone(exports: Exports) -> None:
    """People push the box out where the object leaves."""
    exports.track()
    document = exports.document(task([SENT[0], keyframe(20, box(19)), keyframe(21, Box(500, 36, 529, 65))]))
    assert 0 in document["frame_index"] and max(document["frame_index"]) <= 19
