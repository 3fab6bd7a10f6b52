"""What became of suggested objects: counted as those of images are, and remembered for the next box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from backend.app import create_app
from backend.assembly import Backend
from backend.ledger import Project
from backend.ledger.outcomes import OutcomeRow
from backend.stats.collect import collect
from backend.stats.page import page
from backend.stats.rows import tables
from model.prompt import Box
from model.region import FIELDS
from tests.backend.conftest import Photos, ready
from tests.backend.video.conftest import ADDRESS, CONFIG, Clip, keyframe, region, request, webhook
from tests.backend.video.test_suggest import ask, sequence_of, words_of

MEGAPIXEL = 1_000_000


@pytest.fixture
def backend(make_backend: Callable[..., Backend], photos: Photos, clip: Clip) -> Backend:
    photos.files[ADDRESS] = clip.data
    backend = ready(make_backend(video_seconds=80, video_event_seconds=0))
    backend.ledger.remember_project(Project(3, CONFIG))
    return backend


@pytest.fixture
def client(backend: Backend) -> FlaskClient:
    return create_app(backend).test_client()


@pytest.fixture
def answered(client: FlaskClient, clip: Clip) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Keyframes and words of an object that was suggested under "region1"."""
    results = ask(client, request(region("region1", [keyframe(1, clip.boxes[0])])))
    return sequence_of(results), words_of(results)


def outcomes(backend: Backend) -> dict[str, OutcomeRow]:
    collect(backend.ledger, [3], MEGAPIXEL)
    return {row.region_id: row for row in backend.ledger.outcomes.all(3)}


def submit(client: FlaskClient, *regions: list[dict[str, Any]], minute: int = 0) -> None:
    event = webhook("ANNOTATION_CREATED", [result for one in regions for result in one], minute=minute)
    assert client.post("/webhook", json=event).status_code == 201


def test_kept_as_it_was(client: FlaskClient, backend: Backend, clip: Clip, answered: Any) -> None:
    """Boxes and words untouched are accepted; a box that was drawn and never answered is one drawn by hand."""
    submit(client, region("region1", *answered), region("mine", [keyframe(2, Box(5, 5, 60, 60))]))
    rows = outcomes(backend)
    assert (rows["region1"].outcome, rows["region1"].mask_iou) == ("accepted", 1.0)
    assert rows["region1"].words == dict.fromkeys(FIELDS, 0.0) and rows["region1"].model_version
    assert (rows["mine"].outcome, rows["mine"].model_version) == ("drawn", None)


def test_boxes_and_words_that_were_mended(client: FlaskClient, backend: Backend, clip: Clip, answered: Any) -> None:
    """IoU over the frames on which a box was moved, the others say nothing; words by field, as of images; and the
    tables and the page show it."""
    sequence, words = answered
    half = clip.boxes[10]._replace(x0=(clip.boxes[10].x0 + clip.boxes[10].x1) / 2)
    moved = sorted(
        [k for k in sequence if k["frame"] != 11] + [keyframe(11, half)], key=lambda keyframe: keyframe["frame"]
    )
    submit(client, region("region1", moved, words | {"category": "my word"} | {"caption": ""}))
    row = outcomes(backend)["region1"]
    assert row.outcome == "corrected" and row.mask_iou is not None and 0.3 < row.mask_iou < 0.7
    assert row.words["category"] and row.words["explanation"] == 0 and row.emptied == ("caption",)
    stats = collect(backend.ledger, [3], MEGAPIXEL)
    assert stats.total("corrected") == 1 and row.model_version in stats.versions()
    shown = {table.title: table for table in tables(stats)}
    assert any("my word" in cells for cells in shown["By category"].rows)
    from datetime import UTC, datetime

    assert "my word" in page(stats, datetime.now(UTC))


def test_what_was_mended_on_the_way_counts(client: FlaskClient, backend: Backend, clip: Clip, answered: Any) -> None:
    """A box that was moved and followed anew is in the answer that came then: it is a correction all the same."""
    sequence, words = answered
    elsewhere = keyframe(11, Box(300, 150, 360, 200))
    mended = sorted([*(k for k in sequence if k["frame"] != 11), elsewhere], key=lambda k: k["frame"])
    second = ask(client, request(region("region1", mended, words)))
    submit(client, region("region1", sequence_of(second), words))
    row = outcomes(backend)["region1"]
    assert row.outcome == "corrected" and row.mask_iou is not None and row.mask_iou < 0.3


def test_what_was_left_out(client: FlaskClient, backend: Backend, clip: Clip, answered: Any) -> None:
    """A suggestion that was deleted before the task was submitted is rejected; a damaged one is unreadable."""
    submit(client, region("mine", [keyframe(2, Box(5, 5, 60, 60))]))
    assert outcomes(backend)["region1"].outcome == "rejected"
    damaged = region("region1", [])
    submit(client, damaged, minute=1)
    assert outcomes(backend)["region1"].outcome == "unreadable"


def test_the_next_box_profits(client: FlaskClient, backend: Backend, clip: Clip, answered: Any) -> None:
    """What an annotator called an object is suggested for the same one, boxed on a later frame; when the annotation is
    deleted, no more."""
    sequence, words = answered
    assert words["category"] != "teapot"
    submit(client, region("region1", sequence, words | {"category": "teapot", "explanation": "For tea."}))
    body = request(region("region2", [keyframe(5, clip.boxes[4])]))
    answer = client.post("/predict", json=body).json["results"][0]
    said = words_of(answer["result"], "region2")
    assert (said["category"], said["explanation"]) == ("teapot", "For tea.")

    client.post("/webhook", json=webhook("ANNOTATIONS_DELETED"))
    third = ask(client, request(region("region3", [keyframe(5, clip.boxes[4])])))
    assert words_of(third, "region3")["category"] != "teapot"


def test_words_that_were_there_before_are_nobodys_suggestion(client: FlaskClient, backend: Backend, clip: Clip) -> None:
    """An annotator who has said it all before the label was pressed has corrected nothing of ours."""
    mine = {"category": "teapot", "explanation": "For tea.", "caption": "A teapot rolls."}
    results = ask(client, request(region("region1", [keyframe(1, clip.boxes[0])], mine)))
    submit(client, region("region1", sequence_of(results), words_of(results)))
    row = outcomes(backend)["region1"]
    assert row.outcome == "accepted" and set(row.words.values()) == {None}
