"""What became of the objects that were suggested in videos: accepted as they were, or corrected, and by how much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from backend.annotations import by_region, words_in
from backend.errors import RequestError
from backend.json_node import Node
from backend.labeling_config import LabelingConfig
from backend.ledger.outcomes import OutcomeRow
from backend.ledger.tracks import Key, Track, Tracks
from backend.outcome import word_changes
from backend.suggestion import Suggestion
from backend.video.anchors import drawn, overlap
from backend.video.keyframes import Keyframe, read_sequence
from backend.webhook_event import Annotation


def video_outcomes(
    annotation: Annotation, suggestions: Mapping[str, Suggestion], config: LabelingConfig, tracks: Tracks
) -> Iterator[OutcomeRow]:
    """The objects of an annotation of a video.

    mask_iou: of the boxes, the mean over the frames on which the annotator moved one; 1 where none was touched, None
              where keyframes were only taken out or switched.
    """
    for region_id, results in by_region(annotation.result).items():
        boxes = [result for result in results if result["type"].value == config.output.type]
        if not boxes:
            continue
        suggestion = suggestions.get(region_id)
        version = suggestion.model_version if suggestion else None
        try:
            keyframes, words = read_sequence(boxes[0]["value"]["sequence"]), words_in(results, config)
        except RequestError:
            yield OutcomeRow(region_id, "unreadable", annotation.id, version)
            continue
        track = tracks.track(Key(annotation.project_id, annotation.task_id, region_id))
        if suggestion is None or track is None or not track.sent:
            yield OutcomeRow(region_id, "drawn", annotation.id, None, words["category"])
            continue
        changes = word_changes(words, suggestion, config)
        is_kept, iou = _boxes(keyframes, track)
        kind = "accepted" if is_kept and all(change.letters == 0 for change in changes.values()) else "corrected"
        ours = {n for n, change in changes.items() if change.offered and suggestion.sources.get(n) != "annotator"}
        yield OutcomeRow(
            region_id,
            kind,  # type: ignore[arg-type]
            annotation.id,
            version,
            words["category"],
            mask_iou=iou,
            words={name: change.share if name in ours else None for name, change in changes.items()},
            emptied=tuple(name for name in changes if name in ours and not changes[name].written),
        )


def _boxes(keyframes: Sequence[Keyframe], track: Track) -> tuple[bool, float | None]:
    """Whether the boxes are as they were suggested at first; and the mean IoU where they were moved.

    What was mended before the last answer is in the track's anchors: the answer has it already.
    """
    sent = read_sequence(Node(track.sent, "sent"))
    changed = drawn(keyframes, sent)
    mended = [anchor.iou for anchor in track.anchors if anchor.iou is not None]
    moved = [overlap(each, sent, track.height, track.width) for each in changed if _is_moved(each, sent)]
    gone = {each.frame for each in sent} - {each.frame for each in keyframes}
    found = [iou for iou in (*mended, *moved) if iou is not None]
    is_kept = not (mended or changed or gone or track.hidden)
    return is_kept, fmean(found) if found else 1.0 if is_kept else None


def _is_moved(keyframe: Keyframe, sent: Sequence[Keyframe]) -> bool:
    """Whether it is elsewhere, not only switched on or off."""
    before = next((each for each in sent if each.frame == keyframe.frame), None)
    return before is None or not Keyframe(keyframe.frame, before.shape, keyframe.enabled).is_like(keyframe)
