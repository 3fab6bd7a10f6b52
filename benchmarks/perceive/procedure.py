"""What is measured, in which order."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from benchmarks.perceive import official, report, roofline, studio
from benchmarks.perceive.measure import Run, peak_memory, seconds, spread
from benchmarks.perceive.sizes import free_memory
from model import FIELDS, PAM, Point, Prompt
from model.fields import QUESTIONS, TASK_OF_FIELD

BANDWIDTH_BYTES = {"cpu": 1 << 30, "cuda": 8 << 30}
"""Memory that the bandwidth is measured on, where that much is free."""


@dataclass(frozen=True, eq=False)
class Task:
    """The work of one round.

    image:   uint8 (H, W, 3).
    rounds, new_tokens, regions: how often, how many tokens an answer has, and how many regions are asked for at once.
    """

    image: np.ndarray
    rounds: int
    new_tokens: int
    regions: int
    questions: tuple[str, ...] = tuple(QUESTIONS[f"{TASK_OF_FIELD[name]}_en"] for name in FIELDS)

    @property
    def click(self) -> Prompt:
        """One click in the middle."""
        return self._at((0.5, 0.5))

    @property
    def second_click(self) -> Prompt:
        """A further click, not far from the first."""
        return self._at((0.5, 0.5), (0.6, 0.6))

    @property
    def clicks(self) -> list[Prompt]:
        """One click for each of several regions, spread over the image."""
        return [self._at((0.15 + 0.7 * i / max(1, self.regions - 1), 0.3 + 0.4 * (i % 2))) for i in range(self.regions)]

    def _at(self, *places: tuple[float, float]) -> Prompt:
        height, width = self.image.shape[:2]
        return Prompt(tuple(Point(float(int(x * width)), float(int(y * height))) for x, y in places))


@dataclass
class Rounds:
    """What came of the rounds so far; a list for each kind of figure, all of one length. Times in seconds."""

    official: list[Run] = field(default_factory=list)
    studio: list[Run] = field(default_factory=list)
    second_click: list[float] = field(default_factory=list)
    regions_together: list[float] = field(default_factory=list)
    regions_one_by_one: list[float] = field(default_factory=list)


def measure(pam: PAM, task: Task, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything, and tell `say` what is being done before each step.

    An interrupt (KeyboardInterrupt) between two rounds ends the measurement early; before the first round is complete
    it is raised.
    """
    work = (task.image, task.click, task.questions, task.new_tokens)
    # The official side comes first, so that nothing this project keeps between prompts counts as its memory.
    say("official procedure: warm-up")
    theirs = official.run(pam, *work)
    say("official procedure: memory")
    their_peak = peak_memory(pam.device, lambda: official.run(pam, *work))
    say("PAM Studio: warm-up")
    ours, encoded = studio.run(pam, *work)
    del encoded
    say("PAM Studio: memory")
    our_peak = peak_memory(pam.device, lambda: studio.run(pam, *work))
    say("are answers the same, alone and together?")
    tokens = compare(pam, task, theirs, ours)
    say("memory bandwidth")
    budget = min(BANDWIDTH_BYTES.get(pam.device.type, 1 << 30), (free_memory(pam.device) or 1 << 33) // 4)
    bandwidth = roofline.bandwidth(pam.device, budget)
    rounds = Rounds()
    interrupted = False
    try:
        for number in range(task.rounds):
            say(f"round {number + 1} of {task.rounds}")
            one_round(pam, task, rounds)
    except KeyboardInterrupt:
        if not rounds.regions_one_by_one:
            raise
        interrupted = True
    return {
        "figures": report.summary(rounds.official[: complete(rounds)], rounds.studio[: complete(rounds)]),
        "memory": report.memory(their_peak, our_peak),
        "second_click": second_click(rounds),
        "regions": regions(rounds, task.regions),
        "roofline": nearness(pam, rounds, bandwidth),
        "tokens": tokens,
        "rounds": {k: v[: complete(rounds)] for k, v in asdict(rounds).items()},
        "interrupted": interrupted,
    }


def one_round(pam: PAM, task: Task, rounds: Rounds) -> None:
    """The official procedure and this project's, one after the other; the second click; many regions."""
    gc.collect()
    rounds.official.append(official.run(pam, task.image, task.click, task.questions, task.new_tokens))
    run, encoded = studio.run(pam, task.image, task.click, task.questions, task.new_tokens)
    rounds.studio.append(run)
    rounds.second_click.append(seconds(pam.device, lambda: pam.segment(encoded, task.second_click)))
    for times, way in ((rounds.regions_together, studio.together), (rounds.regions_one_by_one, studio.one_by_one)):
        arguments = (pam, pam.encode(task.image) if encoded.working else encoded, task.clicks, task.questions)
        times.append(seconds(pam.device, lambda: way(*arguments, task.new_tokens)))  # noqa: B023 -- called at once


def complete(rounds: Rounds) -> int:
    """How many rounds went through to their end."""
    return len(rounds.regions_one_by_one)


def compare(pam: PAM, task: Task, theirs: Run, ours: Run) -> dict[str, Any]:
    """Whether the fields decoded together are what they are alone, the regions too, and what the official way says."""
    encoded = pam.encode(task.image)
    found = pam.segment(encoded, task.click)
    alone = [studio.tokens(pam, found, [question], task.new_tokens)[0] for question in task.questions]
    arguments = (pam, encoded, task.clicks, task.questions, task.new_tokens)
    regions = zip(studio.together(*arguments), studio.one_by_one(*arguments), strict=True)
    pairs = [(a, b) for together, single in regions for a, b in zip(together, single, strict=True)]
    return {
        "fields together and alone": report.agreement(ours.tokens, alone),
        "PAM Studio and official procedure": report.agreement(ours.tokens, theirs.tokens),
        "regions together and one by one": report.agreement(*zip(*pairs, strict=True)),
    }


def second_click(rounds: Rounds) -> dict[str, Any]:
    """Time to the mask of a first and of a second click, and their ratio."""
    first = [run.mask for run in rounds.studio[: complete(rounds)]]
    second = rounds.second_click[: complete(rounds)]
    ratio = [a / b for a, b in zip(first, second, strict=True)]
    return {"first": spread(first), "second": spread(second), "ratio": spread(ratio)}


def regions(rounds: Rounds, count: int) -> dict[str, Any]:
    """Time to all fields of several regions, in one batch and one after the other, without encoding the image."""
    together, single = rounds.regions_together[: complete(rounds)], rounds.regions_one_by_one
    ratio = [b / a for a, b in zip(together, single, strict=True)]
    return {"count": count, "together": spread(together), "one_by_one": spread(single), "ratio": spread(ratio)}


def nearness(pam: PAM, rounds: Rounds, bandwidth: dict[str, float]) -> dict[str, Any]:
    """How near a step of decoding comes to the time that reading the weights once takes."""
    size, best = roofline.weights_per_step(pam.language), max(bandwidth.values())
    figures = report.summary(rounds.official[: complete(rounds)], rounds.studio[: complete(rounds)])
    share = {side: size / best / figures[side]["decode, one step"]["median"] for side in report.NAMES}
    small = size < 64 << 20
    return {
        "bytes_per_step": size,
        "bandwidth": best,
        "bandwidths": bandwidth,
        "seconds_at_best": size / best,
        "share": share,
        "note": "these weights fit in a cache, so memory does not bound them" if small else "",
    }


def settings(pam: PAM, task: Task, command: str) -> dict[str, Any]:
    """What was asked for."""
    return {
        "command": command,
        "model": pam.config.name,
        "version": pam.version,
        "proposals": pam.config.proposals,
        "dtype": str(pam.image_newline.dtype).removeprefix("torch."),
        "device": str(pam.device),
        "image": list(task.image.shape),
        "fields": len(task.questions),
        "new_tokens": task.new_tokens,
        "rounds": task.rounds,
    } | {"threads": torch.get_num_threads()}
