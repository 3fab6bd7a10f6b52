"""What became of the suggestions of a project, worked out for the tasks that changed since the last time, and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from backend.annotations import LeftOut, corrected_regions, region_id
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger, OutcomeRow, Suggestion
from backend.ledger.outcomes import Fate
from backend.outcome import compare, is_refined
from backend.video.outcome import video_outcomes
from backend.webhook_event import Annotation

_TASKS_AT_ONCE = 50


def settle_outcomes(
    project_id: int,
    ledger: Ledger,
    config: LabelingConfig,
    max_pixels: int,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Bring the outcomes in the ledger level with its annotations. It can be killed, and starts again.

    config: another one than the last time is another comparison, so that all tasks are settled again.
    max_pixels: largest mask that is read. progress: called with the number of tasks that are done.
    Raises LedgerError.
    """
    key = f"{config.fingerprint} {max_pixels}" + (" tracks" if config.video else "")
    number, settled_with = ledger.outcomes.settled(project_id)
    now = ledger.change_number(project_id)
    tasks = ledger.changed_since(project_id, number if settled_with == key and number <= now else 0)
    done = 0
    while page := list(islice(tasks, _TASKS_AT_ONCE)):
        outcomes = {task_id: list(_of_task(project_id, task_id, ledger, config, max_pixels)) for task_id in page}
        ledger.outcomes.replace(project_id, outcomes)
        done += len(page)
        progress(done)
    ledger.outcomes.set_settled(project_id, now, key)


def _of_task(
    project_id: int, task_id: int, ledger: Ledger, config: LabelingConfig, max_pixels: int
) -> Iterator[OutcomeRow]:
    annotations = [a for a in ledger.annotations_of_task(project_id, task_id) if not a.was_cancelled]
    suggestions = ledger.suggestions_of_task(project_id, task_id)
    by_id = {suggestion.region_id: suggestion for suggestion in suggestions}
    for annotation in annotations:
        if config.video:
            yield from video_outcomes(annotation, by_id, config, ledger.tracks)
        else:
            yield from _of_annotation(annotation, by_id, config, max_pixels)
    present = {region_id(result) for annotation in annotations for result in annotation.result}
    yield from _of_absent([s for s in suggestions if s.region_id not in present], suggestions, annotations)


def _of_annotation(
    annotation: Annotation, suggestions: dict[str, Suggestion], config: LabelingConfig, max_pixels: int
) -> Iterator[OutcomeRow]:
    """The regions that an annotator submitted."""
    for region in corrected_regions(annotation, config, suggestions.get, max_pixels):
        suggestion = suggestions.get(region.region_id or "")
        model_version = suggestion.model_version if suggestion else None
        if isinstance(region, LeftOut):
            yield OutcomeRow(region.region_id or "", "unreadable", annotation.id, model_version)
            continue
        outcome = compare(region, suggestion, config)
        # What annotators said before they accepted is no word of ours that they could keep or change.
        ours = {n for n, c in outcome.words.items() if c.offered and not _is_annotators(n, suggestion)}
        yield OutcomeRow(
            region.region_id,
            outcome.kind,
            annotation.id,
            model_version,
            region.words["category"],
            outcome.mask_iou,
            outcome.boundary_distance,
            {name: change.share if name in ours else None for name, change in outcome.words.items()},
            tuple(name for name in outcome.words if name in ours and not outcome.words[name].written),
        )


def _is_annotators(name: str, suggestion: Suggestion | None) -> bool:
    return suggestion is not None and suggestion.sources.get(name) == "annotator"


def _of_absent(
    absent: Sequence[Suggestion], suggestions: Sequence[Suggestion], annotations: Sequence[Annotation]
) -> Iterator[OutcomeRow]:
    """The suggestions that no annotation holds; none of those that may still be accepted."""
    submitted = max((annotation.updated_at for annotation in annotations), default=None)
    for suggestion in absent:
        fate: Fate
        if any(is_refined(suggestion, later) for later in suggestions):
            fate = "refined"
        elif submitted is not None and submitted >= suggestion.created_at:
            fate = "rejected"
        else:
            continue
        yield OutcomeRow(
            suggestion.region_id,
            fate,
            model_version=suggestion.model_version,
            category=(suggestion.offered or {}).get("category", suggestion.category),
        )
