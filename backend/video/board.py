"""The list of what is followed, for other processes and the log: nothing suffers where it cannot be kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from backend.errors import BackendError
from backend.video.track_works import TrackWorks
from backend.video.work import Work

log = logging.getLogger(__name__)

_LOOK_SECONDS, _LOG_SECONDS = 1.0, 30.0


class Board:
    """Shows works, and says which of them others want to be broken off."""

    def __init__(self, works: TrackWorks):
        self._works, self._looked, self._logged = works, 0.0, time.monotonic()
        works.begin()

    def show(self, work: Work) -> None:
        """Let others see how far a work is."""
        shown = work.as_json()
        if work.state == "running" and time.monotonic() - self._logged > _LOG_SECONDS:
            self._logged = time.monotonic()
            left = "" if shown["seconds_left"] is None else f", {shown['seconds_left']:.0f} s left"
            log.info("%s of task %d: %d of %d frames%s", work.id, work.key.task_id, work.done, work.frames, left)
        try:
            self._works.put(shown)
        except BackendError as error:
            log.warning("%s", error)

    def keep_only(self, works: Iterable[Work]) -> None:
        """Forget all others."""
        try:
            self._works.keep_only([work.id for work in works])
        except BackendError as error:
            log.warning("%s", error)

    def unwanted(self) -> list[str]:
        """The ids of works that are to be broken off; it is looked up once in a while."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return []
        self._looked = time.monotonic()
        try:
            return self._works.unwanted()
        except BackendError as error:
            log.warning("%s", error)
            return []

    def close(self) -> None:
        """Say that nothing is followed any more."""
        self._works.close()
