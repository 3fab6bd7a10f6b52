"""Old things are learned again as nano was taught them, the same ones whoever asks for a step."""

from __future__ import annotations

import pytest
import torch

from model import PAM
from model.training.conversation import IGNORED
from model.training.finetune.items import Item, Sight
from model.training.finetune.rehearsal import CLIP_EVERY, MOST_FRAMES, rehearse


@pytest.fixture(scope="module")
def rehearsed(nano: PAM) -> list[list[Item]]:
    """Of two steps, the first of which has a clip."""
    sight = Sight.of(nano.config, nano.image_size)
    return [[make() for make in rehearse(3, step, 12, nano.tokenizer, sight)] for step in (0, 1)]


def test_as_it_was_taught(nano: PAM, rehearsed: list[list[Item]]):
    """All three fields of things, answers alone; of a clip, in some steps, its caption."""
    (clip, *things), (*more,) = rehearsed
    assert CLIP_EVERY > 1 and clip.tasks == ("brief_cap_en",) and clip.later is not None and clip.way is not None
    assert len(clip.later) < MOST_FRAMES
    for item in things + more:
        assert item.later is None and item.tasks == ("recognize_en", "explain_en", "brief_cap_en")
        assert said(nano, item, 0) == f"{item.category}<|im_end|>"
    assert said(nano, clip, 0).split()[0] in ("A", "The")


def test_no_thing_twice(rehearsed: list[list[Item]]):
    """Of every scene as many as it has, or are wanted; each picture is one tensor, to be encoded once."""
    for step in rehearsed:
        assert len(step) == 12
        outlines = [item.mask.numpy().tobytes() for item in step if item.mask is not None]
        assert len(set(outlines)) == 12
        pictures = [id(item.pixels) for item in step if item.later is None]
        assert len(set(pictures)) < len(pictures)


def test_the_same_for_the_same_number(nano: PAM, rehearsed: list[list[Item]]):
    """A process that makes one item of a step makes the one that another would have made there."""
    sight = Sight.of(nano.config, nano.image_size)
    for step, items in enumerate(rehearsed):
        makers = list(rehearse(3, step, 12, nano.tokenizer, sight))
        for place in (0, 7, 11):
            again = makers[place]()
            assert again.samples == items[place].samples
            assert torch.equal(again.pixels, items[place].pixels) and torch.equal(again.points, items[place].points)
    assert list(rehearse(3, 0, 0, nano.tokenizer, sight)) == []


def said(pam: PAM, item: Item, number: int) -> str:
    return pam.tokenizer.decode([label for label in item.samples[number].labels if label != IGNORED])
