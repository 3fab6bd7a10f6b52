"""Frames that a thread reads ahead: what is slow to come and what is slow to be used need not wait for each other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self

from model.frames.frame import Frame


class Stream:
    """Iterates over frames as they come, in order; close it, or use it as a context manager.

    name:   of the source, without secrets.
    length: how many frames there will be, where that is known.

    At most `capacity` frames wait. Where one more comes, the source waits (back-pressure), or the oldest is dropped:
    then the numbers of the frames have gaps, and `dropped` counts them.
    """

    def __init__(
        self,
        name: str,
        frames: Iterator[Frame],
        *,
        live: bool,
        drop: bool | None = None,
        capacity: int = 16,
        length: int | None = None,
        remote: Any = None,
    ):
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}: it must be at least 1")
        self.name, self.length, self.dropped = name, length, 0
        self._live, self._drop, self._capacity, self._remote = live, drop, capacity, remote
        self._waiting: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._closed = self._done = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, args=(frames,), name=f"frames of {name}", daemon=True)
        self._thread.start()

    @property
    def live(self) -> bool:
        """Whether the source goes on whether or not anybody looks; for http, known from the first frame on."""
        return self._live if self._remote is None else self._remote.live

    @property
    def reconnects(self) -> int:
        """How often the source went away and came back."""
        return 0 if self._remote is None else self._remote.reconnects

    def __iter__(self) -> Iterator[Frame]:
        """The next frames. Raises what reading them raised, after the frames that came before it."""
        while (frame := self._next()) is not None:
            yield frame

    def close(self) -> None:
        """Stop reading, and forget what waits."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            if self._remote is not None:
                self._remote.closed = True
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            # A source that says nothing is let go of at its time limit.
            self._thread.join(timeout=1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._done or self._closed)
            if self._waiting:
                frame = self._waiting.popleft()
                self._changed.notify_all()
                return frame
            if self._error is not None and not self._closed:
                raise self._error
            return None

    def _read(self, frames: Iterator[Frame]) -> None:
        try:
            for frame in frames:
                if not self._put(frame):
                    break
        except Exception as error:  # handed to whoever takes the frames
            self._error = error
        finally:
            with suppress(Exception):
                frames.close()  # type: ignore[attr-defined]
            with self._changed:
                self._done = True
                self._changed.notify_all()

    def _put(self, frame: Frame) -> bool:
        """Whether the stream is still wanted."""
        with self._changed:
            drops = self.live if self._drop is None else self._drop
            if drops and len(self._waiting) >= self._capacity:
                self._waiting.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: len(self._waiting) < self._capacity or self._closed)
            if not self._closed:
                self._waiting.append(frame)
                self._changed.notify_all()
            return not self._closed
