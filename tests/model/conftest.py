"""Models and photographs that the tests of `model` share."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from skimage import data

import model
from model import PAM, EncodedImage


@pytest.fixture(scope="session")
def nano() -> PAM:
    """The model that comes with the package."""
    return model.load("nano", threads=1)


@pytest.fixture(scope="session")
def coffee() -> np.ndarray:
    """A colour photograph, uint8 (400, 600, 3)."""
    return data.coffee()


@pytest.fixture(scope="session")
def encoded(nano: PAM, coffee: np.ndarray) -> EncodedImage:
    """The photograph, encoded once for all prompts."""
    return nano.encode(coffee)


@pytest.fixture(scope="session")
def remembering(nano: PAM) -> PAM:
    """Nano as larger models are: followed by memory, and shown clips."""
    pam = copy.copy(nano)
    pam.config = replace(nano.config, proposals=False, close_up=0)
    return pam
