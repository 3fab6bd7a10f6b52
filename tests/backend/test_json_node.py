"""What a stranger's JSON holds is read with a type and a bound, or refused by its place in the document."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import RequestError
from backend.json_node import Node

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


NOT_JSON = [b"", b"{", b"\xff\xfe\xfd", b"NaN", b'{"a": -Infinity}', b"[" * 100_000, b"9" * 5000]


@pytest.mark.parametrize("body", NOT_JSON, ids=lambda body: repr(body[:8]))
def test_what_is_not_json_is_refused_as_that(body):
    with pytest.raises(RequestError, match="the body is not JSON") as refused:
        Node.read(body)
    assert refused.value.code == "bad_json"


@pytest.mark.parametrize(
    ("value", "read", "says"),
    [
        ([], lambda node: node["a"], "`the body` must be an object, got a list of 0"),
        ({"a": [{}]}, lambda node: node["a"].items(5)[0]["b"].text(), r"`a\[0\].b` must be a string, got nothing"),
        ({"a": {}}, lambda node: node["a"].items(5), "`a` must be a list, got an object of 0"),
        ({"a": [1, 2]}, lambda node: node["a"].items(1), "`a` holds 2 items, more than the 1"),
        ({"a": "x" * 500}, lambda node: node["a"].whole(0), 'from 0 to [0-9]+, got "x{59}…$'),
        ({"a": True}, lambda node: node["a"].whole(0), "got true"),
        ({"a": 1.0}, lambda node: node["a"].whole(0), "got 1.0"),
        ({"a": -1}, lambda node: node["a"].whole(0), "got -1"),
        ({"a": 10**100}, lambda node: node["a"].whole(0), "a number of hundreds of digits"),
        ({"a": 10**400}, lambda node: node["a"].number(0, 1), "a number of hundreds of digits"),
        ({"a": 1e400}, lambda node: node["a"].number(0, 1), "got infinity"),
        ({"a": float("nan")}, lambda node: node["a"].number(0, 1), "from 0 to 1, got NaN"),
        ({"a": "1"}, lambda node: node["a"].number(0, 1), 'got "1"'),
        ({}, lambda node: node["a"].number(0, 1), "got nothing"),
        ({"a": 1}, lambda node: node["a"].flag(True), "must be true or false, got 1"),
        ({}, lambda node: node["a"].moment(), "`a` must be a time in ISO 8601, got nothing"),
        ({"a": "now"}, lambda node: node["a"].moment(), '`a` must be a time in ISO 8601, got "now"'),
        ({"a": 1795350775}, lambda node: node["a"].moment(), "must be a time in ISO 8601, got 1795350775"),
        ({"a": "2026-13-01T00:00:00Z"}, lambda node: node["a"].moment(), "must be a time in ISO 8601"),
        ({"a": "9999-12-31T23:59:59-23:59"}, lambda node: node["a"].moment(), "must be a time in ISO 8601"),
        ({"a": "0001-01-01T00:00:00+00:01"}, lambda node: node["a"].moment(), "must be a time in ISO 8601"),
    ],
)
def test_a_refusal_names_the_place_the_value_and_what_was_expected(value, read, says):
    with pytest.raises(RequestError, match=says):
        read(Node(value))


def test_what_is_not_there_is_no_list_and_a_default():
    node = Node({})
    assert node["a"].is_missing and node["a"].items(5) == []
    assert node["a"].flag(default=True) and node["a"].number(1, 2, default=1.5) == 1.5


@pytest.mark.parametrize(
    "written",
    ["2026-11-22T12:34:07.977950Z", "2026-11-22T12:34:07.97795+00:00", "2026-11-22T12:34:07.977950",
     "2026-11-22T13:34:07.977950+01:00", "2026-11-21T12:35:07.977950-23:59"],
)  # fmt: skip
def test_a_moment_is_the_same_however_it_is_written(written):
    """Strings of one moment differ by zone and by digits; the later state of an annotation must not depend on that."""
    moment = Node(written).moment()
    assert moment == datetime(2026, 11, 22, 12, 34, 7, 977950, tzinfo=UTC)
    assert moment.utcoffset() == timedelta(0)


@given(anything, st.sampled_from(["object", "items", "text", "flag", "whole", "number", "moment"]))
def test_a_reader_gives_its_type_or_refuses(value, reader):
    node = Node(value, "a")
    types = {"object": dict, "items": list, "text": str, "flag": bool, "whole": int, "number": float}
    arguments = {"items": (5,), "flag": (True,), "whole": (0, 9), "number": (0, 9)}.get(reader, ())
    try:
        found = getattr(node, reader)(*arguments)
    except RequestError as refused:
        assert len(refused.message) < 200
        json.dumps(refused.as_json())
        return
    assert isinstance(found, types.get(reader, datetime))
