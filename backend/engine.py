"""The model as the server sees it: loaded in the background, used by one thread at a time, exchanged while it works."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from backend import metrics
from backend.errors import BackendError, RequestError
from model import PAM, EncodedImage, Prompt, PromptError, Region, Segmentation, WordOptions, Words
from model.errors import LabelError
from model.everything import EverythingOptions
from model.region import Candidate

log = logging.getLogger(__name__)

_SPARE_SECONDS = 0.01
"""How often work that nobody waits for looks whether the model is free."""


class ModelNotReady(BackendError):
    """The model is still loading, could not be loaded, or is too busy."""

    status, code = 503, "model_not_ready"


@dataclass(frozen=True, eq=False)
class Perceived:
    """A region, and what more can be asked about it with."""

    segmentation: Segmentation
    region: Region


class Engine:
    """One PAM, shared by all threads, and exchanged between two requests.

    What one model encoded, that model answers about, whatever has been swapped in since: an answer is wholly of one
    version. The old model goes when the last image that it encoded does.

    name:    what the model is called until there is one that says so itself.
    timeout: seconds that an image waits for its turn to be encoded.
    options: how regions are described.
    """

    def __init__(self, name: str, timeout: float, options: WordOptions):
        self._name, self._timeout, self._options = name, timeout, options
        self._turn, self._counting, self._tried = threading.Lock(), threading.Lock(), threading.Event()
        self._waiting = 0
        self._pam: PAM | None = None
        self._failure: str | None = None
        self._of: WeakKeyDictionary[object, PAM] = WeakKeyDictionary()

    def wait(self) -> PAM:
        """The model, when it is loaded; raises ModelNotReady, with the reason, when none can be."""
        self._tried.wait()
        return self.check_ready()

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._pam is not None

    @property
    def failure(self) -> str | None:
        """Why the model that should answer could not be loaded, or None; another one may answer."""
        return self._failure

    @property
    def options(self) -> WordOptions:
        """How regions are described."""
        return self._options

    @property
    def version(self) -> str:
        """The model's version."""
        return self._pam.version if self._pam else self._name

    def encode(self, image: np.ndarray) -> EncodedImage:
        """Look at an image, uint8 (H, W, 3) RGB. Raises ModelNotReady."""
        with self._using("encode", self._timeout) as pam:
            return self._encoded(image, pam)

    def perceive(
        self, image: EncodedImage, prompt: Prompt, timeout: float, labels: Sequence[str] | None = None
    ) -> Perceived:
        """Mask and words for a prompt, whose turn is waited for `timeout` seconds.

        labels: of which the category is one, or None. Raises ModelNotReady, and RequestError for a prompt that means
        nothing or labels that are no list to choose from.
        """
        with self._using("perceive", timeout, image) as pam:
            found = pam.segment(image, prompt)
            self._of[found] = pam
            return Perceived(found, *pam.regions([found], labels, self._options))

    def perceive_mask(self, image: EncodedImage, mask: np.ndarray, timeout: float) -> Perceived:
        """Words for a region whose mask, bool (H, W), is settled. Raises what `perceive` does."""
        with self._using("perceive", timeout, image) as pam:
            found = pam.segment(image, Prompt(mask=mask))
            found = replace(found, candidates=[Candidate(mask, found.score)])
            self._of[found] = pam
            return Perceived(found, *pam.regions([found], None, self._options))

    def everything(self, image: EncodedImage, timeout: float, options: EverythingOptions) -> list[Segmentation]:
        """What may be objects of an image, without a prompt, best first. Raises ModelNotReady."""
        with self._using("everything", timeout, image) as pam:
            found = pam.segment_everything(image, options)
            self._of.update(dict.fromkeys(found, pam))
            return found

    def describe(
        self, found: Sequence[Segmentation], timeout: float, labels: Sequence[str] | None = None
    ) -> list[Perceived]:
        """Words for what was segmented, in one batch; labels, and what it raises, as in `perceive`."""
        with self._using("describe", timeout, found[0] if found else None) as pam:
            return list(map(Perceived, found, pam.regions(found, labels, self._options)))

    def explain(self, found: Segmentation, category: str, timeout: float) -> Words:
        """What the model says of a region whose category is known. Raises what `perceive` does."""
        with self._using("explain", timeout, found) as pam:
            return pam.describe(found, [category], self._options)

    @contextmanager
    def turn(self, step: str, timeout: float | None) -> Iterator[PAM]:
        """The model for something of the caller's own, which is called `step` in `/metrics`; keep it short.

        timeout: seconds to wait for it, None for letting all others go first. Raises what `perceive` does.
        """
        with self._using(step, timeout) as pam:
            yield pam

    def load(self, load: Callable[[], PAM], problem: str | None = None) -> bool:
        """Load a model and let it answer; whether that went well. What answers meanwhile goes on, and stays if not.

        problem: why it is not the one that should answer, to be shown until that one does.
        """
        began = time.monotonic()
        try:
            self.swap(load())
        except Exception as error:
            # Whatever it is, this thread is the only one that knows: `/health` and `/predict` must be able to say so.
            self.note(str(error) or type(error).__name__)
            log.exception("a model could not be loaded; %s answers", self.version if self.ready else "none")
            return False
        self.note(problem)
        log.info("model %s is ready after %.1f s", self.version, time.monotonic() - began)
        return True

    def swap(self, pam: PAM) -> None:
        """Let a model answer from the next request on; it is warmed up first, while the old one still answers.

        Both are in memory until then. Raises ModelError for a model that cannot do what the options ask for.
        """
        # CUDA graphs cannot be captured beside other work on the device; a CPU has no such trouble.
        with self._turn if pam.device.type == "cuda" else nullcontext():
            pam.warm_up(self._options)  # the first click should not wait for what happens only once
        self._pam = pam
        self._tried.set()
        metrics.MODEL_READY.set(1)
        metrics.MODEL.info({"version": pam.version})

    def note(self, problem: str | None) -> None:
        """Keep why another model than the one that should answer does, or that it is as it should be."""
        self._failure = problem

    def give_up(self) -> None:
        """Let those who `wait` learn that no model could be loaded."""
        self._tried.set()

    def is_current(self, image: EncodedImage) -> bool:
        """Whether the model that answers now has encoded an image."""
        return self._of.get(image) is self._pam

    def encode_in_spare_time(self, image: np.ndarray) -> EncodedImage:
        """What `encode` gives, for work that nobody waits for: whoever waits goes first. Raises ModelNotReady."""
        with self._using("encode", None) as pam:
            return self._encoded(image, pam)

    def embed_in_spare_time(self, image: EncodedImage, prompts: Sequence[Prompt]) -> tuple[str, np.ndarray]:
        """The version of the model that `image` comes from, and what it sees in regions: float32 (B, E), see `Region`.

        prompts: with the regions' masks, of which a click may have to wait for all. Raises ModelNotReady, and
        RequestError as `perceive` does.
        """
        with self._using("embed", None, image) as pam:
            return pam.version, pam.embed(pam.adopt(image, prompts))

    def check_ready(self) -> PAM:
        """The model; raises ModelNotReady, with the reason, as long as there is none."""
        if self._pam is None:
            why = f"could not be loaded: {self._failure}" if self._failure else "is still loading: try again shortly"
            raise ModelNotReady(f"the model {self._name} {why}")
        return self._pam

    @contextmanager
    def _using(self, step: str, timeout: float | None, about: object = None) -> Iterator[PAM]:
        """The model for a turn: the one that `about` comes from, or else the present one.

        timeout: seconds to wait for the turn, None for letting all others go first.
        """
        self.check_ready()
        self._take_turn(timeout)
        try:
            pam = self.check_ready()
            with metrics.MODEL_SECONDS.labels(step).time():
                yield pam if about is None else self._of.get(about, pam)
        except PromptError as error:
            raise RequestError(str(error), code="bad_prompt", status=422) from error
        except LabelError as error:
            raise RequestError(str(error), code="bad_labels", status=422) from error
        finally:
            self._turn.release()

    def _encoded(self, image: np.ndarray, pam: PAM) -> EncodedImage:
        encoded = pam.encode(image)
        self._of[encoded] = pam
        return encoded

    def _take_turn(self, timeout: float | None) -> None:
        if timeout is None:
            while self._waiting or not self._turn.acquire(blocking=False):
                time.sleep(_SPARE_SECONDS)
            return
        self._count(1)
        try:
            taken = self._turn.acquire(timeout=max(0.0, timeout))
        finally:
            self._count(-1)
        if not taken:
            raise ModelNotReady("the model was busy for too long: try again", code="model_busy")

    def _count(self, more: int) -> None:
        with self._counting:
            self._waiting += more
