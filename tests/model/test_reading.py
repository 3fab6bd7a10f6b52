"""What a language model reads of a clip: which frames, in how many tokens, and of which mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import PAM
from model.errors import TrackError
from model.prompt import Prompt
from model.reading import CHOSEN, Reading, choose_frames

WHOLE, WAY = 35, 1
"""Tokens of a picture at a quarter, with the newline that ends it, and of the way through several."""


@given(st.integers(1, 5000))
def test_chosen_frames(count: int):
    """The first and the last, in order, none twice, 16 where there are as many."""
    frames = choose_frames(count)
    assert frames[0] == 0
    assert frames[-1] == count - 1
    assert list(frames) == sorted(set(frames))
    assert len(frames) == min(count, CHOSEN)


def disc(shape: tuple[int, ...], x: int, radius: int) -> np.ndarray:
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    return (xx - x) ** 2 + (yy - 200) ** 2 < radius**2


def test_a_clip_of_one_frame_is_a_picture(nano: PAM, coffee: np.ndarray):
    """Read in the same order as a region of a picture, by the mask as it is: proposals have no say in it."""
    mask = disc(coffee.shape, 260, 90)
    reading = Reading(nano)
    reading.add(coffee, mask)
    reading.show(coffee, mask)
    (region,) = nano.adopt(nano.encode(coffee), [Prompt(mask=mask)])
    assert torch.allclose(reading.visual(), nano.visual_tokens([region]), atol=1e-5)


def test_the_close_up_is_of_the_best_frame(nano: PAM, coffee: np.ndarray):
    """Wherever it is in the clip; the frames themselves stay in their order."""
    masks = [disc(coffee.shape, 150 + 40 * i, radius) for i, radius in enumerate((30, 90, 50))]
    readings = []
    for shown in (masks, masks[1:2]):
        reading = Reading(nano)
        for mask in masks:
            reading.add(coffee, mask)
        for mask in shown:
            reading.show(coffee, mask)
        readings.append(reading.visual())
    assert torch.equal(*readings)
    reading = Reading(nano)
    reading.add(coffee, masks[2])
    alone = reading.visual()
    assert torch.allclose(readings[0][:, -WHOLE - WAY : -WAY], alone, atol=1e-4)


def test_frames_beyond_a_batch(nano: PAM, coffee: np.ndarray):
    """More frames than are encoded at once, each as if it were alone; thinning leaves the first."""
    masks = [disc(coffee.shape, 150 + 8 * i, 60) for i in range(20)]
    reading = Reading(nano)
    for mask in masks:
        reading.add(coffee, mask)
    visual = reading.visual()
    assert visual.shape[1] == CHOSEN * WHOLE + WAY
    reading.thin()
    assert len(reading) == 10
    thinned = reading.visual()
    assert torch.allclose(thinned[:, :WHOLE], visual[:, :WHOLE], atol=1e-4)
    single = Reading(nano)
    single.add(coffee, masks[18])
    assert torch.allclose(thinned[:, -WHOLE - WAY : -WAY], single.visual(), atol=1e-4)


def test_the_way_is_part_of_it(nano: PAM, coffee: np.ndarray):
    """The same frames in another order end in another token."""
    masks = [disc(coffee.shape, 150 + 100 * i, 60) for i in range(3)]
    ends = []
    for order in (masks, masks[::-1]):
        reading = Reading(nano)
        for mask in order:
            reading.add(coffee, mask)
        ends.append(reading.visual()[0, -1])
    assert not torch.allclose(*ends, atol=1e-3)


def test_nothing_was_gathered(nano: PAM):
    """There is nothing to read."""
    with pytest.raises(TrackError, match="no frames"):
        Reading(nano).visual()
