"""Batches of drawn scenes, made on the fly; batch number i of a seed is always the same."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model.prompt import Prompt
from model.sam import MASK_PROMPT_SCALE, preprocess, prompt_tensors
from model.training import prompts
from model.training.scenes import COLOURS, PLACES, SIZES, TEXTURES, Facts, Scene, draw_scene
from model.training.shapes import CATEGORIES

FACTS: dict[str, tuple[str, ...]] = {
    "category": CATEGORIES,
    "colour": tuple(COLOURS),
    "texture": TEXTURES,
    "size": tuple(name for name, _ in SIZES),
    "place": tuple(place for row in PLACES for place in row),
    "ground": tuple(COLOURS),
}
"""What the auxiliary classifiers tell apart."""


@dataclass
class SceneBatch:
    """N images with K objects each; objects of an image are neighbours along the batch axis of N*K.

    pixels: float32 (N, 3, S, S), as SAM 2 takes it.      masks: float32 (N*K, 1, S/4, S/4), share of each cell covered.
    points, labels: (N*K, P, 2) and (N*K, P), see sam.prompt_tensors.
    rough:  float32 (N*K, 1, S/4, S/4) logits of a mask prompt, or None.
    classes: int64 (N*K, len(FACTS)).                      facts: N*K of them.
    """

    pixels: Tensor
    masks: Tensor
    points: Tensor
    labels: Tensor
    rough: Tensor | None
    classes: Tensor
    facts: list[Facts]


class SceneBatches(Dataset[SceneBatch]):
    """`steps` batches of the series `seed`.

    rough_share: the share of batches that carry mask prompts.
    """

    def __init__(self, seed: int, steps: int, images: int, objects: int, side: int, rough_share: float):
        self.seed, self.steps, self.images, self.objects, self.side = seed, steps, images, objects, side
        self.rough_share = rough_share

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> SceneBatch:
        cv2.setNumThreads(1)
        rng = np.random.default_rng((self.seed, step, 7))
        # One layout of prompts a batch: SAM 2 pads clicks with tokens of their own, which must not become a habit.
        clicks, boxed, rough = int(rng.choice([1, 1, 1, 2, 3])), rng.random() < 0.2, rng.random() < self.rough_share
        scenes = [draw_scene(self.seed, step * self.images + i, self.side) for i in range(self.images)]
        picks = [(scene, int(j)) for scene in scenes for j in self._pick(scene, rng)]
        rows = [self._row(scene, j, clicks, boxed, rough, rng) for scene, j in picks]
        facts = [scene.objects[j].facts for scene, j in picks]
        return SceneBatch(
            pixels=torch.stack([preprocess(scene.image, self.side) for scene in scenes]),
            masks=torch.stack([row[0] for row in rows]),
            points=torch.cat([row[1] for row in rows]),
            labels=torch.cat([row[2] for row in rows]),
            rough=torch.stack([row[3] for row in rows]) if rough else None,
            classes=torch.tensor([[names.index(getattr(f, key)) for key, names in FACTS.items()] for f in facts]),
            facts=facts,
        )

    def _pick(self, scene: Scene, rng: np.random.Generator) -> np.ndarray:
        count = len(scene.objects)
        return rng.choice(count, self.objects, replace=count < self.objects)

    def _row(
        self, scene: Scene, j: int, clicks: int, boxed: bool, rough: bool, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mask = scene.objects[j].mask
        click = prompts.first_click(mask, rng)
        guess = prompts.rough_mask(scene.image, mask, click, rng)
        points = () if boxed else (click, *(prompts.corrective_click(mask, guess, rng) for _ in range(clicks - 1)))
        prompt = Prompt(points, prompts.jittered_box(mask, rng) if boxed else None)
        coordinates, labels = prompt_tensors(
            prompt, self.side, self.side, self.side, torch.device("cpu"), torch.float32
        )
        return _coverage(mask), coordinates, labels, (2 * _coverage(guess) - 1) * MASK_PROMPT_SCALE


def _coverage(mask: np.ndarray) -> Tensor:
    side = mask.shape[0] // 4
    return torch.from_numpy(mask.astype(np.float32).reshape(side, 4, side, 4).mean((1, 3)))[None]


def batches(dataset: SceneBatches, start: int, workers: int) -> DataLoader[SceneBatch]:
    """Batches from number `start` on, in order, drawn by `workers` processes."""
    return DataLoader(dataset, batch_size=None, sampler=range(start, len(dataset)), num_workers=workers)
