"""How good a model is on scenes that it never saw."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from model.pam import PAM
from model.prompt import Prompt
from model.training import prompts
from model.training.scenes import COLOURS, PLACES, SIZES, Facts, Scene, SceneObject, draw_scene


def evaluate(pam: PAM, seed: int, scenes: int) -> dict[str, Any]:
    """Click once on one object of each of `scenes` held-out scenes, and compare mask and words with the truth.

    Returns mean IoU of the mask, and the share of right words: the category, and colour, size and place as they stand
    in the caption.
    """
    right: dict[str, list[float]] = defaultdict(list)
    for scene, thing, prompt in held_out(seed, scenes):
        region = pam.perceive(pam.encode(scene.image), prompt)
        right["iou"].append(float((region.mask & thing.mask).sum() / (region.mask | thing.mask).sum()))
        right["category"].append(region.words.category == thing.facts.category)
        for name, said in read_caption(region.words.caption).items():
            right[name].append(said == getattr(thing.facts, name))
        right["explanation fits category"].append(_fits(region.words.explanation, region.words.category))
    return {"scenes": scenes, **{name: round(float(np.mean(values)), 3) for name, values in right.items()}}


def held_out(seed: int, scenes: int) -> Iterator[tuple[Scene, SceneObject, Prompt]]:
    """Scenes of a series that no training draws, with one object of each and a click on it."""
    for index in range(scenes):
        scene = draw_scene(seed, index, 256)
        rng = np.random.default_rng((seed, index, 5))
        thing = scene.objects[int(rng.integers(len(scene.objects)))]
        yield scene, thing, Prompt((prompts.first_click(thing.mask, rng),))


def read_caption(caption: str) -> dict[str, str | None]:
    """Size, colour and place that a caption speaks of; None where it does not."""
    front = caption.partition(", on a ")[0]
    places = sorted((place for row in PLACES for place in row), key=len, reverse=True)
    colours = sorted(COLOURS, key=len, reverse=True)
    return {
        "size": _first(front, [name for name, _ in SIZES]),
        "colour": _first(front, colours),
        "place": _first(front.partition(" at the ")[2] or front.partition(" in the ")[2], places),
    }


def _first(text: str, words: list[str]) -> str | None:
    return next((word for word in words if re.search(rf"\b{word}\b", text)), None)


def _fits(explanation: str, category: str) -> bool:
    facts = Facts(category, "", "", "", "", "")
    try:
        return explanation == facts.explanation
    except KeyError:
        return False
