"""Masklets that pycocotools decodes in the schema of SA-V, and video records that PAM's trainer takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from backend.dataset.formats import video
from backend.dataset.region import ImageRegions
from backend.masks import from_coco_rle
from tests.backend.dataset.formats.samples import ellipse, photographs, plain_image, region, stored, write

FACTS = json.loads((Path(__file__).parents[3] / "data" / "parity" / "prompts.json").read_text(encoding="utf-8"))
SCHEMA = FACTS["training_record"]
SHAPE = (40, 60)
SA_V = {
    "video_id": str, "video_frame_count": float, "video_height": float, "video_width": float,
    "video_resolution": float, "video_split": str, "masklet": list, "masklet_id": list, "masklet_size_rel": list,
    "masklet_size_abs": list, "masklet_size_bucket": list, "masklet_visibility_changes": list,
    "masklet_first_appeared_frame": list, "masklet_frame_count": list, "masklet_edited_frame_count": list,
    "masklet_type": list, "masklet_num": int,
}  # fmt: skip
"""Keys and types of an annotation of SA-V's training set, by sav_dataset/README.md of the SAM 2 repository. Duration
and environment are null here, as nobody knows them; stability scores are of automatic masklets only."""


def mask_at(i: int) -> np.ndarray:
    return ellipse(SHAPE, 20, 10 + i % 40, 8, 6)


def frames(tracks: dict[str, dict[int, str]], count: int, split: str = "train", first: int = 0) -> list[ImageRegions]:
    """A video of `count` frames; track to its captions by frame."""
    found = []
    for i in range(count):
        content = plain_image(mask_at(i) ^ (np.arange(SHAPE[1]) == i))
        image = stored(content, split, video="clip", frame=first + i)
        regions = tuple(
            region(mask_at(i), 100 * i + number, ("cat", "", captions[i]), track=track,
                   outcome="corrected" if i == 0 else "accepted")
            for number, (track, captions) in enumerate(tracks.items())
            if i in captions
        )  # fmt: skip
        found.append((image, regions))
    return found


def check_record(record: dict[str, Any], language: str) -> None:
    """Assert all that the official trainer needs of a video record."""
    assert set(record) == {*SCHEMA["required_keys"], *SCHEMA["optional_keys"], *("image_root", "frames")}
    assert record["type"] == "video" and isinstance(record["image_root"], str)
    assert len(record["frames"]) >= video.MIN_FRAMES and all("/" not in name for name in record["frames"])
    human, gpt = record["conversations"]
    template = FACTS["video_tasks_streaming"][f"video_cap_{language}"]
    before, after = template.split("{history}")
    assert human["from"] == "human" and human["value"].startswith(before) and human["value"].endswith(after)
    assert gpt["from"] == "gpt" and gpt["value"]
    ((x, y, w, h),), (points,), (labels,) = record["bbox"], record["points"], record["labels"]
    assert w > 0 and h > 0 and len(points) == len(labels) and sum(labels) >= 3
    assert all(x <= px < x + w and y <= py < y + h for (px, py), label in zip(points, labels, strict=True) if label)


@pytest.mark.parametrize(("task", "said"), [("video_cap_en", "It walks."), ("video_cap_ch", "它跳下来")])
def test_the_questions_are_the_official_ones(task: str, said: str) -> None:
    """The first clip's is the one for a single clip, in the language of its caption."""
    ((written, record),) = video.video_records(frames({"a": dict.fromkeys(range(16), said)}, 16))
    assert written == task
    assert record["conversations"][0]["value"] == FACTS["video_tasks_single_clip"][task]


def test_the_validator_takes_the_official_example() -> None:
    """The validator itself is held to the example of the official records."""
    example = json.loads(json.dumps(SCHEMA["example_video"]))
    check_record(example | {"points": [[[40, 30], [50, 60], [60, 70]]], "labels": [[1, 1, 1]]}, "en")
    with pytest.raises(AssertionError):
        check_record(example | {"frames": example["frames"][:15]}, "en")


def test_masklets_have_the_schema_of_sa_v_and_decode() -> None:
    """Two objects, one of which goes and comes back: what SA-V's own reader would make of it."""
    seen = {i: "" for i in (*range(3, 8), *range(10, 12))}
    clip = frames({"a": {i: "" for i in range(12)}, "b": seen}, 12, first=100)
    document = json.loads(json.dumps(video.masklets(clip)))
    assert {key: type(document[key]) for key in SA_V} == SA_V
    assert document["masklet_num"] == len(document["masklet_id"]) == 2 and document["masklet_type"] == ["manual"] * 2
    assert (document["video_height"], document["video_width"]) == SHAPE and document["video_frame_count"] == 12
    assert document["masklet_first_appeared_frame"] == [100, 103]
    assert document["masklet_visibility_changes"] == [0, 2]
    assert document["masklet_edited_frame_count"] == [1, 0]
    assert document["masklet_size_bucket"] == ["small", "small"]
    assert len(document["masklet"]) == 12
    for i, row in enumerate(document["masklet"]):
        a, b = (coco.decode(rle).astype(bool) for rle in row)
        assert (a == mask_at(i)).all()
        assert (b == mask_at(i)).all() if i in seen else not b.any()
    areas = [mask_at(i).sum() for i in seen]
    assert document["masklet_size_abs"][1] == pytest.approx(np.mean(areas))
    assert document["masklet_size_rel"][1] == pytest.approx(np.mean(areas) / (SHAPE[0] * SHAPE[1]))


