"""Label Studio's tracks: read, written, interpolated and simplified."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import RequestError
from backend.json_node import Node
from backend.video.keyframes import Keyframe, Shape, interpolated, read_sequence, simplified, write_sequence
from model.prompt import Box

HEIGHT, WIDTH = 270, 480


def moving(count: int) -> dict[int, Box | None]:
    return {n: Box(n, 10, n + 40, 60) for n in range(1, count + 1)}


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        (moving(50), [(1, True), (50, True)]),
        ({1: Box(0, 0, 9, 9)}, [(1, True)]),
        ({1: Box(0, 0, 9, 9), 2: None}, [(1, False)]),
        (moving(10) | dict.fromkeys(range(11, 21)) | {n: Box(5, 5, 9, 9) for n in range(21, 31)},
         [(1, True), (10, False), (21, True), (30, True)]),
        ({1: None, 2: None}, []),
        ({}, []),
        ({n: Box(abs(n - 20), 0, abs(n - 20) + 10, 10) for n in range(1, 41)}, [(1, True), (20, True), (40, True)]),
    ],
)  # fmt: skip
def test_keyframes_stand_where_straight_lines_bend(boxes: dict, expected: list[tuple[int, bool]]) -> None:
    """A straight way needs two keyframes, a bend one more, and a stretch that ends is switched off at its end."""
    assert [(k.frame, k.enabled) for k in simplified(boxes, HEIGHT, WIDTH, 0.5)] == expected


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.one_of(st.none(), st.tuples(*[st.integers(0, 200)] * 2, *[st.integers(1, 60)] * 2)), max_size=60),
    st.sampled_from([0.0, 1.5, 10.0]),
)
def test_what_label_studio_draws_is_within_the_tolerance(shapes: list, tolerance: float) -> None:
    """On every frame the interpolated box is at most the tolerance off, and gone exactly where the object is."""
    boxes = {n: None if s is None else Box(s[0], s[1], s[0] + s[2], s[1] + s[3]) for n, s in enumerate(shapes, 1)}
    keyframes = simplified(boxes, HEIGHT, WIDTH, tolerance)
    for frame, box in boxes.items():
        drawn = interpolated(keyframes, frame)
        assert (drawn is None) == (box is None)
        if drawn is not None:
            shown = Keyframe(frame, drawn).box(HEIGHT, WIDTH)
            assert np.abs(np.subtract(shown, box)).max() <= tolerance + 1e-6


def test_a_sequence_comes_back_as_it_was_written() -> None:
    """Label Studio keeps what it is sent; the next request's keyframes must be known again."""
    keyframes = simplified(moving(30), HEIGHT, WIDTH, 0)
    again = read_sequence(Node(write_sequence(keyframes, 25.0)))
    assert all(a.is_like(b) for a, b in zip(keyframes, again, strict=True))
    assert not again[0].is_like(Keyframe(1, again[0].shape._replace(x=0.3)))


def test_a_turned_box_is_turned_the_shorter_way() -> None:
    """From 350 to 10 degrees it is 20 degrees, as in Label Studio's interpolation; the box is the bounding one."""
    keyframes = [Keyframe(1, Shape(50, 50, 10, 10, 350)), Keyframe(3, Shape(50, 50, 10, 10, 10))]
    assert interpolated(keyframes, 2) == Shape(50, 50, 10, 10, 360)
    quarter = Keyframe(1, Shape(50, 50, 10, 20, 90)).box(100, 100)
    assert np.allclose(quarter, (30, 50, 50, 60))


@pytest.mark.parametrize(
    ("sequence", "said"),
    [
        ([], "holds no box"),
        ([{"frame": 1, "x": 0, "y": 0, "width": 1}], "height"),
        ([{"frame": -1, "x": 0, "y": 0, "width": 1, "height": 1}], "whole number"),
        ([{"frame": 1.5, "x": 0, "y": 0, "width": 1, "height": 1}], "whole number"),
        ([{"frame": 1, "x": 1e9, "y": 0, "width": 1, "height": 1}], "from -1000 to 1000"),
        ([{"frame": 1, "x": 0, "y": 0, "width": 1, "height": 1, "enabled": "yes"}], "true or false"),
        ("boxes", "a list"),
    ],
)
def test_a_damaged_sequence_is_refused(sequence: object, said: str) -> None:
    """Requests are not trusted; the message names the place."""
    with pytest.raises(RequestError, match=said):
        read_sequence(Node(sequence, "sequence"))
