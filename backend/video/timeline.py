"""Events as Label Studio shows them: ranges on its timeline, each a region of its own with a caption."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from backend.labeling_config import LabelingConfig
from backend.ledger.track_events import TrackEvent
from backend.video.grid import Grid


def has_place(config: LabelingConfig) -> bool:
    """Whether a labelling config has a timeline, and a field for captions."""
    caption = config.words.get("caption")
    return bool(config.video and config.video.segments and caption and caption.kind == "textarea")


def span(event: TrackEvent, grid: Grid) -> tuple[int, int] | None:
    """Label Studio's numbers of an event's first and last frame; None where it lies between two of them."""
    start = int(np.searchsorted(grid.shown, event.first)) + 1
    end = int(np.searchsorted(grid.shown, event.last, side="right"))
    return (start, end) if start <= end else None


def timeline(
    events: Iterable[TrackEvent], region_id: str, label: str | None, config: LabelingConfig, grid: Grid
) -> list[dict[str, Any]]:
    """The results of events that have a caption, in a config that has a place for them.

    region_id, label: of the object that they are about. A timeline that has the object's label takes it, another one
    its first. What lies between two of Label Studio's frames is left out.
    """
    if not has_place(config):
        return []
    assert config.video is not None and config.video.segments is not None
    tag, field = config.video.segments, config.words["caption"]
    own = [label] if label in tag.labels else list(tag.labels[:1])
    results = []
    for event in events:
        if not event.caption or (at := span(event, grid)) is None:
            continue
        common = {"id": event.region_id, "to_name": config.image, "parentID": region_id}
        ranges = {"ranges": [{"start": at[0], "end": at[1]}], "timelinelabels": own}
        results.append(common | {"from_name": tag.name, "type": "timelinelabels", "value": ranges})
        said = {"text": [event.caption]}
        results.append(common | {"from_name": field.name, "type": "textarea", "value": said})
    return results
