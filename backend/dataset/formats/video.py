"""Objects followed through videos: SA-V's masklets, and PAM's records of video captions.

Only the frames that the data set holds are known here. A frame is a `DatasetImage` that says of which video it is; the
frames of an object are the regions of one annotation that share a track.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from backend.dataset.formats import fragments
from backend.dataset.formats.pam_jsonl import prompt_box, prompt_points
from backend.dataset.region import DatasetFacts, DatasetImage, DatasetRegion, ImageBytes, ImageRegions
from backend.masks import from_coco_rle, to_coco_rle
from model.fields import LANGUAGES, video_question

NAME = "video"
MIN_FRAMES = 16
"""PAM looks at 16 frames of a clip, and its trainer refuses shorter ones."""

_LANGUAGE = {suffix: language for language, suffix in LANGUAGES.items()}
"""Suffix of official task names to the language."""

_SMALL, _MEDIUM = 32**2, 96**2


def write_shard(
    folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes, parent: Path | None = None
) -> list[str]:
    """Write the video frames of a shard as fragments, one for each video; the paths written."""
    lines: dict[str, list[str]] = defaultdict(list)
    for image, regions in items:
        if image.video is not None:
            tracked = [vars(region) for region in regions if region.track is not None]
            lines[f"{NAME}/{image.video}"].append(fragments.dumps([vars(image), tracked]))
    return [path for part in sorted(lines) for path in fragments.write(folder, part, shard, lines[part])]


def finish(folder: Path, shards: Sequence[str], facts: DatasetFacts, parent: Path | None = None) -> list[str]:
    """Write `video/<split>/<video>_manual.json`, `video/<split>/video_cap_<language>.jsonl`, the YAML of each split
    that lists these, and `video/left_out.jsonl` with the captions of clips that are too short; the paths written."""
    written: list[str] = []

    def lines() -> Iterator[tuple[str, str]]:
        for video in sorted(path.name for path in (folder / fragments.FOLDER / NAME).glob("*")):
            frames = sorted(_frames(folder, video, shards), key=lambda frame: frame[0].frame or 0)
            if frames:
                base = f"{NAME}/{frames[0][0].split}"
                document = fragments.dumps(masklets(frames))
                written.append(fragments.write_lines(folder, f"{base}/{video}_manual.json", [document]))
                for task, record in video_records(frames):
                    yield f"{base}/{task}.jsonl" if task else f"{NAME}/left_out.jsonl", fragments.dumps(record)

    files = fragments.distribute(folder, lines())
    for split, listing in (("train", "datasets_video.yaml"), ("validation", "datasets_video_validation.yaml")):
        listed = [name for name in files if name.startswith(f"{NAME}/{split}/")]
        if listed:
            written.append(fragments.write_listing(folder, listing, listed))
    return [*written, *files]


def masklets(frames: Sequence[ImageRegions]) -> dict[str, Any]:
    """The annotation of one video as SA-V's training set has it; see sav_dataset/README.md of the SAM 2 repository.

    frames: of one video, in their order. Beyond SA-V, `frame_index` and `frames` say which they are, `masklet_track`
    and `masklet_category` what each masklet is. What is not known of the video is null.
    """
    first = frames[0][0]
    size = [first.height, first.width]
    tracks = _tracks(frames)
    nothing = {"size": size, "counts": to_coco_rle(np.zeros(size, dtype=bool))}
    rows = [
        [{"size": size, "counts": track[i].rle} if i in track else nothing for track in tracks.values()]
        for i in range(len(frames))
    ]
    areas = [sum(region.area for region in track.values()) / len(track) for track in tracks.values()]
    return {
        "video_id": first.video,
        "video_duration": None,
        "video_frame_count": float(len(frames)),
        "video_height": float(first.height),
        "video_width": float(first.width),
        "video_resolution": float(first.height * first.width),
        "video_environment": None,
        "video_split": first.split,
        "masklet": rows,
        "masklet_id": list(range(len(tracks))),
        "masklet_size_rel": [area / (first.height * first.width) for area in areas],
        "masklet_size_abs": areas,
        "masklet_size_bucket": ["small" if a < _SMALL else "medium" if a < _MEDIUM else "large" for a in areas],
        "masklet_visibility_changes": [_visibility_changes(track, len(frames)) for track in tracks.values()],
        "masklet_first_appeared_frame": [frames[min(track)][0].frame for track in tracks.values()],
        "masklet_frame_count": [len(frames)] * len(tracks),
        "masklet_edited_frame_count": [
            sum(region.outcome != "accepted" for region in track.values()) for track in tracks.values()
        ],
        "masklet_type": ["manual"] * len(tracks),
        "masklet_stability_score": None,
        "masklet_num": len(tracks),
        "frame_index": [image.frame for image, _ in frames],
        "frames": [image.path for image, _ in frames],
        "masklet_track": list(tracks),
        "masklet_category": [track[min(track)].category for track in tracks.values()],
    }


def video_records(frames: Sequence[ImageRegions]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Official task name and training record for each caption of each object of one video.

    A caption holds for a clip: from the first frame that has it until the object has another one, or is not seen any
    more. The caption before it, of the same object, is the history in its question. A clip of fewer than MIN_FRAMES
    frames comes as None with a dictionary that says so.
    """
    for name, track in _tracks(frames).items():
        history = None
        for clip in _clips(track):
            region = track[clip.start]
            language = region.languages["caption"]
            number = frames[clip.start][0].frame
            if len(clip) < MIN_FRAMES:
                reason = f"the clip has {len(clip)} frames, and PAM's trainer needs {MIN_FRAMES}"
                yield None, {"id": region.id, "video": frames[0][0].video, "frame": number, "reason": reason}
            else:
                question = video_question(_LANGUAGE[language], history or "")
                yield f"video_cap_{language}", _record(f"{region.id}-{name}-{number}", frames, clip, region, question)
            history = region.caption


