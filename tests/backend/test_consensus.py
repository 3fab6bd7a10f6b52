"""Several annotators on one task: all are kept, and a setting says who counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from backend import labeling_config
from backend.consensus import Consensus, Rule
from backend.webhook_event import Annotation
from tests.backend.annotated_project import CONFIG, results

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEFT, RIGHT, THIN = (slice(10, 30), slice(10, 30)), (slice(10, 30), slice(50, 70)), (slice(0, 2), slice(0, 60))


def mask(window: tuple[slice, slice], shift: int = 0, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    drawn = np.zeros(size, dtype=bool)
    drawn[window] = True
    return np.roll(drawn, shift, axis=1)


def annotation(id: int, annotator: int | None, *masks: np.ndarray, minute: int = 0, **more) -> Annotation:
    drawn = [result for n, m in enumerate(masks) for result in results(f"{id}.{n}", m, ("coin", "", ""))]
    fields = {"was_cancelled": False, "created_at": NOON, "updated_at": NOON + timedelta(minutes=minute)} | more
    return Annotation(id, 1, 1, drawn, {"image": "/a.jpg"}, annotator=annotator, **fields)


def chosen(rule: Rule, *annotations: Annotation, iou: float = 0.5) -> list[str]:
    """The regions that count."""
    consensus = Consensus(rule, iou, labeling_config.parse(CONFIG), 10_000)
    ids = [result["id"] for annotation in consensus.choose(annotations) for result in annotation.result]
    return list(dict.fromkeys(ids))


def test_cancelled_annotations_never_count():
    """Whoever skipped the task said nothing of it, however much was drawn before."""
    one, skipped = annotation(1, 1, mask(LEFT)), annotation(2, 2, mask(LEFT), minute=9, was_cancelled=True)
    for rule in ("all", "latest", "agreement"):
        assert chosen(rule, one, skipped) == ["1.0"]
        assert chosen(rule, skipped) == []
    assert chosen("ground_truth", skipped, annotation(3, 3, mask(LEFT), ground_truth=True)) == ["3.0"]


@pytest.mark.parametrize(
    ("rule", "expected"), [("all", ["1.0", "2.0", "3.0"]), ("latest", ["2.0"]), ("ground_truth", ["1.0"])]
)
def test_whole_annotations(rule, expected):
    annotations = (
        annotation(1, 1, mask(LEFT), minute=1, ground_truth=True),
        annotation(2, 2, mask(LEFT), minute=3),
        annotation(3, 3, mask(LEFT), minute=2),
    )
    assert chosen(rule, *annotations) == expected
    assert chosen("ground_truth", *annotations[1:]) == []


def test_agreement_keeps_what_most_annotators_drew_once():
    """Three saw the left object, two the right one, one a scratch: one region for each of the first two."""
    annotations = (
        annotation(1, 1, mask(LEFT, shift=-2), mask(RIGHT)),
        annotation(2, 2, mask(RIGHT, shift=1), mask(LEFT)),
        annotation(3, 3, mask(LEFT, shift=2), mask(THIN)),
    )
    assert chosen("agreement", *annotations) == ["1.1", "2.1"]
    assert chosen("agreement", *annotations, iou=0.99) == []


def test_half_of_the_annotators_is_not_most():
    assert chosen("agreement", annotation(1, 1, mask(LEFT)), annotation(2, 2, mask(RIGHT))) == []
    assert chosen("agreement", annotation(1, 1, mask(LEFT)), annotation(2, 2, mask(LEFT))) == ["1.0"]


def test_one_annotator_alone_counts_and_speaks_once():
    """Two annotations of one person are no agreement; the later is what they mean."""
    first, second = annotation(1, 1, mask(LEFT)), annotation(2, 1, mask(LEFT), mask(RIGHT), minute=1)
    assert chosen("agreement", second, first) == ["2.0", "2.1"]
    nameless = annotation(3, None, mask(LEFT)), annotation(4, None, mask(LEFT))
    assert chosen("agreement", *nameless) == ["3.0"], "who is not named is somebody else each time"


def test_masks_of_two_sizes_never_agree():
    """The image behind the address was exchanged between the two."""
    assert chosen("agreement", annotation(1, 1, mask(LEFT)), annotation(2, 2, mask(LEFT, size=(60, 81)))) == []


def test_two_regions_of_one_annotator_are_two_objects():
    """Overlapping regions of one person must not vote for each other."""
    doubled = annotation(1, 1, mask(LEFT), mask(LEFT, shift=1))
    assert chosen("agreement", doubled, annotation(2, 2, mask(RIGHT))) == []
    assert chosen("agreement", annotation(1, 1), annotation(2, 2)) == []
