"""How good a model is on scenes that it never saw."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from model.pam import PAM
from model.prompt import Prompt
from model.region import FIELDS, Words
from model.training import prompts, reliability
from model.training.facts import COLOURS, PLACES, SIZES, TEXTURES, Facts, look_at
from model.training.photographs import HELD_BACK
from model.training.scenes import Scene, SceneObject, draw_scene, photo_scene
from model.training.shapes import CATEGORIES, DEFINITIONS, UNKNOWN

Click = tuple[Scene, SceneObject, Prompt]

UNNAMED_SHARE = 4
"""Of so many clicks that scores are fitted on, one is on a photograph: a drawn scene has a name for most things."""

SEEN = ("colour", "size", "place")
"""Facts that pixels settle."""


@dataclass(frozen=True)
class Trial:
    """One click and what came of it.

    iou:   of the mask shown with the object clicked.
    truth: facts of the object; shown: facts of the pixels under the mask that was shown.
    said:  category, colour, size, place, texture and ground as the words have them, None where they do not.
    words: the words themselves.
    """

    iou: float
    truth: Facts
    shown: Facts
    said: dict[str, str | None]
    words: Words

    def right(self, field: str) -> bool:
        """Whether an answer says what the object is; "object" does not say it, and so is never right."""
        names = self.truth.category != UNKNOWN
        if field == "category":
            return names and self.words.category == self.truth.category
        if field == "explanation":
            return names and self.words.explanation == self.truth.explanation
        return all(self.said[fact] == getattr(self.truth, fact) for fact in SEEN) and names_it(self)


def names_it(trial: Trial) -> bool:
    """Whether the caption has the category of the object."""
    return bool(re.search(rf"\b{trial.truth.category}\b", trial.words.caption))


def held_out(seed: int, scenes: int) -> Iterator[Click]:
    """Scenes of a series that no training draws, with one object of each and a click on it."""
    for index in range(scenes):
        scene = draw_scene(seed, index)
        yield _clicked(scene, np.random.default_rng((seed, index, 5)))


def held_back(seed: int, scenes: int) -> Iterator[Click]:
    """The same of photographs that no training shows; what is clicked has no name."""
    for index in range(scenes):
        yield _clicked(photo_scene(seed, index, names=HELD_BACK), np.random.default_rng((seed, index, 5)))


def _clicked(scene: Scene, rng: np.random.Generator) -> Click:
    thing = scene.objects[int(rng.integers(len(scene.objects)))]
    return scene, thing, Prompt((prompts.first_click(thing.mask, rng),))


def attempt(pam: PAM, clicks: Iterable[Click]) -> list[Trial]:
    """What comes of each click."""
    trials = []
    for scene, thing, prompt in clicks:
        region = pam.perceive(pam.encode(scene.image), prompt)
        trials.append(
            Trial(
                iou=float((region.mask & thing.mask).sum() / (region.mask | thing.mask).sum()),
                truth=thing.facts,
                shown=look_at(scene.image, region.mask),
                said={**read_caption(region.words.caption), "category": region.words.category},
                words=region.words,
            )
        )
    return trials


def evaluate(pam: PAM, seed: int, scenes: int) -> dict[str, Any]:
    """The figures of `attempt`, see `figures`."""
    return figures(attempt(pam, held_out(seed, scenes)))


def figures(trials: list[Trial]) -> dict[str, Any]:
    """Mean IoU of the masks, and the share of right words.

    Colour, size and place are those that the caption speaks of, against the object that was clicked, and against the
    pixels under the mask that was shown ("… of the mask"). "named" counts only things that have a name, "unknown" only
    those that have none. ECE is the expected calibration error of the scores.
    """
    right: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        right["iou"].append(trial.iou)
        named = trial.words.category == trial.truth.category
        right["category"].append(named)
        right["category, unknown" if trial.truth.category == UNKNOWN else "category, named"].append(named)
        for name, said in trial.said.items():
            if name != "category":
                right[name].append(said == getattr(trial.truth, name))
        for name in SEEN:
            right[f"{name} of the mask"].append(trial.said[name] == getattr(trial.shown, name))
        right["explanation fits category"].append(_fits(trial.words.explanation, trial.words.category))
    error = {f"ECE {field}": reliability.error(*confidence(trials, field)) for field in FIELDS}
    means = {name: float(np.mean(values)) for name, values in right.items()}
    return {"scenes": len(trials), **{name: round(value, 3) for name, value in (means | error).items()}}


def confidence(trials: Iterable[Trial], field: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a field, float (N,), and whether the answers are right, bool (N,)."""
    pairs = [(trial.words.scores[field], trial.right(field)) for trial in trials]
    return np.array([score for score, _ in pairs], float), np.array([right for _, right in pairs], bool)


def calibrated(pam: PAM, seed: int, scenes: int) -> dict[str, tuple[float, float]]:
    """What turns the log-probabilities of a model's answers into the chance that they are right, see PAMConfig.

    Fitted on `scenes` clicks, one of UNNAMED_SHARE on a photograph.
    """
    pam.config = replace(pam.config, calibration={})
    photographed = scenes // UNNAMED_SHARE
    return fitted([*attempt(pam, held_out(seed, scenes - photographed)), *attempt(pam, held_back(seed, photographed))])


def fitted(trials: list[Trial]) -> dict[str, tuple[float, float]]:
    """The same, from what came of clicks without a calibration."""
    found = {}
    for field in FIELDS:
        # Where nothing is named, the score has a rule of its own.
        known = [t for t in trials if t.words[field] and (field == "caption" or not hedged(t.words))]
        score, right = confidence(known, field)
        found[field] = reliability.fit(np.log(score), right)
    return found


def hedged(words: Words) -> bool:
    """Whether one of a region's answers says "object"."""
    return (
        words.category == UNKNOWN
        or words.explanation == DEFINITIONS[UNKNOWN]
        or bool(re.search(rf"\b{UNKNOWN}\b", words.caption))
    )


def read_caption(caption: str) -> dict[str, str | None]:
    """Size, texture, colour, place and ground that a caption speaks of; None where it does not.

    What has no texture is plain.
    """
    front, _, ground = caption.partition(", on a ")
    places = sorted((place for row in PLACES for place in row), key=len, reverse=True)
    where = re.search(r" (?:at|in) the (.*)", front)
    return {
        "size": _first(front, [name for name, _ in SIZES]),
        "texture": _first(front, TEXTURES[1:]) or TEXTURES[0],
        "colour": _first(front, COLOURS),
        "place": _first(where[1], places) if where else None,
        "ground": _first(ground, COLOURS),
    }


def _first(text: str, words: Iterable[str]) -> str | None:
    return next((word for word in words if re.search(rf"\b{word}\b", text)), None)


def _fits(explanation: str, category: str) -> bool:
    return category in CATEGORIES and explanation == Facts(category, "", "", "", "", "").explanation
