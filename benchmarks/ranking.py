"""How many labels `pam-studio rank` saves: annotators who label a pool in its order, and in random order.

python -m benchmarks.ranking --out results/

The pool is as pools are: six drawn classes that nano never saw, some common and some rare, and some things twice or
three times, as in a burst of photographs. Annotators name them one by one; the memory of what they said names the
things of a test set, in which all classes are as frequent. The order is made anew after every few labels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from rich.progress import track

import model
from backend.rank.order import Asked, order
from benchmarks.learning import OUTLINES, Annotators, Thing, clicked, draw_thing
from model import PAM

SHARES = (0.42, 0.25, 0.15, 0.09, 0.06, 0.03)
"""Of the classes in the pool; which class is how rare depends on the seed."""

TWINS = 0.3
"""Share of things that come again, changed as little as from one photograph of a burst to the next."""

POOL, EACH_TEST = 240, 12
GOAL = 0.9
OF_ALL = 0.95
"""Where even all labels do not lead to GOAL, this share of what they lead to is what is asked for."""

STEP, AGAIN, RANDOM_ORDERS = 5, 10, 10
"""Labels between two looks at the accuracy; labels after which the order is made anew; random orders of each pool."""


Chooser = Callable[[list[int], list[int], Annotators], list[int]]
"""From what is left, what is labelled, and who said so, to what comes next."""


def things(pam: PAM, seed: int, pool: int) -> tuple[list[Thing], list[Thing]]:
    """The pool and the test set of one domain."""
    rng = np.random.default_rng(seed)
    names = rng.permutation(list(OUTLINES)).tolist()
    found: list[Thing] = []
    scene = 0
    while len(found) < pool:
        name = str(rng.choice(names, p=SHARES))
        image, mask = draw_thing(name, seed, scene)
        scene += 1
        found.append(Thing(name, clicked(pam, image, [mask])[0]))
        while rng.random() < TWINS and len(found) < pool:
            again, moved = _twin(image, mask, rng)
            found.append(Thing(name, clicked(pam, again, [moved])[0]))
    test = []
    for name in names:
        for _ in range(EACH_TEST):
            image, mask = draw_thing(name, seed, scene)
            scene += 1
            test.append(Thing(name, clicked(pam, image, [mask])[0]))
    return found, test


def _twin(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same picture a little shifted, with another exposure and other noise."""
    dx, dy = rng.integers(-6, 7, 2).tolist()
    shifted = np.roll(image, (dy, dx), (0, 1)).astype(np.float32) * rng.uniform(0.92, 1.08)
    noisy = np.clip(shifted + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    return cv2.GaussianBlur(noisy, (0, 0), 0.5), np.roll(mask, (dy, dx), (0, 1))


def accuracy(annotators: Annotators, test: Sequence[Thing]) -> float:
    return float(np.mean([annotators.suggest(thing.region, False).category == thing.category for thing in test]))


def in_order(pool: Sequence[Thing], choose: Chooser) -> Iterator[tuple[int, Annotators]]:
    """How many things of the pool are labelled, and who said what they are, every STEP labels, until all are."""
    assert pool[0].region.embedding is not None
    annotators = Annotators(len(pool[0].region.embedding))
    left, done = list(range(len(pool))), []
    while left:
        for k in choose(left, done, annotators):
            annotators.correct(pool[k].region, pool[k].category)
            left.remove(k)
            done.append(k)
            if len(done) % STEP == 0 or not left:
                yield len(done), annotators


def ranked(pool: Sequence[Thing]) -> Chooser:
    """The order of `pam-studio rank`, made anew after AGAIN labels; each thing is a task of one region."""

    def choose(left: list[int], done: list[int], annotators: Annotators) -> list[int]:
        tasks = []
        for k in left:
            region = pool[k].region
            certain = annotators.suggest(region, False).probability
            tasks.append(Asked(k, np.array([1 - certain * region.score]), region.embedding[None]))  # type: ignore[index]
        known = np.array([pool[k].region.embedding for k in done]) if done else np.zeros((0, 0))
        return [place.task_id for place in order(tasks, known, AGAIN)[:AGAIN]]

    return choose


def at_random(seed: tuple[int, int]) -> Chooser:
    """Any order of what is left."""
    rng = np.random.default_rng(seed)
    return lambda left, done, annotators: rng.permutation(left).tolist()


def curve(pool: Sequence[Thing], test: Sequence[Thing], choose: Chooser) -> dict[int, float]:
    return {count: accuracy(annotators, test) for count, annotators in in_order(pool, choose)}


def needed(curve: dict[int, float], goal: float) -> int:
    """Labels after which the accuracy is `goal`, and at the next look too, so that luck does not count; else all."""
    counts = sorted(curve)
    for count, following in zip(counts, counts[1:], strict=False):
        if curve[count] >= goal and curve[following] >= goal:
            return count
    return counts[-1]


def draw(ranking: Sequence[dict[int, float]], chance: Sequence[dict[int, float]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
    for name, curves in (("ranked", ranking), ("random order", chance)):
        counts = sorted(set.intersection(*(set(each) for each in curves)))
        values = np.array([[each[count] for count in counts] for each in curves])
        (line,) = axes.plot(counts, values.mean(axis=0), "o-", markersize=3, label=name)
        axes.fill_between(counts, *np.percentile(values, (10, 90), axis=0), alpha=0.15, color=line.get_color())
    axes.axhline(GOAL, color="grey", linewidth=1, linestyle=":")
    axes.set(xlabel="labels", ylabel="named right, of six classes", ylim=(0, 1.02), title="Labels in ranked order")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    out: Annotated[Path | None, typer.Option(help="Folder for ranking.json and ranking.png.")] = None,
    weights: Annotated[str, typer.Option(help="A checkpoint: nano, a folder, or a Hugging Face id.")] = "nano",
    seeds: Annotated[int, typer.Option(min=1, help="Drawn domains; the spread is over them.")] = 5,
    pool: Annotated[int, typer.Option(min=20, help="Things of a pool.")] = POOL,
) -> None:
    """Label pools in both orders, and count."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pam = model.load(weights, threads=1)
    rows, rankings, chances = [], [], []
    for seed in track(range(seeds), "domains", total=seeds):
        found, test = things(pam, 9_100_000 + seed, pool)
        rankings.append(curve(found, test, ranked(found)))
        chance = [curve(found, test, at_random((seed, number))) for number in range(RANDOM_ORDERS)]
        chances += chance
        goal = min(GOAL, OF_ALL * float(np.mean([each[max(each)] for each in chance])))
        labels = float(np.mean([needed(each, goal) for each in chance]))
        rows.append({"goal": goal, "ranked": needed(rankings[-1], goal), "random": labels})
        print(
            f"seed {seed}: {goal:.0%} after {rows[-1]['ranked']} labels in ranked order, {labels:.0f} in random order"
        )
    share = sum(row["ranked"] for row in rows) / sum(row["random"] for row in rows)
    print(f"labels with ranking: {share:.0%} of those in random order")
    if out:
        out.mkdir(parents=True, exist_ok=True)
        figures = {"seeds": rows, "share": share, "ranked": rankings, "random": chances}
        (out / "ranking.json").write_text(json.dumps(figures, indent=1) + "\n")
        draw(rankings, chances, out / "ranking.png")


if __name__ == "__main__":
    typer.run(main)
