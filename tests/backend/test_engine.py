"""One model for all threads: its turns, and what happens when one takes too long."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from backend.engine import Engine, ModelNotReady
from model import PAM, Point, Prompt, WordOptions


def started(nano: PAM, timeout: float) -> Engine:
    engine = Engine(lambda: nano, "pam-nano", timeout, WordOptions())
    engine.start()
    while not engine.ready:
        time.sleep(0.005)
    return engine


def test_a_busy_model_is_waited_for_no_longer_than_allowed(nano: PAM, monkeypatch: pytest.MonkeyPatch):
    """A request that cannot have its turn gets a 503 instead of hanging until Label Studio gives up."""
    engine = started(nano, timeout=0.2)
    inside, done = threading.Event(), threading.Event()

    def slow(image: np.ndarray) -> None:
        inside.set()
        done.wait(10)

    monkeypatch.setattr(nano, "encode", slow)
    image = np.zeros((8, 8, 3), np.uint8)
    thread = threading.Thread(target=engine.encode, args=(image,))
    thread.start()
    inside.wait(5)
    with pytest.raises(ModelNotReady, match="busy") as error:
        engine.encode(image)
    assert (error.value.status, error.value.code) == (503, "model_busy")
    done.set()
    thread.join()
    monkeypatch.undo()
    engine.encode(image)


def test_an_error_gives_the_turn_back(nano: PAM):
    """A failed request does not block the next one."""
    engine = started(nano, timeout=1)
    image = engine.encode(np.zeros((20, 20, 3), np.uint8))
    for _ in range(3):
        with pytest.raises(Exception, match="needs a positive click"):
            engine.perceive(image, Prompt(), 1)
    assert engine.perceive(image, Prompt((Point(5, 5),)), 1).mask[5, 5]