def test_captions_become_clips_with_their_history() -> None:
    """Events in a row: each is a record whose question holds the caption before it; short ones are told, not lost."""
    captions = {i: "It walks." for i in range(16)} | {i: "它跳下来" for i in range(16, 20)}
    captions |= {i: "It sleeps." for i in range(20, 40)} | {i: "" for i in range(40, 60)}
    clip = frames({"a": captions}, 60)
    (first, short, last) = video.video_records(clip)
    assert [task for task, _ in (first, short, last)] == ["video_cap_en", None, "video_cap_en"]
    for (_, record), start, end in ((first, 0, 16), (last, 20, 40)):
        check_record(record, "en")
        assert record["frames"] == [Path(image.path).name for image, _ in clip[start:end]]
        assert tuple(record["bbox"][0]) == clip[start][1][0].bbox
    assert first[1]["conversations"][0]["value"].endswith("Previous caption: None")
    assert last[1]["conversations"][0]["value"].endswith("Previous caption: 它跳下来")
    assert short[1]["frame"] == 16 and "4 frames" in short[1]["reason"]


def test_a_clip_ends_where_the_object_is_not_seen() -> None:
    """The frames of a record all show the object: PAM would be asked about what is not there."""
    captions = {i: "A cat." for i in range(40) if i != 18}
    records = [record for task, record in video.video_records(frames({"a": captions}, 40)) if task]
    assert [len(record["frames"]) for record in records] == [18, 21]


def test_two_annotators_make_two_masklets() -> None:
    """Both call their track the same; they are not frames of one object."""
    clip = frames({"a": {i: "" for i in range(3)}}, 3)
    doubled = [(image, (*regions, replace(regions[0], annotation_id=4))) for image, regions in clip]
    assert video.masklets(doubled)["masklet_track"] == ["3-a", "4-a"]


def test_a_version_gathers_the_frames_of_a_video_from_its_shards(tmp_path: Path) -> None:
    """Frames are spread over shards by their hashes; the order of the video comes back."""
    clip = frames({"a": {i: "A cat walks." for i in range(20)}}, 20)
    other = [
        (replace(image, video="other", split="validation"), regions)
        for image, regions in frames({"a": {i: "猫在走" for i in range(16)}}, 16)
    ]
    contents = {image.path: plain_image(mask_at(i) ^ (np.arange(SHAPE[1]) == i)) for i, (image, _) in enumerate(clip)}
    shards: dict[str, list] = {"train-0": [], "train-1": [], "validation-all": []}
    for i, item in enumerate(reversed(clip)):
        shards[f"train-{i % 2}"].append((item, contents[item[0].path]))
    shards["validation-all"] = [(item, contents[item[0].path]) for item in other]
    written = write(tmp_path, shards, ["video"])
    assert all((tmp_path / name).is_file() for name in written)
    document = json.loads((tmp_path / "video/train/clip_manual.json").read_text())
    assert document["frame_index"] == list(range(20)) and document["frames"] == [image.path for image, _ in clip]
    assert json.loads((tmp_path / "video/validation/other_manual.json").read_text())["video_split"] == "validation"
    for listing, task, language in (
        ("datasets_video.yaml", "train/video_cap_en", "en"),
        ("datasets_video_validation.yaml", "validation/video_cap_ch", "ch"),
    ):
        (entry,) = yaml.safe_load((tmp_path / listing).read_text())["datasets"]
        assert entry["json_path"] == f"video/{task}.jsonl"
        (line,) = (tmp_path / entry["json_path"]).read_text(encoding="utf-8").splitlines()
        check_record(json.loads(line), language)
        record = json.loads(line)
        assert all((tmp_path / record["image_root"] / name).is_file() for name in record["frames"])


def test_images_are_no_videos(tmp_path: Path) -> None:
    """A data set of images has no files about videos."""
    assert not [name for name in write(tmp_path, photographs(), ["video"]) if "video" in name]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([None, "", "A cat.", "猫"]), min_size=1, max_size=60))
def test_any_course_of_events_makes_valid_records(captions: list[str | None]) -> None:
    """Captions come, change, stop; the object goes and comes back; every captioned frame is in one record or told."""
    clip = frames({"a": {i: text for i, text in enumerate(captions) if text is not None}}, len(captions))
    if not any(regions for _, regions in clip):
        return
    used = 0
    for task, record in video.video_records(clip):
        if task:
            check_record(record, task.removeprefix("video_cap_"))
            used += len(record["frames"])
        else:
            used += int(record["reason"].split(" has ")[1].split()[0])
    assert used == sum(bool(text) for text in captions)
    document = video.masklets(clip)
    for row, (image, regions) in zip(document["masklet"], clip, strict=True):
        expected = from_coco_rle(regions[0].rle, image.height, image.width) if regions else np.zeros(SHAPE, dtype=bool)
        assert (coco.decode(row[0]).astype(bool) == expected).all()
