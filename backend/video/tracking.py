"""The model at work on tracks: one frame at a time, in a thread of its own, so that clicks come in between."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Generator
from functools import partial
from pathlib import Path

from backend import metrics
from backend.engine import Engine
from backend.errors import BackendError
from backend.ledger.tracks import FrameMask, Key, Tracks
from backend.masks import to_coco_rle
from backend.video import plan
from backend.video.board import Board
from backend.video.events import Narrator
from backend.video.work import State, Work
from model.errors import ModelError
from model.frames import FrameLimits, Frames, open_frames
from model.tracking import FrameMasks, follow

log = logging.getLogger(__name__)

_FLUSH_FRAMES, _FLUSH_SECONDS = 100, 2.0
_KEPT = 100
"""Works that have ended and are still listed."""

MOST_WORKS = 500
"""Works that wait; the one that was asked for longest ago gives way to the next."""

_AT_ONCE = 1500
"""Frames up to which events are told in one go, from the first frame on, where the object is followed both ways."""

_BEGUN = 4
"""Works that are held where they are while others go first: each keeps what it remembers of its object in memory."""


class Tracking:
    """Follows objects through videos, the one asked for last first. Any thread may call it.

    most: frames to follow an object from one anchor, each way. limits: of the videos.
    release: called with the path of a work's video when it has ended. board: where others see what is followed.
    """

    def __init__(
        self,
        engine: Engine,
        tracks: Tracks,
        limits: FrameLimits,
        most: int,
        release: Callable[[Path], None],
        board: Board,
    ):
        self._engine, self._tracks, self._limits, self._most, self._release = engine, tracks, limits, most, release
        self._changed = threading.Condition()
        self._works: list[Work] = []
        self._begun: dict[Work, Generator[None, None, None]] = {}
        self._over: list[Work] = []
        self._thread: threading.Thread | None = None
        self._closing = False
        self._board = board

    def start(self, work: Work) -> Work:
        """Begin with a work at once, in place of one for the same track. It goes on whoever waits for it."""
        with self._changed:
            self._cancel(work.key, "asked for anew")
            self._over = [other for other in self._over if other.id != work.id]
            if len(self._works) >= MOST_WORKS:
                self._end(self._works[0], "cancelled", f"more than {MOST_WORKS} objects are to be followed; ask again")
            self._works.append(work)
            self._board.show(work)
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
            work.waiting += 1
            try:
                while not work.is_over and (left := until - time.monotonic()) > 0:
                    self._changed.wait(left)
            finally:
                work.waiting -= 1

    def cancel(self, key: Key, why: str = "") -> None:
        """Work on a track no more; what was found of it stays."""
        with self._changed:
            self._cancel(key, why)

    def cancel_task(self, project_id: int | None, task_id: int, why: str, region_ids: Collection[str] = ()) -> None:
        """Work no more on the tracks of these regions of a task, nor on others of it that nobody waits for just now.

        project_id: None for the task in any: its id is its own on one Label Studio.
        """
        with self._changed:
            for work in list(self._works):
                is_of_it = work.key.task_id == task_id and project_id in (None, work.key.project_id)
                if is_of_it and (work.key.region_id in region_ids or not work.waiting):
                    self._end(work, "cancelled", why)

    @property
    def is_busy(self) -> bool:
        """Whether anything is to be followed."""
        return bool(self._works)

    def one(self, id: str) -> Work | None:
        """The work that is called `id`: that which is on its way, or else the last one that has ended."""
        return next((work for work in self.works() if work.id == id), None)

    def cancel_one(self, id: str) -> None:
        """Break off the work that is called `id`, where there is one; asked for again it goes on where it was."""
        with self._changed:
            for work in [work for work in self._works if work.id == id]:
                self._end(work, "cancelled", "by request")

    def close(self) -> None:
        """Break off all work, and return when that is done. What was found is in the ledger, to be gone on with."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._board.close()

    def works(self) -> list[Work]:
        """All that is on its way, and what has ended last, the newest first; of each track the newest work alone."""
        with self._changed:
            return sorted([*self._works, *self._over], key=lambda work: work.created_at, reverse=True)

    def _cancel(self, key: Key, why: str) -> None:
        for work in [work for work in self._works if work.key == key]:
            self._end(work, "cancelled", why)

    def _end(self, work: Work, state: State, message: str = "") -> None:
        """Under the lock."""
        if work.is_over:
            return
        work.state, work.message = state, message
        if work in self._works:
            self._works.remove(work)
        if work not in self._begun:
            self._release(work.path)
        self._over = [*self._over, work][-_KEPT:]
        self._board.show(work)
        self._board.keep_only([*self._works, *self._over])
        self._changed.notify_all()
        log.info(
            "track %s of task %s: %s after %d of %d frames%s",
            work.key.region_id, work.key.task_id, state, work.done, work.frames, f": {message}" if message else "",
        )  # fmt: skip

    def _run(self) -> None:
        while (work := self._next()) is not None:
            if not self._step(self._begun[work], work):
                with self._changed:
                    self._put_away(work)
            for id in self._board.unwanted():
                self.cancel_one(id)
        with self._changed:
            for work in list(self._begun):
                self._put_away(work)

    def _next(self) -> Work | None:
        """The work whose turn it is, begun; None when all are to be broken off."""
        with self._changed:
            for ended in [work for work in self._begun if work.is_over]:
                self._put_away(ended)
            metrics.TRACKS.set(len(self._works))
            while not self._works and not self._closing:
                self._changed.wait()
            if self._closing:
                return None
            work = self._works[-1]
            if work.state != "running":
                work.state = "running"
                self._board.show(work)
            steps = self._begun.pop(work, None) or self._steps(work)
            while len(self._begun) >= _BEGUN:
                self._put_away(next(iter(self._begun)))
            self._begun[work] = steps
            return work

    def _put_away(self, work: Work) -> None:
        """Let go of what a work holds in memory; one that is not over goes on from the ledger when its turn comes."""
        self._begun.pop(work).close()
        if work.is_over or self._closing:
            self._release(work.path)
        else:
            work.state = "queued"
            self._board.show(work)

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
        """Each `next` follows the object through one frame, or looks at one that it was followed through."""
        if (track := self._tracks.track(work.key)) is None:
            return
        with open_frames(work.path, self._limits) as frames:
            narrator = None
            if work.telling is not None:
                keep = partial(self._keep, work)
                narrator = Narrator(self._engine, self._tracks, frames, work.key, work.telling, keep)
            ways = plan.stretches(track, self._tracks.masks(work.key), self._most)
            along = sum(map(len, ways)) > _AT_ONCE or not any(way.backward for way in ways)
            for stretch in ways:
                for is_flushed in self._through(stretch, frames, work):
                    yield
                    if is_flushed and along and narrator is not None:
                        yield from self._tell(narrator, work, is_end=False)
            if narrator is not None:
                yield from self._tell(narrator, work, is_end=True)

    def _through(self, stretch: plan.Stretch, frames: Frames, work: Work) -> Generator[bool, None, None]:
        """Follow an object through a stretch, a frame with each `next`: whether all so far is in the ledger."""
        kept: list[FrameMask] = []
        flushed = time.monotonic()
        with self._engine.turn("track", None) as pam:
            found = follow(
                pam, frames, {stretch.start: {0: stretch.prompt}}, stretch.start, stretch.stop,
                backward=stretch.backward, behind={index: {0: prompt} for index, prompt in stretch.behind.items()},
            )  # fmt: skip
        try:
            for index in range(len(stretch) + stretch.is_known):
                with self._engine.turn("track", None):
                    masks = next(found)
                if index or not stretch.is_known:
                    kept.append(_kept(masks, stretch.anchor))
                    work.done += 1
                    metrics.TRACKED_FRAMES.inc()
                if is_due := len(kept) >= _FLUSH_FRAMES or time.monotonic() - flushed > _FLUSH_SECONDS:
                    self._flush(work, kept)
                    flushed = time.monotonic()
                yield is_due
        finally:
            found.close()
            self._flush(work, kept)

    def _tell(self, narrator: Narrator, work: Work, is_end: bool) -> Generator[None, None, None]:
        for _ in narrator.go_on(is_end):
            work.events = narrator.told
            yield
        work.events = narrator.told

    def _keep(self, work: Work, keep: Callable[[], object]) -> None:
        with self._changed:
            if work.state != "cancelled":  # another work on the same track may have begun
                keep()

    def _flush(self, work: Work, kept: list[FrameMask]) -> None:
        if kept:
            self._keep(work, lambda: self._tracks.add(work.key, kept))
            self._keep(work, lambda: self._board.show(work))
            kept.clear()


def _kept(masks: FrameMasks, anchor: int) -> FrameMask:
    found = masks.objects[0]
    return FrameMask(masks.index, to_coco_rle(found.mask) if found.visible else "", found.box, found.score, anchor)
