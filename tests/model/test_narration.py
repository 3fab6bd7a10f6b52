"""Streams that are described event by event: when a caption is due, what it knows, what is kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from model import PAM
from model.errors import TrackError
from model.events import NarrationOptions
from model.frames import Frame
from model.language import DecodingOptions
from model.look import Smoothed
from model.narration import Event, narrate
from model.prompt import Box, Prompt
from model.speaker import WordOptions

RATE = 10
SHORT = WordOptions(decoding=DecodingOptions(max_new_tokens=6))
RED, BLUE = (220, 40, 40), (40, 60, 220)
PROMPT = {"it": Prompt(box=Box(20, 40, 60, 80))}


def film(seconds: float, colour=lambda t: RED, at=lambda t: 20.0, there=lambda t: True) -> Iterator[Frame]:
    """A striped square of 40 x 40 pixels on a grey ground with a pattern."""
    rng = np.random.default_rng(0)
    ground = rng.integers(100, 130, (120, 240, 3)).astype(np.uint8)
    stripes = (np.arange(40) // 5 % 2 * 30)[:, None, None]
    for i in range(round(seconds * RATE)):
        t, image = i / RATE, ground.copy()
        if there(t):
            x = round(at(t))
            image[40:80, x : x + 40] = np.clip(np.array(colour(t)) - stripes, 0, 255)
        yield Frame(i, t, image)


def events(pam: PAM, frames: Iterator[Frame], options: NarrationOptions) -> list[Event]:
    return [event for step in narrate(pam, frames, PROMPT, options, words=SHORT) for event in step.events]


def test_a_step_for_every_frame(nano: PAM):
    """Masks come with each frame, in order, and every event lies in what was shown."""
    steps = list(narrate(nano, film(3), PROMPT, NarrationOptions("fixed", 1.0, silent=False), words=SHORT))
    assert [step.frame.index for step in steps] == [step.masks.index for step in steps] == [*range(30), 29]
    assert [step.is_end for step in steps] == [False] * 30 + [True]
    told = [event for step in steps for event in step.events]
    assert len(told) == 3
    assert told[0].first == 0
    assert told[-1].last == 29
    assert all(a.last < b.first for a, b in itertools.pairwise(told))
    assert [event.reason for event in told] == ["length", "length", "end"]
    assert all(event.words.caption and event.delay >= 0 for event in told)


@pytest.mark.parametrize("ends", ["fixed", "change"])
def test_silent_where_nothing_changes(nano: PAM, ends):
    """One caption for what stands still, however long."""
    assert len(events(nano, film(5), NarrationOptions(ends, 1.5))) == 1


def test_motion_begins_an_event(nano: PAM):
    """It stands, and then it moves."""
    told = events(nano, film(5, at=lambda t: 20 + max(0.0, t - 2.5) * 50), NarrationOptions("change", 30.0))
    assert [event.reason for event in told] == ["motion", "end"]
    assert 2.4 <= told[0].end <= 4.0


def test_gone_and_back(nano: PAM):
    """What was seen is told when it is gone, nothing while it is away, and then what came back."""
    told = events(nano, film(6, there=lambda t: not 2 <= t < 4), NarrationOptions("change", 30.0))
    assert [event.reason for event in told] == ["gone", "end"]
    assert told[0].end < 2.05
    assert 3.95 < told[1].begin < 5.0


def test_appearance_is_a_change():
    """Another colour is; a little less light is not."""
    options = NarrationOptions()
    looks = {}
    for name, colour in (("red", RED), ("darker", (214, 36, 36)), ("blue", BLUE)):
        smoothed = Smoothed(0.5)
        for frame in film(2, colour=lambda t, c=colour: c):
            mask = np.zeros((120, 240), bool)
            mask[40:80, 20:60] = True
            looks[name] = smoothed.add(frame.image, mask, frame.time)
    assert looks["red"].differs(looks["blue"], options) == "appearance"
    assert looks["red"].differs(looks["darker"], options) is None


def test_the_last_caption_is_part_of_the_next_question(remembering: PAM, monkeypatch: pytest.MonkeyPatch):
    """Of models that were shown clips; and what is kept of a segment has a bound."""
    asked, tokens = [], []
    whole = type(remembering).describe_visual

    def describe_visual(pam, visual, labels, options, previous):
        asked.append(previous)
        tokens.append(visual.shape[1])
        return whole(pam, visual, labels, options, previous)

    monkeypatch.setattr(type(remembering), "describe_visual", describe_visual)
    told = events(remembering, film(6), NarrationOptions("fixed", 5.0, silent=False))
    assert len(asked) == len(told) == 2
    assert asked[0] == ""
    assert asked[1] == told[0].words.caption
    cells = (remembering.image_size // 16) ** 2
    assert tokens[0] == cells // 4 + 19 + 15 * (cells // 16 + 19)


def test_options_that_make_no_sense():
    """Said when they are given."""
    with pytest.raises(TrackError, match="choose one of fixed, change"):
        NarrationOptions("sometimes")  # type: ignore[arg-type]
    with pytest.raises(TrackError, match="least <= seconds"):
        NarrationOptions(seconds=0.1)


def test_a_stream_without_frames(nano: PAM):
    """It is no silence."""
    with pytest.raises(TrackError, match="no frames"):
        list(narrate(nano, iter(()), PROMPT))
