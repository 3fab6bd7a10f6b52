"""Learn which proposals to believe, and write model/proposals/ranker.npz.

python -m benchmarks.segment.learn

Simulated annotators click objects of drawn scenes and of the tuning and teaching photographs; what the proposals were
and how well each fitted is what the ranker learns from. In the first round answers are picked at random among the good
ones, in the later ones by the ranker of the round before, so that it meets the masks that it will have to amend.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from rich.console import Console

from benchmarks.segment.annotator import box_around, iou, next_click
from benchmarks.segment.targets import Set, picture, targets
from model.prompt import Box, Point, Prompt
from model.proposals import ranker
from model.proposals.steps import settle
from model.proposals.working import View, prepare
from model.training import ranking
from model.training.scenes import draw_scene

SCENES_SEED = 20_002
NETWORKS = 3
HIDDEN = (32, 16)


@dataclass(eq=False)
class Recorder:
    """A judge that knows the truth, bool (H, W), writes down every choice, and explores."""

    rng: np.random.Generator
    follow: bool
    truth: np.ndarray = field(default_factory=lambda: np.zeros((1, 1), bool))
    choices: list[ranking.Choice] = field(default_factory=list)

    def __call__(self, view: View, masks: Sequence[np.ndarray], traits: np.ndarray) -> np.ndarray:
        """Scores with noise: of the ranker, or of the truth."""
        ious = ranking.true_ious(view, masks, self.truth)
        self.choices.append(ranking.Choice(traits, ious))
        scores, noise = (ranker.judge(view, masks, traits), 0.08) if self.follow else (ious, 0.25)
        return scores + self.rng.normal(0, noise * (self.rng.random() < 0.5 or not self.follow), len(scores))


def record(name: str, truths: list[np.ndarray], seed: int, follow: bool, clicks: int) -> list[ranking.Choice]:
    """Sessions of up to `clicks` clicks, a box and a rough mask for each of the objects of one picture.

    name: as `picture` takes it, or "scene N" of a series of our own.
    """
    cv2.setNumThreads(1)
    rng = np.random.default_rng((seed, len(truths), int(follow)))
    recorder = Recorder(rng, follow)
    image = (
        draw_scene(SCENES_SEED, int(name.removeprefix("scene "))).image if name.startswith("scene ") else picture(name)
    )
    working = prepare(image, recorder)
    for truth in truths:
        recorder.truth = truth
        working.recent.clear()
        mask, points = np.zeros_like(truth), list[Point]()
        while len(points) < clicks and iou(mask, truth) < 0.93:
            points.append(_click(truth, mask, rng))
            prompt = Prompt(tuple(points))
            mask = settle(working, prompt).large(working, 0, prompt)
        settle(working, Prompt(box=_box(truth, rng)))
        settle(working, Prompt(mask=_rough(truth, rng)))
    return recorder.choices


def _click(truth: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Point:
    """The simulated annotator's next click, half of the time less exact."""
    point = next_click(truth, mask)
    if rng.random() < 0.5:
        return point
    error = truth & ~mask if point.positive else mask & ~truth
    depth = cv2.distanceTransform(np.pad(error.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    ys, xs = np.nonzero(depth >= rng.uniform(0.4, 0.9) * depth.max())
    k = rng.integers(len(ys))
    return Point(float(xs[k]), float(ys[k]), point.positive)


def _box(truth: np.ndarray, rng: np.random.Generator) -> Box:
    """The box of `truth`, half of the time drawn less exactly."""
    x0, y0, x1, y1 = box_around(truth)
    slip = rng.normal(0, 0.03, 4) * (rng.random() < 0.5) * np.array([x1 - x0, y1 - y0] * 2)
    return Box(*(np.array([x0, y0, x1, y1]) + slip).tolist())


def _rough(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`truth` shifted, and made thicker or thinner, but not empty."""
    extent = np.count_nonzero(truth) ** 0.5
    y, x = np.round(rng.normal(0, 0.06, 2) * extent).astype(int)
    kernel = np.ones((max(1, round(abs(rng.normal(0, 0.08)) * extent)),) * 2, np.uint8)
    change = cv2.dilate if rng.random() < 0.5 else cv2.erode
    rough = change(np.roll(truth, (y, x), (0, 1)).astype(np.uint8), kernel).astype(bool)
    return rough if rough.any() else truth


def fit(choices: Sequence[ranking.Choice], epochs: int, seed: int) -> dict[str, np.ndarray]:
    """Weights of NETWORKS networks, stacked, as ranker.judge reads them."""
    x, y = ranking.padded(choices)
    there = y >= 0
    mean, deviation = x[there].mean(0), x[there].std(0) + 1e-3
    x = (x - mean) / deviation * there[..., None]
    stored = {"mean": mean.numpy(), "deviation": deviation.numpy()}
    nets = [_net(x, y, epochs, seed + k) for k in range(NETWORKS)]
    for k in range(ranker.LAYERS):
        stored[f"weight {k}"] = np.stack([net[2 * k].weight.detach().numpy().T for net in nets])
        stored[f"bias {k}"] = np.stack([net[2 * k].bias.detach().numpy() for net in nets])
    return stored


def _net(x: torch.Tensor, y: torch.Tensor, epochs: int, seed: int) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    first, second = HIDDEN
    net = torch.nn.Sequential(
        *(torch.nn.Linear(x.shape[2], first), torch.nn.ReLU()),
        *(torch.nn.Linear(first, second), torch.nn.ReLU(), torch.nn.Linear(second, 1)),
    )
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.03)
    steps = epochs * len(x) // 64 + 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, steps)
    for _ in range(steps):
        some = torch.randint(len(x), (64,))
        loss = ranking.loss(net(x[some] + 0.05 * torch.randn_like(x[some]))[..., 0], y[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net


def _judge_by(weights: Path) -> None:
    """Sessions of later rounds follow what the rounds before have learned."""
    ranker.WEIGHTS = weights


def main(
    scenes: Annotated[int, typer.Option(help="Drawn scenes in each round, two objects of each.")] = 70,
    passes: Annotated[int, typer.Option(help="Passes over the photographs in each round.")] = 3,
    rounds: Annotated[int, typer.Option(help="Rounds of sessions.")] = 2,
    clicks: Annotated[int, typer.Option(help="Clicks of a session at most.")] = 8,
    epochs: Annotated[int, typer.Option(help="Passes over all choices.")] = 8,
    seed: Annotated[int, typer.Option(help="Same seed, same ranker (on the same machine).")] = 0,
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
    out: Annotated[Path, typer.Option(help="Where to write the weights.")] = ranker.WEIGHTS,
) -> None:
    """Record, fit, write."""
    torch.set_num_threads(1)
    console = Console(stderr=True)
    photographs: dict[str, list[np.ndarray]] = {}
    for target in (*targets(Set.TUNING), *targets(Set.TEACHING)):
        photographs.setdefault(target.picture, []).append(target.truth)
    choices: list[ranking.Choice] = []
    for turn in range(rounds):
        work = [(name, truths) for _ in range(passes) for name, truths in photographs.items()]
        for index in range(turn * scenes, (turn + 1) * scenes):
            work.append((f"scene {index}", [thing.mask for thing in draw_scene(SCENES_SEED, index).objects[-2:]]))
        seeds = range(seed * 1_000_000 + turn * 10_000, seed * 1_000_000 + turn * 10_000 + len(work))
        # A forked process would hang in the locks that OpenCV's and PyTorch's threads held when it was made.
        with ProcessPoolExecutor(jobs, get_context("spawn"), _judge_by, (out,)) as pool:
            task = partial(record, follow=turn > 0, clicks=clicks)
            for done, found in enumerate(pool.map(task, *zip(*work, strict=True), seeds), 1):
                choices += found
                if done % 20 == 0 or done == len(work):
                    console.print(f"round {turn + 1}: {done} of {len(work)} pictures, {len(choices)} choices")
        weights = fit(choices, epochs, seed)
        about = {"command": shlex.join(["python", "-m", "benchmarks.segment.learn", *sys.argv[1:]]), "seed": seed}
        np.savez_compressed(out, about=json.dumps(about | {"choices": len(choices), "rounds": turn + 1}), **weights)


if __name__ == "__main__":
    typer.run(main)
