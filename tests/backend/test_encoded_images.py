"""The cache of encoded images: bounded in bytes, keyed by content, each image made once."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from backend.encoded_images import EncodedImages
from backend.errors import PictureError


@dataclass
class FakeEncoding:
    """Stands for an encoded image of a known size."""

    nbytes: int


class Workshop:
    """Counts what is fetched and encoded; content is text, its length the bytes of its encoding."""

    def __init__(self, max_bytes: int):
        self.encoded: list[str] = []
        self.images = EncodedImages(self._decode, self._encode, max_bytes)  # type: ignore[arg-type]

    def get(self, address: str, content: str) -> Any:
        return self.images.get(address, content.encode, timeout=5)

    def _decode(self, content: bytes) -> np.ndarray:
        return np.frombuffer(content, np.uint8)

    def _encode(self, image: np.ndarray) -> FakeEncoding:
        self.encoded.append(image.tobytes().decode())
        return FakeEncoding(len(image))


def test_same_content_is_encoded_once():
    """Two tasks with the same photograph share its encoding."""
    shop = Workshop(100)
    first, second = shop.get("a", "photo"), shop.get("b", "photo")
    assert first.sha256 == second.sha256
    assert shop.encoded == ["photo"]


def test_the_least_recently_used_goes_first():
    """Memory stays bounded, and what is worked on stays."""
    shop = Workshop(12)
    for address, content in (
        ("a", "aaaaa"),
        ("b", "bbbbb"),
        ("a", "aaaaa"),
        ("c", "ccccc"),
        ("a", "aaaaa"),
        ("b", "bbbbb"),
    ):
        shop.get(address, content)
    assert shop.encoded == ["aaaaa", "bbbbb", "ccccc", "bbbbb"]


@pytest.mark.parametrize("max_bytes", [0, 3])
def test_what_does_not_fit_is_not_kept(max_bytes: int):
    """An image larger than the whole cache still gets its answer."""
    shop = Workshop(max_bytes)
    assert shop.get("a", "aaaaa").encoded.nbytes == 5
    shop.get("a", "aaaaa")
    assert shop.encoded == ["aaaaa", "aaaaa"]


def test_a_click_waits_for_the_encoding_that_is_under_way():
    """Opening a task and clicking at once does the work once."""
    shop = Workshop(100)
    gate = threading.Event()

    def fetch() -> bytes:
        gate.wait(5)
        return b"photo"

    shop.images.prepare("a", fetch)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(shop.images.get("a", fetch, timeout=5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert shop.encoded == ["photo"]


def test_a_failure_is_not_remembered():
    """An image that could not be had a moment ago is asked for again."""
    shop = Workshop(100)

    def fail() -> bytes:
        raise PictureError("not there yet")

    for _ in range(2):
        with pytest.raises(PictureError, match="not there yet"):
            shop.images.get("a", fail, timeout=5)
    assert shop.get("a", "photo").encoded.nbytes == 5
    shop.images.prepare("b", fail)
    assert shop.get("a", "photo").encoded.nbytes == 5


def test_a_flood_of_opened_tasks_does_not_queue_up():
    """Preparing in advance is a favour: with too many under way it is left out."""
    shop = Workshop(10_000)
    gate = threading.Event()

    def fetch() -> bytes:
        gate.wait(5)
        return b"photo"

    for i in range(100):
        shop.images.prepare(str(i), fetch)
    gate.set()
    assert shop.get("click", "another").encoded.nbytes == 7
    assert len(shop.encoded) <= 9


def test_what_another_model_encoded_is_not_given():
    """Once another model answers: not from the cache, and what the old one was just at is not kept."""
    shop, is_current = Workshop(100), [True]
    shop.images = EncodedImages(shop._decode, shop._encode, 100, lambda image: is_current[0])  # type: ignore[arg-type]
    shop.get("a", "photo")
    shop.get("a", "photo")
    assert shop.encoded == ["photo"]
    is_current[0] = False
    shop.get("a", "photo")
    shop.get("a", "photo")
    assert shop.encoded == ["photo"] * 3
    shop.images.drop_stale()
    is_current[0] = True
    shop.get("a", "photo")
    shop.get("a", "photo")
    assert shop.encoded == ["photo"] * 4
