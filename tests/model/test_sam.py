"""SAM 2's input."""

from __future__ import annotations

import numpy as np
import torch

from model.sam import MEAN, STD, normalise


def test_normalising_is_the_official_arithmetic():
    """Every value of every channel, to the bit: divided in float64, rounded, then normalised in float32."""
    image = np.stack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3, axis=2)
    pixels = torch.from_numpy((image / 255.0).astype(np.float32)).permute(2, 0, 1)
    expected = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    assert torch.equal(normalise(image), expected)
