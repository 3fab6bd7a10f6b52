"""What is remembered, seen by the model that answers: by one that has taken over, as embeddings of two models cannot be
compared, and what annotators drew by hand, which no click has shown to any."""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Protocol

from backend import labeling_config, metrics
from backend.engine import Engine
from backend.errors import BackendError, ConfigError
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger
from backend.memory.memory import ProjectMemories
from model import ModelError

log = logging.getLogger(__name__)

SECONDS = 60.0
"""How often it is looked for memories that the model has not seen: a click's answer may be submitted after the swap."""

PAUSE_SECONDS = 1.0
"""Between two looks, however much is submitted."""

RETRY_SECONDS = 3600.0
"""After which a task that failed is tried again: its file may be lost for good."""

_FAILURES_IN_A_ROW = 5
_TASKS_A_LINE = 100

_parse_config = lru_cache(maxsize=64)(labeling_config.parse)


class Regions(Protocol):
    """Shows regions of a task to the model; see `PictureRegions` and `VideoRegions`."""

    def see(self, project_id: int, task_id: int, config: LabelingConfig, wanted: Collection[str]) -> None: ...


class Reembedding:
    """Shows the engine's model the corrected masks that others suggested, or nobody did, task by task, while nobody
    clicks.

    Until it is done the memory answers for what has been seen. What is to do and what is done is in the ledger, so that
    it goes on there when it was killed, and nothing queues up here. It runs in a thread of its own, for as long as it
    is referred to.
    """

    def __init__(
        self,
        ledger: Ledger,
        memories: ProjectMemories,
        engine: Engine,
        pictures: Regions,
        videos: Regions,
    ):
        self._ledger, self._memories, self._engine = ledger, memories, engine
        self._pictures, self._videos = pictures, videos
        self._awake, self._stopped = threading.Event(), threading.Event()
        self._failed: dict[tuple[int, int], float] = {}
        self._started = False
        self._looked_through = ""

    def start(self) -> None:
        """Begin, or look again at once: the model is another one."""
        self._awake.set()
        if not self._started:
            self._started = True
            arguments = (weakref.ref(self), self._awake, self._stopped)
            threading.Thread(target=_run, args=arguments, name="reembed", daemon=True).start()

    def submitted(self) -> None:
        """Look soon at what an annotator has submitted; returns at once, and never fails."""
        self._awake.set()

    def stop(self) -> None:
        """End after the task at hand."""
        self._stopped.set()
        self._awake.set()

    def run(self, everything: bool = True) -> int:
        """Go through what the present model has not seen; how many tasks that were. Raises LedgerError.

        everything: all that is remembered; else, where that was looked through before, what was drawn since.
        """
        version = self._engine.version
        now = time.monotonic()
        unseen = dict.fromkeys(self._unseen(version, everything))
        if version != self._looked_through:
            self._failed.clear()
        self._looked_through = version
        tasks = [task for task in unseen if self._failed.get(task, -math.inf) <= now - RETRY_SECONDS]
        # However many files are lost for good, what was not tried yet comes before them.
        tasks.sort(key=lambda task: self._failed.get(task, -math.inf))
        done = in_a_row = 0
        if tasks:
            log.info("memory: %d tasks are to be seen by %s", len(tasks), version)
        for project_id, task_id in tasks:
            if self._stopped.is_set() or self._engine.version != version or in_a_row == _FAILURES_IN_A_ROW:
                break
            try:
                self._see(project_id, task_id, version)
                in_a_row = 0
            except (BackendError, ModelError) as error:
                log.warning("memory: task %d of project %d cannot be seen anew: %s", task_id, project_id, error)
                in_a_row += 1
            if self._ledger.memories.unseen_of_task(project_id, task_id, version):
                self._failed[project_id, task_id] = time.monotonic()
            else:
                self._failed.pop((project_id, task_id), None)
            done += 1
            metrics.REEMBEDDING.labels("done").set(done)
            metrics.REEMBEDDING.labels("left").set(len(tasks) - done)
            if done % _TASKS_A_LINE == 0 or done == len(tasks):
                log.info("memory: %d of %d tasks are seen by %s", done, len(tasks), version)
        if done == len(tasks) and done:
            self._ledger.memories.forget_models()
        return done

    def _unseen(self, version: str, everything: bool) -> Iterator[tuple[int, int]]:
        """Project and task ids, of projects that `/setup` has told of; first those that nobody suggested."""
        for project_id in self._ledger.projects():
            project = self._ledger.project(project_id)
            if project is None:
                continue
            try:
                self._memories.catch_up(project_id, _parse_config(project.label_config), version)
            except ConfigError as error:
                log.debug("memory: project %d is not read: %s", project_id, error)
            yield from self._ledger.memories.unseen_of_project(project_id, version)
        if everything or version != self._looked_through:
            yield from self._ledger.memories.unseen(version)

    def _see(self, project_id: int, task_id: int, version: str) -> None:
        project = self._ledger.project(project_id)
        config = _parse_config(project.label_config if project else "")
        wanted = self._ledger.memories.unseen_of_task(project_id, task_id, version)
        (self._videos if config.video else self._pictures).see(project_id, task_id, config, wanted)


def _run(reembedding: weakref.ref[Reembedding], awake: threading.Event, stopped: threading.Event) -> None:
    everything = True
    while not stopped.is_set() and (alive := reembedding()) is not None:
        awake.clear()
        try:
            alive.run(everything)
        except Exception:
            # Nobody else would hear of it, and the next look may go well: the ledger may have been busy.
            log.exception("memory: what is remembered was not seen anew")
        del alive
        stopped.wait(PAUSE_SECONDS)
        everything = not awake.wait(SECONDS)
