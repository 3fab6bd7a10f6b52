"""Drawn clips: the same for the same seed, true to what they show, and what nano learned from them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from model import PAM
from model.training.clip_data import ClipBatches
from model.training.clips import draw_clip
from model.training.data import Series
from model.training.retelling import retell
from model.training.telling import ClipStage, spoken

SERIES = Series(5, 3, 1, 2, 256, 128, 1.0)


def test_a_clip_is_always_the_same():
    """Whichever process draws it."""
    one, other = draw_clip(3, 1, 4, 128), draw_clip(3, 1, 4, 128)
    assert all(np.array_equal(a, b) for a, b in zip(one.frames, other.frames, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(one.masks, other.masks, strict=True))
    assert not np.array_equal(one.frames[0], draw_clip(3, 2, 4, 128).frames[0])


@pytest.mark.parametrize("index", range(6))
def test_masks_are_where_the_thing_is(index: int):
    """What changes from frame to frame lies under one of their masks, or beside: where the ground stands still."""
    clip = draw_clip(8, index, 6, 192)
    assert clip.seen
    assert {frame.shape for frame in clip.frames} == {(192, 192, 3)}
    assert all(0 <= share <= 1.25 for share in clip.shares)
    story = clip.story(clip.seen)
    centres = [np.argwhere(clip.masks[i]).mean(0) / 192 for i in clip.seen]
    assert story.moves == any(np.linalg.norm(c - centres[0]) >= 0.06 for c in centres)
    assert story.caption().count(" background.") == 1


def test_batches(nano: PAM):
    """Of one number always the same; every telling points at frames and a close-up that the batch has."""
    drawn = ClipBatches(SERIES, clips=1, told=3, count=4)
    assert len(drawn) == 3
    one, other = drawn[1], drawn[1]
    assert torch.equal(one.pixels, other.pixels)
    assert one.tellings == other.tellings
    assert len(one.close) == len(one.tellings) == 3
    for told in one.tellings:
        assert 1 <= len(told.frames) <= 16
        assert max(told.frames) < len(one.pixels) == len(one.rough)
        category, _, caption = (
            nano.tokenizer.decode([i for i in s.ids if i >= 0]) for s in spoken(nano.tokenizer, told)
        )
        assert told.story.facts.category in category
        assert told.story.caption(told.previous) in caption
        assert f"Previous caption: {told.previous or 'None'}" in caption


def test_the_language_side_learns_alone(nano: PAM):
    """SAM 2 and perceiver, which embeddings rest on, get no gradient; everything else of a clip's tokens does."""
    pam = copy.deepcopy(nano).requires_grad_(True)
    stage = ClipStage(pam)
    loss, figures = stage(ClipBatches(SERIES, clips=1, told=2, count=3)[0], 0.0)
    loss.backward()
    assert loss.isfinite()
    assert {"clip caption", "caption", "clip category right", "category right"} <= set(figures)
    assert all(p.grad is None for part in (pam.sam, pam.perceiver) for p in part.parameters())
    learned = [pam.language, pam.image_projector, pam.semantic_projector, pam.outline_projector]
    assert all(p.grad is not None for part in learned for p in part.parameters())
    assert pam.frame_newline.grad is not None


def test_nano_tells_what_happens(nano: PAM):
    """The shipped weights were shown clips: on drawn ones that no training draws, they say where things go, and go on
    from what they said."""
    found = retell(nano, 1_000_017, 12)
    assert found["moves"] >= 0.7
    assert found["way"] >= 0.4
    assert found["later, goes on"] >= 0.7
