"""Following objects, whichever way a model does it: forward, backward, corrected, cancelled."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from model import PAM
from model.errors import ImageError, PromptError, TrackError, VideoError
from model.frames import Frame
from model.prompt import Box, Point, Prompt
from model.tracking import Tracker, follow
from tests.model.tracking.conftest import Pictures, iou

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


def test_threads_change_nothing(nano: PAM, small: list[np.ndarray], monkeypatch: pytest.MonkeyPatch):
    """Objects that are followed side by side are where they are one after the other."""
    anchors = {0: {n: Prompt(box=Box(30 + 9 * n, 27, 120 + 9 * n, 110)) for n in range(3)}}
    alone = list(follow(nano, Pictures(small[:4]), anchors))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    together = list(follow(nano, Pictures(small[:4]), anchors))
    for a, b in zip(alone, together, strict=True):
        assert list(a.objects) == list(b.objects)
        assert all(np.array_equal(a.objects[n].mask, b.objects[n].mask) for n in range(3))


def test_a_mask_that_a_person_drew_is_the_mask(pam: PAM, small: list[np.ndarray]):
    """To the pixel, and the track goes on from it."""
    drawn = np.zeros(small[0].shape[:2], bool)
    drawn[30:100, 60:120] = True
    found = list(follow(pam, Pictures(small), {0: {"cup": CUP}, 4: {"cup": Prompt(mask=drawn)}}))
    assert np.array_equal(found[4].objects["cup"].mask, drawn)
    assert not np.array_equal(found[3].objects["cup"].mask, drawn)
    anew = list(follow(pam, Pictures(small), {4: {"cup": Prompt(mask=drawn)}}))
    assert iou(found[7].objects["cup"].mask, anew[3].objects["cup"].mask) > 0.8


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


@pytest.mark.parametrize(("read_ahead", "most"), [(False, 1), (True, 3)])
def test_cancelling(pam: PAM, small: list[np.ndarray], read_ahead: bool, most: int):
    """Closing the generator reads nothing more; no more than one frame waits, and one is on its way."""
    frames = Pictures(small)
    walk = follow(pam, frames, {0: {"cup": CUP}}, read_ahead=read_ahead)
    next(walk)
    walk.close()
    read = frames.read_so_far
    assert read <= most
    with pytest.raises(StopIteration):
        next(walk)
    assert frames.read_so_far == read


def test_a_frame_that_cannot_be_read_ends_the_walk(pam: PAM, small: list[np.ndarray]):
    """What reading ahead meets is raised where the frame would have come, after those before it."""

    class Damaged(Pictures):
        def walk(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
            yield from super().walk(start, 2, step)
            raise VideoError("damaged from frame 2 on")

    walk = follow(pam, Damaged(small), {0: {"cup": CUP}})
    assert [next(walk).index, next(walk).index] == [0, 1]
    with pytest.raises(VideoError, match="frame 2"):
        next(walk)


def test_frames_behind_the_walk_are_remembered(remembering: PAM, small: list[np.ndarray]):
    """As if the tracker had come by them: nothing is answered of them, and what is followed then is another thing."""
    box, drawn = {"cup": CUP}, np.zeros(small[0].shape[:2], bool)
    drawn[30:100, 60:120] = True
    mended = {"cup": Prompt(mask=drawn)}
    found = list(follow(remembering, Pictures(small), {4: mended}, behind={0: box}))
    assert [each.index for each in found] == [4, 5, 6, 7]
    tracker = Tracker(remembering)
    by_hand = [
        tracker.step(Frame(i, i / 25, small[i]), prompts) for i, prompts in ((0, box), (4, mended), (5, {}), (6, {}))
    ]
    alone = list(follow(remembering, Pictures(small), {4: mended}))
    scores, expected, other = ([each.objects["cup"].score for each in some[:3]] for some in (found, by_hand[1:], alone))
    assert scores == expected
    assert scores[1:] != other[1:]
    back = list(follow(remembering, Pictures(small), {4: mended}, stop=2, backward=True, behind={7: box}))
    assert [each.index for each in back] == [4, 3]
    for behind in ({4: box}, {6: box}):
        with pytest.raises(TrackError, match="behind the walk from 4 to 8"):
            next(follow(remembering, Pictures(small), {4: mended}, behind=behind))


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
def test_objects_of_one_frame_share_the_encoder(remembering: PAM, small: list[np.ndarray]):
    """However many objects there are, a frame is encoded once, and what was prompted together goes on as one batch."""
    sam = remembering.sam
    calls: dict[str, list[int]] = {"encoder": [], "decoder": [], "memory": []}
    modules = {"encoder": sam.image_encoder.trunk.patch_embed, "decoder": sam.sam_mask_decoder.transformer}
    modules["memory"] = sam.memory_encoder
    hooks = [
        module.register_forward_pre_hook(lambda _, given, name=name: calls[name].append(len(given[0])))
        for name, module in modules.items()
    ]
    try:
        walk = follow(remembering, Pictures(small[:4]), {0: {"cup": CUP, "spoon": SPOON}, 2: {"third": CUP}})
        next(walk)
        assert calls == {"encoder": [1], "decoder": [1, 1], "memory": [1]}
        next(walk)
        assert calls == {"encoder": [1, 1], "decoder": [1, 1, 2], "memory": [1, 1]}
        assert [each.index for each in walk] == [2, 3]
        assert len(calls["encoder"]) == 4
        assert calls["decoder"][3:] == [1, 2, 2, 1]
    finally:
        for hook in hooks:
            hook.remove()
