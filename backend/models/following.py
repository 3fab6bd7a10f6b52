"""The engine at the model that the registry says is active, whichever process has said so."""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from backend.engine import Engine
from backend.errors import ModelsError
from backend.models.registry import Registry
from model import PAM

log = logging.getLogger(__name__)

SECONDS = 1.0
"""How often the registry is looked at: one `stat`."""

RETRY_SECONDS = 300.0
"""Until a model that could not be loaded is tried again: memory may be free, or a disk be back, by then."""


class Following:
    """Loads the active model in a thread of its own, and whatever becomes active later, for as long as it is referred
    to.

    load_base: gives the model of the settings. load: gives the one in a folder. on_swap: called after each change.
    """

    def __init__(
        self,
        registry: Registry,
        engine: Engine,
        load_base: Callable[[], PAM],
        load: Callable[[Path], PAM],
        on_swap: Callable[[], None],
    ):
        self._registry, self._engine = registry, engine
        self._load_base, self._load, self._on_swap = load_base, load, on_swap
        self._stopped, self._at_it = threading.Event(), threading.Lock()
        self._stamp: object = self
        self._try_again = math.inf
        self._answering: str | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        # The thread keeps nothing alive, above all no model.
        threading.Thread(target=_run, args=(weakref.ref(self), self._stopped), name="load-model", daemon=True).start()

    def stop(self) -> None:
        """End; a model that is being loaded is loaded first."""
        self._stopped.set()

    def follow(self) -> None:
        """Bring the engine to the active model where that has changed. What fails is logged, and the engine says it."""
        with self._at_it:
            if (stamp := self._registry.stamp()) == self._stamp and time.monotonic() < self._try_again:
                return
            self._stamp = stamp
            problem = None
            try:
                answers = self._registry.active().answers
            except ModelsError as error:
                log.error("%s", error)
                answers, problem = (self._answering,), str(error)
            if self._engine.ready and answers[-1] == self._answering:
                self._engine.note(problem)
            elif self._engine.ready:
                self._take(answers[-1], problem)
            else:
                self._take_first(answers, problem)
            is_there = self._engine.ready and answers[-1] == self._answering
            self._try_again = math.inf if is_there else time.monotonic() + RETRY_SECONDS

    def _take_first(self, answers: Sequence[str | None], problem: str | None) -> None:
        """Nothing answers yet: better the model before the active one than none."""
        for version in reversed(answers):
            if self._take(version, problem):
                return
            problem = f"{version or self._registry.base} could not be loaded: {self._engine.failure}"
        self._engine.give_up()

    def _take(self, version: str | None, problem: str | None) -> bool:
        taken = self._engine.load(self._load_base if version is None else partial(self._version, version), problem)
        if taken:
            self._answering = version
            self._on_swap()
        return taken

    def _version(self, version: str) -> PAM:
        folder = self._registry.version(version).folder
        pam = self._load(folder)
        if pam.version != version:
            raise ModelsError(f"the checkpoint {folder} is {pam.version} by now: it was changed, train again")
        return pam


def _run(following: weakref.ref[Following], stopped: threading.Event) -> None:
    while (alive := following()) is not None:
        alive.follow()
        del alive
        if stopped.wait(SECONDS):
            return
