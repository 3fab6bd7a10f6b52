"""One model for all threads: its turns, and what happens when one takes too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from backend.assembly import Backend
from backend.engine import Engine, ModelNotReady
from backend.errors import RequestError
from model import PAM, EncodedImage, Point, Prompt, WordOptions
from model.language import DecodingOptions
from tests.backend.conftest import ready


def started(nano: PAM, timeout: float) -> Engine:
    engine = Engine("pam-nano", timeout, WordOptions())
    engine.swap(nano)
    return engine


def test_a_busy_model_is_waited_for_no_longer_than_allowed(nano: PAM, monkeypatch: pytest.MonkeyPatch):
    """A request that cannot have its turn gets a 503 instead of hanging until Label Studio gives up."""
    engine = started(nano, timeout=0.2)
    inside, done = threading.Event(), threading.Event()

    encode = nano.encode

    def slow(image: np.ndarray) -> EncodedImage:
        inside.set()
        done.wait(60)
        return encode(image)

    monkeypatch.setattr(nano, "encode", slow)
    image = np.zeros((8, 8, 3), np.uint8)
    thread = threading.Thread(target=engine.encode, args=(image,))
    thread.start()
    inside.wait(60)
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
    assert engine.perceive(image, Prompt((Point(5, 5),)), 1).region.mask[5, 5]


def test_the_settings_decide_how_regions_are_described(make_backend: Callable[..., Backend], nano: PAM, monkeypatch):
    """Language, caption style and decoding reach the model from the settings, through the whole backend."""
    heard: list[tuple[Sequence[str] | None, WordOptions]] = []
    regions = nano.regions

    def listen(segmentations, labels=None, options=None):
        heard.append((labels, options))
        return regions(segmentations, labels, options)

    chosen = {"language": "en", "caption": "detailed", "max_new_tokens": 5, "temperature": 0.5, "top_p": 0.9}
    engine = ready(make_backend(**chosen)).engine
    monkeypatch.setattr(nano, "regions", listen)
    image = engine.encode(np.zeros((20, 20, 3), np.uint8))
    engine.perceive(image, Prompt((Point(5, 5),)), 5, ["coin", "cup"])
    decoding = DecodingOptions(max_new_tokens=5, temperature=0.5, top_p=0.9)
    assert heard == [(["coin", "cup"], WordOptions("en", "detailed", decoding))]


def test_a_language_that_the_model_cannot_speak_is_told_at_once(make_backend: Callable[..., Backend]):
    """Not by the first annotator who clicks."""
    engine = make_backend(language="zh").engine
    while not engine.failure:
        assert not engine.ready
        time.sleep(0.005)
    assert "trained to speak en, not zh" in engine.failure
    with pytest.raises(ModelNotReady, match="not zh"):
        engine.encode(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("labels", [[], ["cup", "cup"], ["<|im_end|>"]])
def test_labels_that_are_no_list_are_a_bad_request(nano: PAM, labels: list[str]):
    """The turn is given back, and the error is the client's."""
    engine = started(nano, timeout=1)
    image = engine.encode(np.zeros((20, 20, 3), np.uint8))
    for _ in range(2):
        with pytest.raises(RequestError) as error:
            engine.perceive(image, Prompt((Point(5, 5),)), 1, labels)
        assert (error.value.status, error.value.code) == (422, "bad_labels")
