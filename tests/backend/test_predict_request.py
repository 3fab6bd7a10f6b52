"""POST /predict, as Label Studio sends it and as nobody should."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import RequestError
from backend.predict_request import MAX_RESULTS, MAX_SAVED, MAX_TASKS, PredictRequest, parse

CAPTURES = Path(__file__).parents[1] / "data" / "captures"


def body(**changes: object) -> bytes:
    request = {"project": "3.17", "label_config": "<View/>", "tasks": [{"id": 1, "data": {}}]}
    return json.dumps(request | changes).encode()


@pytest.mark.parametrize(
    ("capture", "project_id", "task_id", "drawings"),
    [
        ("predict_on_task_open", 2, 2, None),
        ("predict_1_click", 3, 3, 1),
        ("predict_2_clicks", 5, 5, 2),
        ("predict_box", 3, 3, 1),
        ("predict_video_box", 4, 4, 1),
    ],
)
def test_what_label_studio_sent_is_read(capture, project_id, task_id, drawings):
    request = parse((CAPTURES / f"{capture}.json").read_bytes())
    assert (request.project_id, [task.id for task in request.tasks]) == (project_id, [task_id])
    assert request.label_config.startswith("<View>")
    assert request.is_about_video == ("video" in capture)
    assert list(request.tasks[0].data.values())[0].startswith(f"/data/upload/{task_id}/")
    assert (None if request.context is None else len(request.context)) == drawings


def test_the_regions_of_drafts_and_annotations_come_with_the_time_they_were_saved():
    (saved,) = parse((CAPTURES / "predict_box.json").read_bytes()).tasks[0].saved
    assert saved.region_ids == {"795a45ab5c"}
    assert saved.updated_at == datetime(2026, 11, 22, 12, 34, 7, 977950, tzinfo=UTC)


@pytest.mark.parametrize(
    ("project", "expected"), [("3.1795350775", 3), ("3", 3), (3, 3), (None, None), ("", None), ("0.5", 0)]
)
def test_a_project_is_known_by_the_id_in_front(project, expected):
    assert parse(body(project=project)).project_id == expected


@pytest.mark.parametrize("params", [None, {}, {"context": None}, {"login": "a"}])
def test_a_request_without_drawings_has_no_context(params):
    assert parse(body(params=params)).context is None


SAVED = {"result": [{"id": "a"}, {"id": "b"}], "updated_at": "2026-11-22T12:00:00Z"}


@pytest.mark.parametrize("kind", ["drafts", "annotations"])
@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (5, []),
        ({"0": SAVED}, []),
        ([None, 5, [], {}, SAVED], ["ab"]),
        ([SAVED | {"updated_at": None}, SAVED], ["ab"]),
        ([{"result": SAVED["result"]}, SAVED], ["ab"]),
        ([SAVED | {"updated_at": "now"}, SAVED | {"updated_at": "9999-12-31T23:59:59-23:59"}], []),
        ([SAVED | {"result": [{"id": 7}, {"id": None}, {"id": ["c"]}, {}, None, 1, "c", {"id": "b"}]}], ["b"]),
        ([SAVED | {"result": result} for result in (None, 5, {"id": "a"}, [])], ["", "", "", ""]),
        ([SAVED | {"result": [{"id": "a"}] * MAX_RESULTS + [{"id": "b"}]}], ["a"]),
        ([SAVED] * (MAX_SAVED + 1), ["ab"] * MAX_SAVED),
    ],
)
def test_what_a_task_brings_along_is_read_as_far_as_it_can_be(kind, sent, read):
    """It only tells old drawings from new ones: a damaged draft must not cost the annotator the click."""
    (task,) = parse(body(tasks=[{"id": 1, "data": {}, kind: sent}])).tasks
    assert [saved.region_ids for saved in task.saved] == [frozenset(ids) for ids in read]
    assert {saved.updated_at for saved in task.saved} <= {datetime(2026, 11, 22, 12, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"project": "three"}, "`project` must be a project's id, as in \"3.1795350775\" or 3, got 'three'"),
        ({"project": [3]}, "`project` must be"),
        ({"project": True}, "`project` must be"),
        ({"project": "1" * 40}, "`project` must be"),
        ({"project": "٣"}, "`project` must be"),
        ({"label_config": None}, "`label_config` must be a string, got nothing"),
        ({"label_config": {}}, "`label_config` must be a string"),
        ({"tasks": {}}, "`tasks` must be a list"),
        ({"tasks": [7]}, r"`tasks\[0\]` must be an object, got 7"),
        ({"tasks": [{"data": {}}]}, r"`tasks\[0\].id` must be a whole number from 0"),
        ({"tasks": [{"id": 1}]}, r"`tasks\[0\].data` must be an object, got nothing"),
        ({"tasks": [{"id": 1, "data": "a.jpg"}]}, r"`tasks\[0\].data` must be an object"),
        ({"tasks": [{"id": 1, "data": {}}] * (MAX_TASKS + 1)}, "more than the"),
        ({"params": []}, "`params` must be an object"),
        ({"params": {"context": 5}}, "`params.context` must be an object"),
        ({"params": {"context": {"result": {}}}}, "`params.context.result` must be a list"),
        ({"params": {"context": {"result": [None]}}}, r"`params.context.result\[0\]` must be an object"),
    ],
)
def test_a_malformed_request_says_where_and_what(changes, says):
    with pytest.raises(RequestError, match=says):
        parse(body(**changes))


@pytest.mark.parametrize("whole", [b"[]", b"null", b'"text"', b"7"])
def test_a_body_that_is_no_object_is_refused(whole):
    with pytest.raises(RequestError, match="`the body` must be an object"):
        parse(whole)


KEYS = st.sampled_from(["project", "label_config", "tasks", "params", "context", "result", "id", "data", "drafts"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "3.1", "<View/>", "2026-11-22"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)


@given(st.dictionaries(KEYS, VALUES))
def test_whatever_is_sent_ends_in_a_request_or_a_request_error(sent):
    try:
        assert isinstance(parse(json.dumps(sent).encode()), PredictRequest)
    except RequestError:
        pass