def _record(
    id: str, frames: Sequence[ImageRegions], clip: range, region: DatasetRegion, question: str
) -> dict[str, Any]:
    image = frames[clip.start][0]
    points = prompt_points(region, from_coco_rle(region.rle, image.height, image.width))
    return {
        "id": id,
        "type": "video",
        "image_root": PurePosixPath(image.path).parent.as_posix(),
        "frames": [PurePosixPath(frames[i][0].path).name for i in clip],
        "bbox": [prompt_box(image, region)],
        "points": [[[x, y] for x, y, _ in points]],
        "labels": [[label for _, _, label in points]],
        "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": region.caption}],
    }


def _frames(folder: Path, video: str, shards: Sequence[str]) -> Iterator[ImageRegions]:
    there = {path.stem for path in (folder / fragments.FOLDER / NAME / video).iterdir()}
    for line in fragments.read(folder, f"{NAME}/{video}", sorted(there.intersection(shards))):
        image, regions = json.loads(line)
        yield DatasetImage(**image), tuple(DatasetRegion(**region) for region in regions)


def _tracks(frames: Sequence[ImageRegions]) -> dict[str, dict[int, DatasetRegion]]:
    """Annotation and track to the object's regions by position in `frames`; in the order in which they appear."""
    tracks: dict[str, dict[int, DatasetRegion]] = {}
    for i, (_, regions) in enumerate(frames):
        for region in regions:
            tracks.setdefault(f"{region.annotation_id}-{region.track}", {}).setdefault(i, region)
    return tracks


def _clips(track: Mapping[int, DatasetRegion]) -> Iterator[range]:
    """The runs of frames, each without a gap, for which an object has one caption."""
    neighbours = itertools.groupby(
        enumerate(sorted(track)), key=lambda pair: (pair[1] - pair[0], track[pair[1]].caption)
    )
    for (_, caption), run in neighbours:
        positions = [position for _, position in run]
        if caption:
            yield range(positions[0], positions[-1] + 1)


def _visibility_changes(track: Mapping[int, DatasetRegion], count: int) -> int:
    visible = [i in track for i in range(min(track), count)]
    return sum(before != after for before, after in itertools.pairwise(visible))
