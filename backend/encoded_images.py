"""Images on their way to the model: fetched, decoded and encoded once, however many ask for them."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from cachetools import LRUCache, TTLCache

from backend import metrics
from backend.errors import BackendError
from model import EncodedImage

log = logging.getLogger(__name__)

ADDRESS_SECONDS = 300.0
"""How long an address is trusted to lead to the same content without fetching it again."""
MAX_ADDRESSES, MAX_WAITING, WORKERS = 4096, 8, 4

Fetch = Callable[[], bytes]


@dataclass(frozen=True, eq=False)
class Picture:
    """An encoded image and the SHA-256 of the file that it came from."""

    sha256: str
    encoded: EncodedImage


class EncodedImages:
    """A cache of encoded images, keyed by content and bounded in bytes.

    decode: file content to uint8 (H, W, 3) RGB. encode: that to what is kept. is_current: whether that still holds,
    which it does not once another model answers.
    """

    def __init__(
        self,
        decode: Callable[[bytes], np.ndarray],
        encode: Callable[[np.ndarray], EncodedImage],
        max_bytes: int,
        is_current: Callable[[EncodedImage], bool] = lambda image: True,
    ):
        self._decode, self._encode, self._is_current = decode, encode, is_current
        self._lock = threading.Lock()
        self._pictures: LRUCache[str, Picture] = LRUCache(max_bytes, getsizeof=lambda p: p.encoded.nbytes)
        self._addresses: TTLCache[str, str] = TTLCache(MAX_ADDRESSES, ADDRESS_SECONDS)
        self._under_way: dict[str, Future[Picture]] = {}
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="encode")

    def get(self, address: str, fetch: Fetch, timeout: float) -> Picture:
        """The image at `address`, encoded; what is under way already is waited for, not begun again.

        address: whatever names the image for this caller; fetch: gets its content.
        Raises what `fetch`, `decode` and `encode` raise, and TimeoutError after `timeout` seconds.
        """
        with self._lock:
            if picture := self._known(address):
                metrics.ENCODED_IMAGES.labels("cache").inc()
                return picture
            future = self._begin(address, fetch)
        return future.result(timeout)

    def prepare(self, address: str, fetch: Fetch) -> None:
        """Begin to encode the image at `address` and return at once; with too many under way, do nothing."""
        with self._lock:
            if self._known(address) or len(self._under_way) >= MAX_WAITING:
                return
            self._begin(address, fetch).add_done_callback(_log_failure)

    def drop_stale(self) -> None:
        """Let go of what is not current any more: another model has taken over."""
        with self._lock:
            for sha256 in [sha256 for sha256, picture in self._pictures.items() if not self._holds(picture)]:
                del self._pictures[sha256]
            metrics.CACHE_BYTES.set(self._pictures.currsize)

    def _known(self, address: str) -> Picture | None:
        sha256 = self._addresses.get(address)
        return None if sha256 is None else self._kept(sha256)

    def _kept(self, sha256: str) -> Picture | None:
        picture = self._pictures.get(sha256)
        return picture if picture is not None and self._holds(picture) else None

    def _holds(self, picture: Picture) -> bool:
        return self._is_current(picture.encoded)

    def _begin(self, address: str, fetch: Fetch) -> Future[Picture]:
        future = self._under_way.get(address)
        if future is None:
            future = self._under_way[address] = self._pool.submit(self._make, address, fetch)
        return future

    def _make(self, address: str, fetch: Fetch) -> Picture:
        try:
            content = fetch()
            sha256 = hashlib.sha256(content).hexdigest()
            with self._lock:
                picture = self._kept(sha256)
            metrics.ENCODED_IMAGES.labels("encoder" if picture is None else "cache").inc()
            if picture is None:
                picture = Picture(sha256, self._encode(self._decode(content)))
            self._keep(address, picture)
            return picture
        finally:
            with self._lock:
                del self._under_way[address]

    def _keep(self, address: str, picture: Picture) -> None:
        with self._lock:
            self._addresses[address] = picture.sha256
            if picture.encoded.nbytes <= self._pictures.maxsize and self._holds(picture):
                self._pictures[picture.sha256] = picture
            metrics.CACHE_BYTES.set(self._pictures.currsize)


def _log_failure(future: Future[Picture]) -> None:
    # Nobody waits for it: the click that follows meets the same error and reports it.
    if error := future.exception():
        reason = error.message if isinstance(error, BackendError) else type(error).__name__
        log.warning("an image could not be encoded in advance: %s", reason)
