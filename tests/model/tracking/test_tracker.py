"""Following objects, whichever way a model does it: forward, backward, corrected, cancelled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model import PAM
from model.errors import ImageError, PromptError, TrackError
from model.frames import Frame
from model.prompt import Box, Point, Prompt
from model.tracking import Tracker, follow
from tests.model.tracking.conftest import Pictures

CUP = Prompt(box=Box(50, 27, 140, 110))
SPOON = Prompt(points=(Point(20, 116),))


def test_both_ways_from_any_frame(pam: PAM, small: list[np.ndarray]):
    """One answer for every frame of the walk, in its order, with its number and time."""
    frames = Pictures(small)
    ahead = list(follow(pam, frames, {3: {"cup": CUP}}))
    back = list(follow(pam, frames, {3: {"cup": CUP}}, backward=True))
    part = list(follow(pam, frames, {3: {"cup": CUP}}, start=2, stop=5))
    assert [each.index for each in ahead] == [3, 4, 5, 6, 7]
    assert [each.index for each in back] == [3, 2, 1, 0]
    assert [(each.index, list(each.objects)) for each in part] == [(2, []), (3, ["cup"]), (4, ["cup"])]
    for each in (*ahead, *back):
        found = each.objects["cup"]
        assert found.mask.shape == small[0].shape[:2]
        assert found.mask.dtype == bool
        assert 0 <= found.score <= 1
        assert 0 <= found.object_score <= 1
        assert found.visible == found.mask.any() == (found.box is not None)
        assert each.time == frames.times[each.index]


def test_several_objects_in_one_pass_are_as_each_alone(pam: PAM, small: list[np.ndarray]):
    """Objects that begin together or later do not change each other."""
    anchors = {0: {"cup": CUP}, 2: {"spoon": SPOON}}
    both = list(follow(pam, Pictures(small), anchors))
    cup = list(follow(pam, Pictures(small), {0: {"cup": CUP}}))
    spoon = list(follow(pam, Pictures(small), {2: {"spoon": SPOON}}))
    assert all(np.array_equal(a.objects["cup"].mask, b.objects["cup"].mask) for a, b in zip(both, cup, strict=True))
    for a, b in zip(both[2:], spoon, strict=True):
        assert np.mean(a.objects["spoon"].mask != b.objects["spoon"].mask) < 0.01


def test_a_mask_that_a_person_drew_is_the_mask(pam: PAM, small: list[np.ndarray]):
    """To the pixel, and the track goes on from it."""
    drawn = np.zeros(small[0].shape[:2], bool)
    drawn[30:100, 60:120] = True
    found = list(follow(pam, Pictures(small), {0: {"cup": CUP}, 4: {"cup": Prompt(mask=drawn)}}))
    assert np.array_equal(found[4].objects["cup"].mask, drawn)
    assert not np.array_equal(found[3].objects["cup"].mask, drawn)
    anew = list(follow(pam, Pictures(small), {4: {"cup": Prompt(mask=drawn)}}))
    assert np.array_equal(found[7].objects["cup"].mask, anew[3].objects["cup"].mask)


def test_a_click_mends_what_was_followed(nano: PAM, small: list[np.ndarray]):
    """Clicks alone are about the mask that stands: it changes around them, and obeys."""
    before = list(follow(nano, Pictures(small), {0: {"cup": CUP}}))[3].objects["cup"].mask
    rows, columns = np.nonzero(before)
    x, y = float(columns[len(rows) // 2]), float(rows[len(rows) // 2])
    mended = list(follow(nano, Pictures(small), {0: {"cup": CUP}, 3: {"cup": Prompt(points=(Point(x, y, False),))}}))[3]
    assert not mended.objects["cup"].mask[int(y), int(x)]
    assert mended.objects["cup"].mask.any()


def test_a_click_mends_by_memory(remembering: PAM, small: list[np.ndarray]):
    """SAM 2 is asked on what it remembers, with the mask that stands: not what the click alone means."""
    click = {"cup": Prompt(points=(Point(95, 60),))}
    mended = list(follow(remembering, Pictures(small), {0: {"cup": CUP}, 3: click}))[3]
    alone = list(follow(remembering, Pictures(small), {3: click}))[0]
    assert mended.objects["cup"].score != alone.objects["cup"].score


def test_a_refused_click_alone(pam: PAM, small: list[np.ndarray]):
    """A negative click means nothing without a mask that stands, and names its object and frame."""
    with pytest.raises(PromptError, match="cup on frame 2: "):
        list(follow(pam, Pictures(small), {2: {"cup": Prompt()}}))


def test_cancelling(pam: PAM, small: list[np.ndarray]):
    """Closing the generator reads nothing more."""
    frames = Pictures(small)
    walk = follow(pam, frames, {0: {"cup": CUP}})
    next(walk)
    walk.close()
    assert frames.read_so_far == 1
    with pytest.raises(StopIteration):
        next(walk)


def test_forgetting(pam: PAM, small: list[np.ndarray]):
    """The others go on as if it had never been."""
    tracker, alone = Tracker(pam), Tracker(pam)
    frames = [Frame(i, i / 25, image) for i, image in enumerate(small[:4])]
    tracker.step(frames[0], {"cup": CUP, "table": Prompt(box=Box(0, 90, 60, 130))})
    alone.step(frames[0], {"cup": CUP})
    tracker.forget("table")
    for frame in frames[1:]:
        found = tracker.step(frame).objects
        assert list(found) == ["cup"]
        assert np.mean(found["cup"].mask != alone.step(frame).objects["cup"].mask) < 0.01
    with pytest.raises(TrackError, match="table is not followed"):
        tracker.forget("table")


def test_what_cannot_be_followed(nano: PAM, small: list[np.ndarray]):
    """Each by name."""
    frames = Pictures(small)
    for anchors, options, says in (
        ({}, {}, "give a prompt"),
        ({0: {}}, {}, "give a prompt"),
        ({2: {"cup": CUP}}, {"start": 4}, r"frames \[2\] lie outside of the walk from 4 to 8"),
        ({2: {"cup": CUP}, 5: {"cup": CUP}}, {"start": 3, "backward": True}, r"frames \[5\] lie outside"),
    ):
        with pytest.raises(TrackError, match=says):
            next(follow(nano, frames, anchors, **options))  # type: ignore[arg-type]
    tracker = Tracker(nano)
    tracker.step(Frame(0, 0.0, small[0]), {"cup": CUP})
    with pytest.raises(ImageError, match=r"frame 1 of the clip is \(50, 200\)"):
        tracker.step(Frame(1, 0.04, small[1][:50]))


@torch.inference_mode()
def test_objects_of_one_frame_share_the_encoder(remembering: PAM, small: list[np.ndarray], monkeypatch):
    """However many objects there are, a frame is encoded once."""
    calls = []
    whole = remembering.sam.forward_image
    monkeypatch.setattr(remembering.sam, "forward_image", lambda pixels: calls.append(1) or whole(pixels))
    list(follow(remembering, Pictures(small[:4]), {0: {"cup": CUP, "spoon": SPOON}, 2: {"third": CUP}}))
    assert len(calls) == 4
