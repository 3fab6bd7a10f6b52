"""Batches of drawn clips, told piece by piece, beside still scenes; batch number i of a seed is always the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from model import close_up, trajectory
from model.reading import CHOSEN
from model.sam import mask_logits, preprocess
from model.training import prompts
from model.training.clips import draw_clip
from model.training.data import FACTS, Drawn, SceneBatch, SceneBatches, Series
from model.training.facts import Facts
from model.training.story import Story


@dataclass(frozen=True)
class Telling:
    """One clip that is told: its frames, by their numbers among those of the batch, the close-up's number, what
    happens, and the caption of the clip before, or ""."""

    frames: tuple[int, ...]
    close: int
    story: Story
    previous: str


@dataclass(frozen=True, eq=False)
class ClipBatch:
    """Tellings of drawn clips, and scenes that are still.

    pixels: float32 (F, 3, S, S) of all frames. rough: float32 (F, 1, S/4, S/4), their mask prompts.
    close, close_rough, outlines: see SceneBatch, of the frames that show the things of tellings best.
    trajectories: float32 (len(tellings), trajectory.LENGTH), by these mask prompts.
    """

    stills: SceneBatch
    pixels: Tensor
    rough: Tensor
    close: Tensor
    close_rough: Tensor
    outlines: Tensor
    trajectories: Tensor
    tellings: tuple[Telling, ...]

    def to(self, device: torch.device) -> ClipBatch:
        """The same batch on another device."""
        moved: dict[str, Any] = {k: value.to(device) for k, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, stills=self.stills.to(device), **moved)


class ClipBatches(Drawn[ClipBatch]):
    """Batches of clips and of a series of scenes, by number.

    clips: that a batch draws. told: of each, pieces of it at any pace, forwards or backwards.
    """

    def __init__(self, stills: Series, clips: int = 2, told: int = 4, count: int = 12):
        self._stills, self._clips, self._told, self._count = SceneBatches(stills), clips, told, count

    def __len__(self) -> int:
        return len(self._stills)

    def __getitem__(self, step: int) -> ClipBatch:
        cv2.setNumThreads(1)
        series = self._stills.series
        rng = np.random.default_rng((series.seed, step, 43))
        pixels: list[Tensor] = []
        rough: list[Tensor] = []
        close: list[tuple[Tensor, Tensor, Tensor]] = []
        ways: list[Tensor] = []
        tellings: list[Telling] = []
        for number in range(self._clips):
            clip = draw_clip(series.seed, step * self._clips + number, self._count)
            first = len(pixels)
            order = {frame: first + i for i, frame in enumerate(clip.seen)}
            guesses = {i: _guess(clip.frames[i], clip.masks[i], rng) for i in order}
            pixels += [preprocess(clip.frames[i], series.side) for i in order]
            rough += [mask_logits(guess, (series.side // 4,) * 2) for guess in guesses.values()]
            for _ in range(self._told):
                frames = piece(clip.seen, rng)
                best, story = clip.best(frames), clip.story(frames)
                previous = before(story, clip.category, rng)
                tellings.append(Telling(tuple(order[i] for i in frames), len(close), story, previous))
                ways.append(torch.from_numpy(trajectory.describe([trajectory.spot(guesses[i]) for i in frames])))
                close.append(close_up.cut(clip.frames[best], guesses[best], series.close_up))
        views, masks, outlines = (torch.stack(column) for column in zip(*close, strict=True))
        return ClipBatch(
            self._stills[step],
            torch.stack(pixels),
            torch.stack(rough),
            views,
            masks,
            outlines,
            torch.stack(ways),
            tuple(tellings),
        )


def _guess(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return prompts.rough_mask(image, mask, prompts.first_click(mask, rng), rng)


def piece(seen: Sequence[int], rng: np.random.Generator, most: int = CHOSEN) -> list[int]:
    """Frames of a part of a clip, `most` or fewer, some more than once where it is slow."""
    first, last = np.sort(rng.integers(0, len(seen), 2)) if rng.random() < 0.6 else (0, len(seen) - 1)
    count = most if rng.random() < 0.5 else int(rng.integers(1, most + 1))
    places = np.linspace(first, last, count).round().astype(int)
    return [seen[i] for i in (places[::-1] if rng.random() < 0.5 else places)]


def before(story: Story, category: str, rng: np.random.Generator) -> str:
    """What may have been said of the clip before: mostly the right name, and that it ended where this one begins."""
    if rng.random() < 0.4:
        return ""
    other = str(rng.choice(FACTS["category"])) if rng.random() < 0.2 else category
    known = story.facts
    facts = Facts(
        category=other,
        colour=str(rng.choice(FACTS["colour"])) if rng.random() < 0.1 else known.colour,
        texture=str(rng.choice(FACTS["texture"])) if rng.random() < 0.1 else known.texture,
        size=str(rng.choice(FACTS["size"])) if rng.random() < 0.2 else known.size,
        place=story.start,
        ground=str(rng.choice(FACTS["colour"])) if rng.random() < 0.2 else known.ground,
    )
    moved = rng.random() < 0.5
    begun = str(rng.choice(FACTS["place"])) if moved else story.start
    growth = str(rng.choice(["", "", "", "larger", "smaller"]))
    told = Story(facts, int(rng.choice([1, 16, 16, 16])), begun, story.start, story.start, moved, growth)
    return told.caption(str(rng.choice(["", "It moves.", "It stays."])))
