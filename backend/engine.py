"""The model as the server sees it: loaded in the background, used by one thread at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from backend import metrics
from backend.errors import BackendError, RequestError
from model import PAM, EncodedImage, Prompt, PromptError, Region, Segmentation, WordOptions, Words
from model.errors import LabelError

log = logging.getLogger(__name__)


class ModelNotReady(BackendError):
    """The model is still loading, could not be loaded, or is too busy."""

    status, code = 503, "model_not_ready"


@dataclass(frozen=True, eq=False)
class Perceived:
    """A region, and what more can be asked about it with."""

    segmentation: Segmentation
    region: Region


class Engine:
    """One PAM, shared by all threads.

    load:    returns the model; it runs in a thread of its own, so that the server answers meanwhile.
    name:    what the model is called until it says so itself.
    timeout: seconds that an image waits for its turn to be encoded.
    options: how regions are described.
    """

    def __init__(self, load: Callable[[], PAM], name: str, timeout: float, options: WordOptions):
        self._load, self._name, self._timeout, self._options = load, name, timeout, options
        self._turn = threading.Lock()
        self._pam: PAM | None = None
        self._failure: str | None = None

    def start(self) -> None:
        """Begin to load; returns at once."""
        threading.Thread(target=self._run, name="load-model", daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._pam is not None

    @property
    def failure(self) -> str | None:
        """Why the model could not be loaded, or None."""
        return self._failure

    @property
    def version(self) -> str:
        """The model's version."""
        return self._pam.version if self._pam else self._name

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Look at an image, uint8 (H, W, 3) RGB. Raises ModelNotReady."""
        with self._using("encode", self._timeout) as pam:
            return pam.encode(image)

    def perceive(
        self, image: EncodedImage, prompt: Prompt, timeout: float, labels: Sequence[str] | None = None
    ) -> Perceived:
        """Mask and words for a prompt, whose turn is waited for `timeout` seconds.

        labels: of which the category is one, or None. Raises ModelNotReady, and RequestError for a prompt that means
        nothing or labels that are no list to choose from.
        """
        with self._using("perceive", timeout) as pam:
            found = pam.segment(image, prompt)
            return Perceived(found, *pam.regions([found], labels, self._options))

    def explain(self, found: Segmentation, category: str, timeout: float) -> Words:
        """What the model says of a region whose category is known. Raises what `perceive` does."""
        with self._using("explain", timeout) as pam:
            return pam.describe(found, [category], self._options)

    @contextmanager
    def turn(self, step: str, timeout: float) -> Iterator[PAM]:
        """The model for something of the caller's own, which is called `step` in `/metrics`; keep it short.

        timeout: seconds to wait for it. Raises what `perceive` does.
        """
        with self._using(step, timeout) as pam:
            yield pam

    def check_ready(self) -> PAM:
        """The model; raises ModelNotReady, with the reason, as long as there is none."""
        if self._pam is None:
            why = f"could not be loaded: {self._failure}" if self._failure else "is still loading: try again shortly"
            raise ModelNotReady(f"the model {self._name} {why}")
        return self._pam

    @contextmanager
    def _using(self, step: str, timeout: float) -> Iterator[PAM]:
        pam = self.check_ready()
        if not self._turn.acquire(timeout=max(0.0, timeout)):
            raise ModelNotReady("the model was busy for too long: try again", code="model_busy")
        try:
            with metrics.MODEL_SECONDS.labels(step).time():
                yield pam
        except PromptError as error:
            raise RequestError(str(error), code="bad_prompt", status=422) from error
        except LabelError as error:
            raise RequestError(str(error), code="bad_labels", status=422) from error
        finally:
            self._turn.release()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            pam = self._load()
            pam.warm_up(self._options)  # the first click should not wait for what happens only once
            self._pam = pam
        except Exception as error:
            # Whatever it is, this thread is the only one that knows: `/health` and `/predict` must be able to say so.
            self._failure = str(error) or type(error).__name__
            log.exception("the model %s could not be loaded", self._name)
            return
        metrics.MODEL_READY.set(1)
        log.info("model %s is ready after %.1f s", self._pam.version, time.monotonic() - began)
