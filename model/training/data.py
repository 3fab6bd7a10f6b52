"""Batches of drawn scenes, made on the fly; batch number i of a seed is always the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model import close_up
from model.prompt import Prompt
from model.sam import mask_logits, preprocess, prompt_tensors
from model.training import prompts
from model.training.facts import COLOURS, PLACES, SIZES, TEXTURES, Facts
from model.training.scenes import Scene, draw_scene, photo_scene
from model.training.shapes import CATEGORIES

FACTS: dict[str, tuple[str, ...]] = {
    "category": CATEGORIES,
    "colour": COLOURS,
    "texture": TEXTURES,
    "size": tuple(name for name, _ in SIZES),
    "place": tuple(place for row in PLACES for place in row),
    "ground": COLOURS,
}
"""What the auxiliary classifiers tell apart."""

IN_CLOSE_UP = ("category", "colour", "texture", "ground")
"""Those of them that a close-up shows."""

IN_WHOLE = ("colour", "size", "place", "ground")
"""Those that are read off the whole picture."""


T = TypeVar("T")

PHOTO_SHARE = 0.25
"""Share of the pictures that are photographs."""


@dataclass(frozen=True)
class Series:
    """Which batches are drawn.

    images, objects: a batch has so many pictures, and so many objects of each.
    side:            of the square input, in pixels; close_up: of close-ups, see PAMConfig.
    rough_share:     the share of batches that carry mask prompts.
    """

    seed: int
    steps: int
    images: int
    objects: int
    side: int
    close_up: int
    rough_share: float


@dataclass
class SceneBatch:
    """N images with K objects each; objects of an image are neighbours along the batch axis of N*K.

    pixels: float32 (N, 3, S, S), as SAM 2 takes it.      masks: float32 (N*K, 1, S/4, S/4), share of each cell covered.
    points, labels: (N*K, P, 2) and (N*K, P), see sam.prompt_tensors.
    rough:  float32 (N*K, 1, S/4, S/4) logits of a mask prompt, or None.
    close, close_rough, close_masks: the same of close-ups, around the rough mask; (N*K, …) all of them.
    outlines: float32 (N*K, outline.LENGTH), of the rough masks.
    classes: int64 (N*K, len(FACTS)).                      facts: N*K of them.
    kinds:   int64 (N*K,), see SceneObject; -1 for None.
    """

    pixels: Tensor
    masks: Tensor
    points: Tensor
    labels: Tensor
    rough: Tensor | None
    close: Tensor
    close_rough: Tensor
    close_masks: Tensor
    outlines: Tensor
    classes: Tensor
    kinds: Tensor
    facts: list[Facts]

    def to(self, device: torch.device) -> SceneBatch:
        """The same batch on another device."""
        moved: dict[str, Any] = {k: value.to(device) for k, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


class Drawn(Dataset[T]):
    """Batches by number, and how many there are."""

    def __len__(self) -> int:
        raise NotImplementedError


class SceneBatches(Drawn[SceneBatch]):
    """The batches of a series, by number."""

    def __init__(self, series: Series):
        self.series = series

    def __len__(self) -> int:
        return self.series.steps

    def __getitem__(self, step: int) -> SceneBatch:
        cv2.setNumThreads(1)
        series = self.series
        rng = np.random.default_rng((series.seed, step, 7))
        # One layout of prompts a batch: SAM 2 pads clicks with tokens of their own, which must not become a habit.
        clicks, boxed, rough = int(rng.choice([1, 1, 1, 2, 3])), rng.random() < 0.2, rng.random() < series.rough_share
        if rough and rng.random() < 0.15:
            clicks, boxed = 0, False  # a mask alone is a prompt too
        scenes = [self._scene(step * series.images + i) for i in range(series.images)]
        picks = [(scene, int(j)) for scene in scenes for j in self._pick(scene, rng)]
        rows = [self._row(scene, j, clicks, boxed, rng) for scene, j in picks]
        columns = list(zip(*rows, strict=True))
        things = [scene.objects[j] for scene, j in picks]
        facts = [thing.facts for thing in things]
        return SceneBatch(
            pixels=torch.stack([preprocess(scene.image, series.side) for scene in scenes]),
            masks=torch.stack(columns[0]),
            points=torch.cat(columns[1]),
            labels=torch.cat(columns[2]),
            rough=torch.stack(columns[3]) if rough else None,
            close=torch.stack(columns[4]),
            close_rough=torch.stack(columns[5]),
            close_masks=torch.stack(columns[6]),
            outlines=torch.stack(columns[7]),
            classes=torch.tensor([[names.index(getattr(f, key)) for key, names in FACTS.items()] for f in facts]),
            kinds=torch.tensor([-1 if thing.kind is None else thing.kind for thing in things]),
            facts=facts,
        )

    def _scene(self, index: int) -> Scene:
        if np.random.default_rng((self.series.seed, index, 17)).random() < PHOTO_SHARE:
            return photo_scene(self.series.seed, index)
        return draw_scene(self.series.seed, index, photographed=True)

    def _pick(self, scene: Scene, rng: np.random.Generator) -> np.ndarray:
        count = len(scene.objects)
        return rng.choice(count, self.series.objects, replace=count < self.series.objects)

    def _row(self, scene: Scene, j: int, clicks: int, boxed: bool, rng: np.random.Generator) -> tuple[Tensor, ...]:
        mask, side = scene.objects[j].mask, self.series.side
        click = prompts.first_click(mask, rng)
        guess = prompts.rough_mask(scene.image, mask, click, rng)
        more = tuple(prompts.corrective_click(mask, guess, rng) for _ in range(clicks - 1))
        points = (click, *more) if clicks and not boxed else ()
        prompt = Prompt(points, prompts.jittered_box(mask, rng) if boxed else None)
        coordinates, labels = prompt_tensors(prompt, len(mask), len(mask), side, torch.device("cpu"), torch.float32)
        cells = (side // 4, side // 4)
        close, close_rough, outline = close_up.cut(scene.image, guess, self.series.close_up)
        x0, y0, x1, y1 = close_up.window(guess)
        return (
            _coverage(mask, cells),
            coordinates,
            labels,
            mask_logits(guess, cells),
            close,
            close_rough,
            _coverage(mask[y0:y1, x0:x1], (self.series.close_up // 4,) * 2),
            outline,
        )


def _coverage(mask: np.ndarray, cells: tuple[int, int]) -> Tensor:
    return torch.from_numpy(cv2.resize(mask.astype(np.float32), cells[::-1], interpolation=cv2.INTER_AREA))[None]


def batches(dataset: Drawn[T], start: int, workers: int) -> DataLoader[T]:
    """Batches from number `start` on, in order, drawn by `workers` processes."""
    return DataLoader(dataset, batch_size=None, sampler=range(start, len(dataset)), num_workers=workers)
