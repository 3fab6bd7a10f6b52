"""What a memory of corrected regions is worth: annotators who correct things that the model has never seen.

python -m benchmarks.learning --out results/

Six classes of things that nano was never shown are drawn on the backgrounds of drawn scenes, some corrected, others
asked about. Besides, coins and other objects of a photograph: after some coins were named, how many of the others are
named by themselves, and how many other things are called coins.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import skimage.io
import torch
import typer
from rich.progress import track

import model
from backend.ledger import Memory
from backend.memory.index import Index
from backend.memory.opinion import Opinion, weigh
from benchmarks.segment.annotator import next_click
from model import PAM, Point, Prompt, Region
from model.training import reliability
from model.training.scenes import draw_scene

SIDE, EACH, MOST_SHOTS = 320, 16, 10
DRAWS = 3
"""How often it is drawn anew, in each domain, which things are corrected first."""
SHOTS = (0, 1, 2, 3, 5, 10)
COINS = Path(__file__).parents[1] / "tests" / "data" / "coins.png"
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def _star(points: int, inner: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 2 * points, endpoint=False)
    radius = np.where(np.arange(2 * points) % 2, inner, 1.0)
    return np.stack([radius * np.sin(angle), -radius * np.cos(angle)], axis=1)


def _cross(rng: np.random.Generator) -> np.ndarray:
    w = rng.uniform(0.2, 0.35)
    quarter = np.array([[-w, -1], [w, -1], [w, -w]])
    turns = (np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]]) for t in np.arange(4) * np.pi / 2)
    return np.concatenate([quarter @ turn for turn in turns])


OUTLINES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "gear": lambda rng: _star(int(rng.integers(8, 12)), 0.75),
    "arrow": lambda rng: np.array([[-1, -0.2], [0.2, -0.2], [0.2, -0.7], [1, 0], [0.2, 0.7], [0.2, 0.2], [-1, 0.2]]),
    "cross": _cross,
    "lightning": lambda rng: np.array([[0.2, -1], [-0.6, 0.15], [-0.05, 0.1], [-0.3, 1], [0.6, -0.25], [0.05, -0.2]]),
    "crown": lambda rng: np.array([[-1, 0.6], [-1, -0.6], [-0.5, 0], [0, -0.8], [0.5, 0], [1, -0.6], [1, 0.6]]),
    "bow tie": lambda rng: np.array(
        [[-1, -0.6], [-0.15, -0.15], [0.15, -0.15], [1, -0.6], [1, 0.6], [0.15, 0.15], [-0.15, 0.15], [-1, 0.6]]
    ),
}
"""Class to its outline, (N, 2) from -1 to 1."""


@dataclass(frozen=True, eq=False)
class Thing:
    """A region that an annotator would give this category."""

    category: str
    region: Region


def things(pam: PAM, seed: int) -> Iterator[Thing]:
    """EACH things of every class, each clicked once at its deepest point."""
    for number in range(EACH):
        for place, category in enumerate(OUTLINES):
            image, mask = draw_thing(category, seed, number * len(OUTLINES) + place)
            yield Thing(category, clicked(pam, image, [mask])[0])


def draw_thing(category: str, seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Thing number `index` of a series, on a drawn scene: uint8 (SIDE, SIDE, 3) and its mask, bool (SIDE, SIDE)."""
    rng = np.random.default_rng((seed, index // len(OUTLINES), index % len(OUTLINES)))
    outline = OUTLINES[category](rng)
    image = draw_scene(seed, index, SIDE).image.copy()
    angle, size = rng.uniform(-0.5, 0.5), SIDE * rng.uniform(0.12, 0.32)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = outline * rng.uniform(0.8, 1.0, 2) @ turn * size + rng.uniform(size, SIDE - size, 2)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
    grain = cv2.resize(rng.normal(1, 0.08, (SIDE // 8, SIDE // 8)).astype(np.float32), (SIDE, SIDE))
    paint = rng.integers(20, 236, 3) * grain[..., None]
    image[mask > 0] = np.clip(paint, 0, 255).astype(np.uint8)[mask > 0]
    return cv2.GaussianBlur(image, (0, 0), 0.7), mask.astype(bool)


def clicked(pam: PAM, image: np.ndarray, masks: Sequence[np.ndarray]) -> list[Region]:
    prompts = [Prompt((next_click(mask, np.zeros_like(mask)),)) for mask in masks]
    return pam.perceive_batch(pam.encode(image), prompts)


class Annotators:
    """What they called regions, and what is suggested for others."""

    def __init__(self, width: int):
        self._index, self._count = Index(width), 0

    def correct(self, region: Region, category: str) -> None:
        self._count += 1
        assert region.embedding is not None
        said = Memory(self._count, "", region.model_version, category, "", region.words.category, region.embedding)
        self._index.replace(self._count, [said])

    def suggest(self, region: Region, alone: bool) -> Opinion:
        """alone: whether memory has the word, or the model, too."""
        assert region.embedding is not None
        own = {region.words.category: region.words.scores["category"] * self._index.trust(region.words.category)}
        return weigh(self._index.neighbours(region.embedding), {"": 0.0} if alone else own)


def learn(
    found: list[Thing], shots: int, rng: np.random.Generator, alone: bool
) -> tuple[float, list[Opinion], list[bool]]:
    """Correct `shots` things of each class, and ask about those after the first MOST_SHOTS; the share named right."""
    annotators = Annotators(len(found[0].region.embedding))  # type: ignore[arg-type]
    asked: list[Thing] = []
    for category in OUTLINES:
        mine = rng.permutation([i for i, thing in enumerate(found) if thing.category == category])
        for i in mine[:shots]:
            annotators.correct(found[i].region, category)
        asked += [found[i] for i in mine[MOST_SHOTS:]]
    opinions = [annotators.suggest(thing.region, alone) for thing in asked]
    right = [opinion.category == thing.category for opinion, thing in zip(opinions, asked, strict=True)]
    return float(np.mean(right)), opinions, right


def on_photographs(pam: PAM, seeds: int) -> dict[str, dict[int, list[float]]]:
    """Share of other coins that are called so after some were, and of other things that are, by seed: it draws which
    coins are corrected."""
    labels = skimage.io.imread(COINS)
    grey = skimage.data.coins()
    coins = clicked(pam, np.dstack([grey] * 3), [np.equal(labels, k) for k in range(1, labels.max() + 1)])
    others = []
    for name in PHOTOGRAPHS:
        image = np.ascontiguousarray(getattr(skimage.data, name)())
        height, width = image.shape[:2]
        encoded = pam.encode(image)
        prompts = [Prompt((Point(x * width, y * height),)) for x in (0.3, 0.5, 0.7) for y in (0.35, 0.65)]
        others += pam.perceive_batch(encoded, prompts)
    named: dict[str, dict[int, list[float]]] = {
        name: {shots: [] for shots in SHOTS} for name in ("coins called so", "other things called coins")
    }
    for shots, seed in product(SHOTS, range(seeds)):
        order = np.random.default_rng(seed).permutation(len(coins))
        annotators = Annotators(len(coins[0].embedding))  # type: ignore[arg-type]
        for i in order[:shots]:
            annotators.correct(coins[i], "tetradrachm")
        for name, regions in zip(named, ([coins[i] for i in order[MOST_SHOTS:]], others), strict=True):
            called = [annotators.suggest(region, False).category == "tetradrachm" for region in regions]
            named[name][shots].append(float(np.mean(called)))
    return named


def look_up(width: int, count: int = 100_000, rounds: int = 50) -> list[float]:
    """Milliseconds that finding the neighbours of a region among `count` takes, each round."""
    rng = np.random.default_rng(0)
    index = Index(width)
    for i, vector in enumerate(rng.standard_normal((count, width)).astype(np.float16)):
        index.replace(i, [Memory(i, "", "", str(i % 50), "", "", vector)])
    spent = []
    for vector in rng.standard_normal((rounds + 1, width)).astype(np.float32):
        began = time.perf_counter()
        index.neighbours(vector)
        spent.append(1e3 * (time.perf_counter() - began))
    return spent[1:]


def spread(shares: Sequence[float]) -> str:
    """The mean, and from which to which."""
    return f"{np.mean(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"


def calibration_error(opinions: Sequence[Opinion], right: Sequence[bool]) -> float:
    """Expected calibration error of what memory said."""
    pairs = [(o.probability, r) for o, r in zip(opinions, right, strict=True) if o.source == "memory"]
    return reliability.error(np.array([p for p, _ in pairs]), np.array([r for _, r in pairs]))


def draw(curves: dict[str, dict[int, list[float]]], photographs: dict[str, dict[int, list[float]]], path: Path) -> None:
    """Means over the seeds, and from the least to the most of them."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.set(
        title="Six drawn classes that the model never saw", xlabel="corrections of each class", ylabel="named right"
    )
    right.set(title="Photographs", xlabel="corrected coins", ylabel="share")
    for axes, lines in ((left, curves), (right, photographs)):
        for name, values in lines.items():
            (line,) = axes.plot(SHOTS, [np.mean(values[shots]) for shots in SHOTS], "o-", label=name)
            low, high = ([f(values[shots]) for shots in SHOTS] for f in (np.min, np.max))
            axes.fill_between(SHOTS, low, high, alpha=0.15, color=line.get_color())
        axes.set_ylim(0, 1.02)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    out: Annotated[Path | None, typer.Option(help="Folder for learning.json and learning.png.")] = None,
    weights: Annotated[str, typer.Option(help="A checkpoint: nano, a folder, or a Hugging Face id.")] = "nano",
    seeds: Annotated[int, typer.Option(min=1, help="Drawn domains, and draws of coins; the spread is over them.")] = 5,
) -> None:
    """Play annotators who correct, and see what is suggested afterwards."""
    torch.set_num_threads(1)
    pam = model.load(weights)
    curves: dict[str, dict[int, list[float]]] = {name: {s: [] for s in SHOTS} for name in ("memory alone", "both")}
    heard: list[Opinion] = []
    was: list[bool] = []
    for seed in track(range(seeds), "drawn things", total=seeds):
        found = list(things(pam, 9_000_000 + seed))
        for name, shots, number in product(curves, SHOTS, range(DRAWS)):
            rng = np.random.default_rng((seed, number))
            share, opinions, right = learn(found, shots, rng, alone=name == "memory alone")
            curves[name][shots].append(share)
            if name == "both" and shots:
                heard, was = heard + opinions, was + right
    photographs = on_photographs(pam, seeds)
    spent = look_up(len(found[0].region.embedding))  # type: ignore[arg-type]
    print("| corrections of each class |" + "".join(f" {s} |" for s in SHOTS) + "\n|---|" + "---|" * len(SHOTS))
    for name, values in (curves | photographs).items():
        print(f"| {name} |" + "".join(f" {spread(values[s])} |" for s in SHOTS))
    error = calibration_error(heard, was)
    print(f"expected calibration error of memory's scores: {error:.3f}")
    print(f"among 100,000 regions: median {np.median(spent):.1f} ms, slowest {max(spent):.1f} ms")
    if out:
        out.mkdir(parents=True, exist_ok=True)
        figures = {"drawn": curves, "photographs": photographs, "calibration error": error, "look-up ms": spent}
        (out / "learning.json").write_text(json.dumps(figures, indent=1))
        draw(curves, photographs, out / "learning.png")


if __name__ == "__main__":
    typer.run(main)
