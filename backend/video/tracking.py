"""The model at work on tracks: one frame at a time, in a thread of its own, so that clicks come in between."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from backend import metrics
from backend.engine import Engine
from backend.errors import BackendError
from backend.ledger.tracks import FrameMask, Key, Tracks
from backend.masks import to_coco_rle
from model import Prompt
from model.errors import ModelError
from model.frames import FrameLimits, open_frames
from model.tracking import FrameMasks, follow

log = logging.getLogger(__name__)

_FLUSH_FRAMES, _FLUSH_SECONDS = 100, 2.0
_KEPT = 100
"""Works that have ended and are still listed."""

State = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Stretch:
    """Frames to follow an object through, from a prompt on the first of them.

    start, stop: as in `range(start, stop, step)`, step being 1 or, backward, -1; `stop` may be -1.
    is_known:    whether the first frame's mask is in the ledger already.
    behind:      frames that it does not go through, and what the object is known to be there.
    """

    anchor: int
    prompt: Prompt
    start: int
    stop: int
    backward: bool = False
    is_known: bool = False
    behind: Mapping[int, Prompt] = field(default_factory=dict)

    def __len__(self) -> int:
        return abs(self.stop - self.start) - self.is_known


@dataclass(eq=False)
class Work:
    """A track on its way.

    frames: how many there are to follow it through. done: how many of them it was followed through.
    """

    key: Key
    path: Path
    stretches: Sequence[Stretch]
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: State = "queued"
    done: int = 0
    message: str = ""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """As `GET /jobs` shows it."""
        left = self.seconds / self.done * (self.frames - self.done) if self.done and not self.is_over else None
        return {
            "kind": "track",
            "project_id": self.key.project_id,
            "task_id": self.key.task_id,
            "region_id": self.key.region_id,
            "state": self.state,
            "message": self.message,
            "frames": {"done": self.done, "of": self.frames},
            "seconds_left": None if left is None else round(left, 1),
            "created_at": self.created_at.isoformat(),
        }

    @property
    def frames(self) -> int:
        return sum(map(len, self.stretches))

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


class Tracking:
    """Follows objects through videos, the one asked for last first. Any thread may call it.

    limits: of the videos. release: called with the path of a work's video when it has ended.
    """

    def __init__(self, engine: Engine, tracks: Tracks, limits: FrameLimits, release: Callable[[Path], None]):
        self._engine, self._tracks, self._limits, self._release = engine, tracks, limits, release
        self._changed = threading.Condition()
        self._works: list[Work] = []
        self._over: list[Work] = []
        self._thread: threading.Thread | None = None
        self._closing = False

    def start(self, work: Work) -> Work:
        """Begin with a work at once, in place of one for the same track. It goes on whoever waits for it."""
        with self._changed:
            self._cancel(work.key)
            self._works.append(work)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="follow", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return work

    def urge(self, key: Key) -> Work | None:
        """The work on a track, made the first in line, or None where nobody works on it."""
        with self._changed:
            for work in self._works:
                if work.key == key:
                    self._works.remove(work)
                    self._works.append(work)
                    return work
        return None

    def wait(self, work: Work, until: float) -> None:
        """Return when a work has ended, or at the time `until` (monotonic); what was found is in the ledger then."""
        with self._changed:
            while not work.is_over and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)

    def cancel(self, key: Key) -> None:
        """Work on a track no more; what was found of it stays."""
        with self._changed:
            self._cancel(key)

    def close(self) -> None:
        """Break off all work, and return when that is done. What was found is in the ledger, to be gone on with."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def works(self) -> list[Work]:
        """All that is on its way, and what has ended last; newest first."""
        with self._changed:
            return sorted([*self._works, *self._over], key=lambda work: work.created_at, reverse=True)

    def _cancel(self, key: Key) -> None:
        for work in [work for work in self._works if work.key == key]:
            self._end(work, "cancelled")

    def _end(self, work: Work, state: State, message: str = "") -> None:
        """Under the lock."""
        if work.is_over:
            return
        work.state, work.message = state, message
        if work in self._works:
            self._works.remove(work)
        self._over = [*self._over, work][-_KEPT:]
        self._changed.notify_all()
        log.info(
            "track %s of task %s: %s after %d of %d frames%s",
            work.key.region_id, work.key.task_id, state, work.done, work.frames, f": {message}" if message else "",
        )  # fmt: skip

    def _run(self) -> None:
        under_way: dict[Work, Generator[None, None, None]] = {}
        while True:
            with self._changed:
                for ended in [work for work in under_way if work.is_over]:
                    self._close(under_way.pop(ended), ended)
                metrics.TRACKS.set(len(self._works))
                while not self._works and not self._closing:
                    self._changed.wait()
                if self._closing:
                    break
                work = self._works[-1]
                work.state = "running"
            steps = under_way.setdefault(work, self._steps(work))
            if not self._step(steps, work):
                under_way.pop(work)
                self._release(work.path)
        for work, steps in under_way.items():
            self._close(steps, work)

    def _close(self, steps: Generator[None, None, None], work: Work) -> None:
        steps.close()
        self._release(work.path)

    def _step(self, steps: Generator[None, None, None], work: Work) -> bool:
        """One frame; whether there are more."""
        began = time.monotonic()
        state: State
        try:
            next(steps)
            work.seconds += time.monotonic() - began
            return True
        except StopIteration:
            state, message = "done", ""
        except (BackendError, ModelError) as error:
            state, message = "failed", str(error)
        except Exception:
            # This thread serves all tracks: one must not end the others.
            log.exception("track %s of task %s", work.key.region_id, work.key.task_id)
            state, message = "failed", "something went wrong inside the backend: its log says what"
        with self._changed:
            self._end(work, state, message)
        return False

    def _steps(self, work: Work) -> Generator[None, None, None]:
        """Each `next` follows the object through one frame."""
        kept: list[FrameMask] = []
        flushed = time.monotonic()
        with open_frames(work.path, self._limits) as frames:
            for stretch in work.stretches:
                with self._engine.turn("track", None) as pam:
                    found = follow(
                        pam, frames, {stretch.start: {0: stretch.prompt}}, stretch.start, stretch.stop,
                        backward=stretch.backward,
                        behind={index: {0: prompt} for index, prompt in stretch.behind.items()},
                    )  # fmt: skip
                try:
                    for index in range(len(stretch) + stretch.is_known):
                        with self._engine.turn("track", None):
                            masks = next(found)
                        if index or not stretch.is_known:
                            kept.append(_kept(masks, stretch.anchor))
                            work.done += 1
                            metrics.TRACKED_FRAMES.inc()
                        if len(kept) >= _FLUSH_FRAMES or time.monotonic() - flushed > _FLUSH_SECONDS:
                            self._flush(work, kept)
                            flushed = time.monotonic()
                        yield
                finally:
                    found.close()
                    self._flush(work, kept)

    def _flush(self, work: Work, kept: list[FrameMask]) -> None:
        with self._changed:
            if kept and work.state != "cancelled":  # another work on the same track may have begun
                self._tracks.add(work.key, kept)
            kept.clear()


def _kept(masks: FrameMasks, anchor: int) -> FrameMask:
    found = masks.objects[0]
    return FrameMask(masks.index, to_coco_rle(found.mask) if found.visible else "", found.box, found.score, anchor)
