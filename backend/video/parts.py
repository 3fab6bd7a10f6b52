"""The parts of an object's story on Label Studio's timeline: which are the annotator's by now, and which are due."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence

from backend.annotations import by_region, words_in
from backend.errors import RequestError
from backend.json_node import Node
from backend.labeling_config import LabelingConfig
from backend.ledger.track_events import TrackEvent
from backend.ledger.track_parts import Part
from backend.ledger.tracks import Key, Tracks
from backend.predict_request import Saved
from backend.video.grid import Grid
from backend.video.timeline import span

_SETTLING = 2.0
"""Seconds after an answer in which what is saved may be what the screen showed before it."""


def is_untouched(part: Part, results: Sequence[Node], config: LabelingConfig) -> bool:
    """Whether the results of a part's region still say what was answered."""
    try:
        words = words_in(results, config)
        ranges = [(r["start"].value, r["end"].value) for node in results for r in node["value"]["ranges"].items(1000)]
    except RequestError:
        return False
    own = {name: text for name, text in words.items() if config.words.get(name) and config.words[name].kind != "label"}
    said = dict.fromkeys(own, "") | {"caption": part.caption}
    return own == said and set(ranges) == {(part.start, part.end)}


def touched(context: Iterable[Node], parts: Mapping[str, Part], config: LabelingConfig) -> set[str]:
    """Of the parts that a request shows, the ones that an annotator changed."""
    shown = by_region([node.value for node in context])
    return {id for id, results in shown.items() if id in parts and not is_untouched(parts[id], results, config)}


def replaceable(region_id: str, parts: Mapping[str, Part], saved: Sequence[Saved], config: LabelingConfig) -> set[str]:
    """Of the parts of an object those that are as they were answered, as far as drafts and annotations show: no person
    mended them or took them away.

    A screen saves what it shows within five seconds; of what was not saved since the answer nothing is known, and it is
    taken to be as it was. What a person writes is known sooner: Label Studio asks at once.
    """
    about = [each for each in saved if region_id in each.region_ids]
    newest = max(about, key=lambda each: each.updated_at, default=None)
    saved_at = 0.0 if newest is None else newest.updated_at.timestamp()
    shown = {} if newest is None else by_region(newest.results)
    return {
        id
        for id, part in parts.items()
        if not part.is_theirs
        and (saved_at <= part.sent_at + _SETTLING or (id in shown and is_untouched(part, shown[id], config)))
    }


def due(tracks: Tracks, key: Key, grid: Grid, free: Collection[str], is_done: bool) -> list[TrackEvent]:
    """The events that Label Studio's screen lacks, which it is taken to have from now on.

    free:    the parts on it that may be replaced. An answer cannot take a region away, so that those whose event is
             gone are replaced by new ones; where there are fewer of these, and none is to come, the longest are cut
             in two.
    is_done: whether no more is to come.
    """
    events = [event for event in tracks.events.of(key) if event.caption and span(event, grid)]
    known = {event.region_id for event in tracks.events.of(key)}
    orphans = [id for id in tracks.parts.of(key) if id in free and id not in known]
    fresh = [event for event in events if not event.is_sent]
    named = [e._replace(region_id=id) for e, id in zip(fresh, orphans, strict=False)] + fresh[len(orphans) :]
    tracks.events.mark_sent(key, named)
    found = {event.first: event._replace(is_sent=True) for event in named}
    own = found | {event.first: event for event in events if event.is_sent and event.region_id in free}
    for id in orphans[len(fresh) :] if is_done else ():
        longest = max(own.values(), key=lambda event: _length(event, grid), default=None)
        if longest is None or _length(longest, grid) < 1:
            break
        start, end = _frames(longest, grid)
        for half in tracks.events.split(key, longest, (start + end - 1) // 2, id):
            own[half.first] = found[half.first] = half
    sent_at = time.time()
    shown = [(event, span(event, grid)) for event in found.values()]
    tracks.parts.put(key, [Part(e.region_id, *at, e.caption, sent_at) for e, at in shown if at is not None])
    return sorted(found.values(), key=lambda event: event.first)


def _frames(event: TrackEvent, grid: Grid) -> tuple[int, int]:
    """The first and last frame of the file that the screen shows of an event."""
    start, end = span(event, grid) or (1, 1)
    return grid.at(start), grid.at(end)


def _length(event: TrackEvent, grid: Grid) -> int:
    """Frames of the file from the first that is shown to the last."""
    start, end = _frames(event, grid)
    return end - start
