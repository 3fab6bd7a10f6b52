"""Seconds by phase, peak memory, and the spread of both."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

PHASES = ("encode", "segment", "perceive", "prefill", "decode")


@dataclass(frozen=True)
class Run:
    """What one prompt cost, answered with all fields.

    phases: seconds by phase, summed over the fields.
    mask, first_word, fields: seconds from the image's pixels to the mask, to the first token of the first field, and to
            the last token of the last.
    steps:  passes of the language model that each added a token, those of the prefill left out.
    tokens: what was written, one list of ids for each field.
    """

    phases: dict[str, float]
    mask: float
    first_word: float
    fields: float
    steps: int
    tokens: list[list[int]]

    @property
    def figures(self) -> dict[str, float]:
        """The times of this run under the names that the report prints, in seconds."""
        later = sum(len(ids) - 1 for ids in self.tokens)
        return {
            **self.phases,
            "decode, one step": self.phases["decode"] / max(1, self.steps),
            "decode, per token": self.phases["decode"] / max(1, later),
            "time to mask": self.mask,
            "time to first word": self.first_word,
            "time to all fields": self.fields,
        }

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


class Stopwatch:
    """Wall-clock time by phase; on a GPU each reading waits until the work queued so far is done."""

    def __init__(self, device: torch.device):
        self._device = device
        self.phases = dict.fromkeys(PHASES, 0.0)
        self._start = self._last = self._now()

    def lap(self, phase: str) -> float:
        """Count the time since the last lap to `phase`; returns the seconds since the start."""
        now = self._now()
        self.phases[phase] += now - self._last
        self._last = now
        return now - self._start

    def _now(self) -> float:
        settle(self._device)
        return time.perf_counter()


def settle(device: torch.device) -> None:
    """Wait until a GPU has done what was queued; nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds(device: torch.device, work: Callable[[], Any]) -> float:
    """How long `work` takes."""
    settle(device)
    began = time.perf_counter()
    work()
    settle(device)
    return time.perf_counter() - began


@dataclass(frozen=True)
class Peak:
    """Bytes held before a piece of work, weights and all, and at the worst moment during it."""

    before: int
    peak: int


def peak_memory(device: torch.device, work: Callable[[], Any]) -> Peak | None:
    """The memory that `work` needs: of the GPU, or resident in this process on Linux; None where neither can be had."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return Peak(before, torch.cuda.max_memory_allocated(device))
    if device.type != "cpu" or not sys.platform.startswith("linux"):
        return None
    # What earlier work freed and the allocator kept would count as held already; not every C library can give it back.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak of the resident set
    before = _resident("VmRSS")
    work()
    return Peak(before, _resident("VmHWM"))


def _resident(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return 1024 * int(found.group(1)) if found else 0


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return {"median": float(middle), "q1": float(low), "q3": float(high)}
