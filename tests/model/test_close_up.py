"""The second look: where it looks, and that the words stand on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import PAM, EncodedImage, close_up, outline
from model.config import PAMConfig
from model.errors import CheckpointError, ModelError
from model.prompt import Point, Prompt

CUP = Prompt((Point(285.0, 140.0),))


@pytest.fixture(scope="module")
def looking(nano: PAM) -> PAM:
    """Nano with a second look, whatever the shipped one has."""
    pam = PAM(replace(nano.config, close_up=128), nano.tokenizer).eval().requires_grad_(False)
    pam.load_state_dict(nano.state_dict())
    return pam


@given(
    st.integers(1, 300), st.integers(1, 300), st.floats(0, 1), st.floats(0, 1), st.integers(1, 300), st.integers(1, 300)
)
def test_the_window_holds_the_mask(height: int, width: int, x: float, y: float, dx: int, dy: int):
    """It lies in the picture, holds all of the mask, and is a square wherever the picture has room for one."""
    mask = np.zeros((height, width), bool)
    top, left = int(y * (height - 1)), int(x * (width - 1))
    mask[top : top + dy, left : left + dx] = True
    x0, y0, x1, y1 = close_up.window(mask)
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    assert mask[y0:y1, x0:x1].sum() == mask.sum()
    extent = max(np.ptp(np.flatnonzero(mask.any(0))), np.ptp(np.flatnonzero(mask.any(1)))) + 1
    side = max(close_up.LEAST, round(close_up.MARGIN * extent))
    assert (x1 - x0, y1 - y0) == (min(side, width), min(side, height))


def test_nothing_found_is_looked_at_as_a_whole():
    """An empty mask has no surroundings."""
    assert close_up.window(np.zeros((20, 30), bool)) == (0, 0, 30, 20)


def test_the_close_up_shows_the_thing_large():
    """A white square that is a hundredth of a black picture fills half of its close-up, in picture and mask alike."""
    image, mask = np.zeros((200, 200, 3), np.uint8), np.zeros((200, 200), bool)
    mask[90:110, 40:60] = True
    image[mask] = 255
    pixels, prompt, shape = close_up.cut(image, mask, 128)
    assert pixels.shape == (3, 128, 128) and prompt.shape == (1, 32, 32)
    assert np.array_equal(shape.numpy(), outline.describe(mask))
    assert (pixels > 0).float().mean() == pytest.approx(1 / close_up.MARGIN**2, abs=0.03)
    assert (prompt > 0).float().mean() == pytest.approx(1 / close_up.MARGIN**2, abs=0.06)
    assert pixels[0, 64, 64] > 0 and pixels[0, 2, 2] < 0


def test_words_stand_on_the_close_up(looking: PAM, coffee: np.ndarray):
    """What changes near the mask and is too fine for the first look changes what the language model reads."""
    found = looking.segment(looking.encode(coffee), CUP)
    tokens = looking.visual_tokens([found])
    assert tokens.shape[1] == 2 * (16 + 1 + 16 + 1 + 1) + 1
    changed = coffee.copy()
    x0, y0, x1, y1 = close_up.window(found.mask)
    changed[y0:y1, x0:x1] = 255 - changed[y0:y1, x0:x1]
    other = looking.visual_tokens([replace(found, image=changed)])
    near = (tokens != other).any(2)[0]
    assert near[:16].all() and not near[34:].any()


def test_the_picture_is_counted_once(looking: PAM, coffee: np.ndarray):
    """A cache that is bounded in bytes must know of the picture that is kept, and not count it twice."""
    encoded = looking.encode(coffee)
    assert encoded.image is coffee and encoded.working is not None
    assert encoded.nbytes == encoded.features.nbytes + encoded.working.nbytes
    alone = replace(encoded, working=None)
    assert alone.nbytes == encoded.features.nbytes + coffee.nbytes


def test_a_region_without_its_picture_is_refused(looking: PAM, coffee: np.ndarray):
    """Such as a clip's first frame."""
    found = replace(looking.segment(looking.encode(coffee), CUP), image=None)
    with pytest.raises(ModelError, match="needs the picture"):
        looking.describe(found)


def test_without_it_nothing_is_kept(nano: PAM, coffee: np.ndarray):
    """The published models look once, and hold no picture."""
    pam = PAM(replace(nano.config, close_up=0, proposals=False), nano.tokenizer).eval().requires_grad_(False)
    encoded: EncodedImage = pam.encode(coffee)
    assert encoded.image is None and encoded.nbytes == encoded.features.nbytes
    found = pam.segment(encoded, CUP)
    plain = pam.arrange(*pam.perceiver(found.output.image, found.output.tokens))
    assert torch.equal(pam.visual_tokens([found]), plain)


@pytest.mark.parametrize(
    "changes",
    [
        {"close_up": 100},
        {"close_up": -32},
        {"close_up": True},
        {"close_up": "128"},
        {"unknown": None},
        {"unknown": "x" * 65},
        {"calibration": [["category", [1, 0]]]},
        {"calibration": {"category": ["1", 0]}},
        {"calibration": {"mood": [1, 0]}},
        {"calibration": {"category": [-1, 0]}},
        {"calibration": {"category": [1]}},
        {"calibration": {"category": [1, float("nan")]}},
    ],
)
def test_a_configuration_that_cannot_be_is_refused(nano: PAM, changes: dict):
    """A close-up has whole cells, a calibration a field, a positive slope and an offset."""
    with pytest.raises(CheckpointError):
        PAMConfig.from_dict({"model": nano.config.to_dict() | changes})


def test_the_configuration_is_read_back(nano: PAM):
    """What a checkpoint says of its close-up and its scores survives."""
    config = replace(nano.config, close_up=128, unknown="object", calibration={"category": (2.0, -0.5)})
    assert PAMConfig.from_dict({"model": config.to_dict()}) == config
