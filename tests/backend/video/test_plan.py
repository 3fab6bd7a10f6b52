"""Which frames a track is still to be followed through, and what is known of the object besides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from backend.ledger.tracks import Anchor, FrameMask, Key, Track
from backend.masks import to_coco_rle
from backend.video.plan import stretches
from model.prompt import Box, Point

BOX = Box(2, 2, 8, 8)


def track(*indices: int) -> Track:
    """Of 100 frames of 20 x 10 pixels, with a box on each of `indices`."""
    anchors = tuple(Anchor(id, index, index + 1, BOX) for id, index in enumerate(indices, start=1))
    return Track(Key(1, 1, "r"), "sha", 10, 20, 100, 25.0, anchors, "v")


def seen(frame: int, anchor: int) -> FrameMask:
    mask = np.zeros((10, 20), bool)
    mask[2:8, 2:8] = True
    return FrameMask(frame, to_coco_rle(mask), BOX, 0.9, anchor)


def test_each_stretch_remembers_the_anchors_behind_it():
    """Forward those before it, backward those after it, the three nearest; never one that it comes by."""
    ways = stretches(track(10, 20, 30, 40, 50), [], 1000)
    behind = {(way.start, way.backward): sorted(way.behind) for way in ways}
    assert behind == {
        (10, False): [],
        (20, False): [10],
        (30, False): [10, 20],
        (40, False): [10, 20, 30],
        (50, False): [20, 30, 40],
        (10, True): [20, 30, 40],
    }
    assert all(prompt.box == BOX for way in ways for prompt in way.behind.values())


def test_the_masks_of_anchors_that_were_followed_are_remembered():
    """A way that was broken off is taken up with its own anchor behind it; another anchor's mask does not count."""
    known = [seen(index, 1) for index in range(10, 21)]
    (first, second, back) = stretches(track(10, 40), known, 1000)
    assert (first.start, sorted(first.behind)) == (20, [10])
    assert first.behind[10].mask is not None and first.behind[10].box is None
    assert second.behind[10].mask is not None
    assert back.behind[40].box == BOX
    (_, wrong, _) = stretches(track(10, 40), [seen(10, 2)], 1000)
    assert wrong.behind[10].box == BOX


def test_a_box_as_small_as_a_dot_is_a_click():
    """Label Studio has no clicks on videos, but a stroke of a few pixels makes a box: nothing else is as small. It says
    where the object is, whatever was followed there before."""
    dot = Box(100, 50, 106, 52)
    anchors = (Anchor(1, 10, 11, Box(40, 20, 60, 40)), Anchor(2, 20, 21, dot))
    drawn = Track(Key(1, 1, "r"), "sha", 270, 480, 100, 25.0, anchors, "v")
    (first, second, back) = stretches(drawn, [], 1000)
    assert second.prompt.box is None and second.prompt.points == (Point(103, 51),) and not second.behind
    assert first.prompt.box == anchors[0].box and back.behind[20].points == second.prompt.points
    assert all(way.prompt.box is None for way in stretches(replace(drawn, anchors=anchors[1:]), [], 1000))
    wide = (Anchor(1, 10, 11, Box(100, 50, 107, 52)),)
    assert all(way.prompt.box for way in stretches(replace(drawn, anchors=wide), [], 1000))
