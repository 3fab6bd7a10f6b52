"""What is remembered, seen by the model that answers: by one that has taken over, as embeddings of two models cannot be
compared, and what annotators drew by hand, which no click has shown to any."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from functools import lru_cache

from backend import labeling_config, metrics, pictures
from backend.annotations import CorrectedRegion, corrected_regions
from backend.connections import Connections
from backend.engine import Engine
from backend.errors import BackendError, ConfigError
from backend.ledger import Ledger
from backend.memory.memory import ProjectMemories
from model import EncodedImage, ModelError, Point, Prompt
from model.everything import deepest

log = logging.getLogger(__name__)

SECONDS = 60.0
"""How often it is looked for memories that the model has not seen: a click's answer may be submitted after the swap."""

PAUSE_SECONDS = 1.0
"""Between two looks, however much is submitted."""

RETRY_SECONDS = 3600.0
"""After which a task that failed is tried again: its image may be lost for good."""

REGIONS_A_TURN = 4
"""Seen at once; a click waits for so many."""

_FAILURES_IN_A_ROW = 5
_TASKS_A_LINE = 100

_parse_config = lru_cache(maxsize=64)(labeling_config.parse)


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
        studios: Connections,
        limits: pictures.FetchLimits,
        max_pixels: int,
    ):
        self._ledger, self._memories, self._engine = ledger, memories, engine
        self._studios, self._limits, self._max_pixels = studios, limits, max_pixels
        self._awake, self._stopped = threading.Event(), threading.Event()
        self._failed: dict[tuple[str, int, int], float] = {}
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
        self._failed = {task: moment for task, moment in self._failed.items() if moment > now - RETRY_SECONDS}
        tasks = [task for task in self._unseen(version, everything) if (version, *task) not in self._failed]
        tasks = list(dict.fromkeys(tasks))
        self._looked_through = version
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
                self._failed[version, project_id, task_id] = time.monotonic()
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
        wanted = self._ledger.memories.unseen_of_task(project_id, task_id, version)
        by_image: dict[str, dict[str, CorrectedRegion]] = {}
        for region in self._regions(project_id, task_id):
            if region.region_id in wanted:
                by_image.setdefault(region.image_address, {})[region.region_id] = region
        for address, regions in by_image.items():
            image = self._encode(address, project_id, task_id)
            fitting = [each for each in regions.values() if each.mask.shape == (image.height, image.width)]
            for start in range(0, len(fitting), REGIONS_A_TURN):
                self._look(image, fitting[start : start + REGIONS_A_TURN])

    def _regions(self, project_id: int, task_id: int) -> Iterator[CorrectedRegion]:
        project = self._ledger.project(project_id)
        config = _parse_config(project.label_config if project else "")
        suggestions = {each.region_id: each for each in self._ledger.suggestions_of_task(project_id, task_id)}
        for annotation in self._ledger.annotations_of_task(project_id, task_id):
            for region in corrected_regions(annotation, config, suggestions.get, self._max_pixels):
                if isinstance(region, CorrectedRegion):
                    yield region

    def _encode(self, address: str, project_id: int, task_id: int) -> EncodedImage:
        content = pictures.fetch(address, task_id, self._studios.of(project_id), self._limits)
        return self._engine.encode_in_spare_time(pictures.decode(content, self._max_pixels))

    def _look(self, image: EncodedImage, regions: Sequence[CorrectedRegion]) -> None:
        version, embeddings = self._engine.embed_in_spare_time(
            image, [Prompt(_points(region), region.box, region.mask) for region in regions]
        )
        for region, embedding in zip(regions, embeddings, strict=True):
            self._memories.see(region.project_id, region.task_id, version, {region.region_id: embedding})


def _points(region: CorrectedRegion) -> tuple[Point, ...]:
    """The clicks of a region; for one that was drawn by hand the one that most would choose, so that it looks alike."""
    return region.points if region.points or region.box else (deepest(region.mask),)


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
