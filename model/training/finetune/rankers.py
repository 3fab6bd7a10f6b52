"""What finds nano's masks, its ranker of proposals, learns from corrected masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from model import proposals
from model.pam import PAM
from model.prompt import Prompt
from model.proposals.ranker import TENSORS, OwnRanker, stored
from model.proposals.working import Judge
from model.training import prompts
from model.training.data import PHOTO_SHARE
from model.training.finetune.files import read_image, read_mask
from model.training.finetune.records import RegionRecord
from model.training.finetune.rehearsal import SERIES
from model.training.ranking import Choice, record, tune
from model.training.scenes import draw_scene, photo_scene

MOST_REGIONS = 200
"""Regions that a ranker learns from, at most: each takes a second."""


def learn(pam: PAM, regions: Sequence[RegionRecord], seed: int, on_region: Callable[[int], None]) -> dict[str, Tensor]:
    """The weights of a ranker that has seen what prompts for corrected masks leave to choose from.

    regions: with masks. on_region: told how many were looked at. Raises RecordError where a picture is gone.
    """
    judge = pam.ranker.judge if pam.config.ranker else proposals.judge
    choices: list[Choice] = []
    for number, region in enumerate(some(regions, seed), 1):
        image = read_image(region)
        truth = read_mask(region, image)
        if truth is not None:
            choices += record(image, truth, _prompts(region, truth, np.random.default_rng((seed, number, 31))), judge)
            choices += _of_old_things(seed, number, judge)
        on_region(number)
    tuned = tune(weights_of(pam), choices, seed)
    return {name: torch.from_numpy(np.asarray(tuned[name], np.float32)) for name in TENSORS}


def some(regions: Sequence[RegionRecord], seed: int) -> list[RegionRecord]:
    """At most MOST_REGIONS of them."""
    order = np.random.default_rng((seed, 37)).permutation(len(regions))[:MOST_REGIONS]
    return [regions[i] for i in order]


def weights_of(pam: PAM) -> Mapping[str, np.ndarray]:
    """Those of the ranker that a model asks, by the names in ranker.TENSORS."""
    if not pam.config.ranker:
        return stored()
    return {name: pam.ranker.tensor(name).float().cpu().numpy() for name in TENSORS}


def give(pam: PAM, weights: Mapping[str, Tensor]) -> None:
    """Make a model ask a ranker of its own with these weights."""
    pam.config = replace(pam.config, ranker=True)
    pam.ranker = OwnRanker()
    pam.ranker.load_state_dict({name.replace(" ", "_"): weights[name] for name in TENSORS})
    pam.ranker.to(pam.device)


def _of_old_things(seed: int, number: int, judge: Judge) -> list[Choice]:
    """What a click on a drawn scene, or on a photograph of the training's, leaves to choose from: a ranker that saw one
    domain alone would judge all others by it."""
    rng = np.random.default_rng((seed, number, 43))
    scene = (photo_scene if rng.random() < PHOTO_SHARE else draw_scene)(seed + SERIES, number)
    thing = scene.objects[int(rng.integers(len(scene.objects)))]
    return record(scene.image, thing.mask, [Prompt((prompts.first_click(thing.mask, rng),))], judge)


def _prompts(region: RegionRecord, truth: np.ndarray, rng: np.random.Generator) -> list[Prompt]:
    """The click that was recorded, another one, and the box."""
    on = [point for point in region.points if point.positive][:1]
    found = [Prompt((on[0],))] if on else []
    found.append(Prompt((prompts.first_click(truth, rng),)))
    return [*found, Prompt(box=prompts.jittered_box(truth, rng))]
