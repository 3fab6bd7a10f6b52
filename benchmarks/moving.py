"""Clips with known truth: an object cut out of a photograph moves over another one; and how well nano follows it.

    python -m benchmarks.moving [--seeds 8] [--kinds moves,occluded,leaves,gone] [--frames 60] [--out moving.json]

From the tight box of the first frame. Prints, for each clip, the mean IoU over the frames on which the object is seen,
and on how many of the others something was found.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

import model
from benchmarks.segment.targets import Set, Target, picture, targets
from model import PAM
from model.frames import Frame
from model.prompt import Box, Prompt
from model.tracking import Tracker

BACKGROUNDS = ("china", "coffee", "rocket", "astronaut", "chelsea", "flower", "raccoon")
KINDS = ("moves", "occluded", "leaves", "gone")
HEIGHT, WIDTH = 270, 480


@dataclass(frozen=True)
class Path:
    """How an object moves.

    kind: "moves", "occluded" (a bar passes before it), "leaves" (and comes back), or "gone" (and never does).
    """

    seed: int
    frames: int = 60
    kind: str = "moves"


@dataclass(frozen=True, eq=False)
class Moving:
    """A frame, uint8 (H, W, 3) RGB, and the part of the object that is seen in it, bool (H, W)."""

    image: np.ndarray
    truth: np.ndarray


def objects() -> list[Target]:
    """Outlined objects that are large enough to be cut out."""
    found = [t for s in (Set.TUNING, Set.TEST) for t in targets(s)]
    return [t for t in found if 0.01 < t.truth.mean() < 0.5 and t.truth.sum() > 2000]


def clip(path: Path, height: int = HEIGHT, width: int = WIDTH) -> Iterator[Moving]:
    """The frames of a clip, the same for the same path."""
    rng = np.random.default_rng(path.seed)
    pool = objects()
    target = pool[int(rng.integers(len(pool)))]
    names = [name for name in BACKGROUNDS if name != target.picture]
    background = _cover(picture(names[int(rng.integers(len(names)))]), round(height * 1.3), round(width * 1.3))
    cut, alpha = _cut_out(target, height * float(rng.uniform(0.25, 0.5)))
    turns, grows = rng.uniform(-0.5, 0.5), rng.uniform(0.75, 1.3)
    ends = rng.uniform((0.25, 0.3), (0.75, 0.7), (3, 2)) * (width, height)
    drift = rng.uniform(-0.12, 0.12, 2) * (width, height)
    bar = rng.uniform(0, 255, 3)
    for i in range(path.frames):
        t = i / max(1, path.frames - 1)
        at = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]
        if path.kind in ("leaves", "gone"):
            away = np.clip((t - 0.25) / 0.2, 0, 1) - (np.clip((t - 0.65) / 0.2, 0, 1) if path.kind == "leaves" else 0)
            at = at + (away * 1.6 * width, 0)
        scale, angle = 1 + (grows - 1) * t, turns * np.sin(2 * np.pi * t)
        yield _frame(path, t, background, drift, cut, alpha, at, scale, angle, bar, height, width, rng)


def _frame(
    path: Path,
    t: float,
    background: np.ndarray,
    drift: np.ndarray,
    cut: np.ndarray,
    alpha: np.ndarray,
    at: np.ndarray,
    scale: float,
    angle: float,
    bar: np.ndarray,
    height: int,
    width: int,
    rng: np.random.Generator,
) -> Moving:
    offset = np.array(background.shape[1::-1]) / 2 - (width / 2, height / 2) + drift * (t - 0.5)
    shown = cv2.warpAffine(background, np.float64([[1, 0, -offset[0]], [0, 1, -offset[1]]]), (width, height))
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    centre = np.array(alpha.shape[::-1]) / 2
    matrix = np.array([[c, -s, at[0] - c * centre[0] + s * centre[1]], [s, c, at[1] - s * centre[0] - c * centre[1]]])
    soft = cv2.warpAffine(alpha, matrix, (width, height))[..., None]
    thing = cv2.warpAffine(cut, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    image = shown * (1 - soft) + thing * soft
    truth = soft[..., 0] > 0.5
    if path.kind == "occluded":
        x = round(width * (1.3 * t - 0.15))
        wide = round(width * 0.12)
        image[:, max(0, x - wide) : max(0, x + wide)] = bar
        truth[:, max(0, x - wide) : max(0, x + wide)] = False
    image = image * (1 + 0.05 * np.sin(6 * t)) + rng.normal(0, 2, image.shape)
    return Moving(np.clip(image, 0, 255).astype(np.uint8), truth)


def _cover(image: np.ndarray, height: int, width: int) -> np.ndarray:
    scale = max(height / image.shape[0], width / image.shape[1])
    size = (max(width, round(image.shape[1] * scale)), max(height, round(image.shape[0] * scale)))
    large = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return large[top : top + height, left : left + width]


def _cut_out(target: Target, side: float) -> tuple[np.ndarray, np.ndarray]:
    """The object's pixels, and float32 how much of each is the object's, its longer side `side` pixels long."""
    x, y, w, h = cv2.boundingRect(target.truth.view(np.uint8))
    scale = side / max(w, h)
    size = (max(8, round(w * scale)), max(8, round(h * scale)))
    pixels = cv2.resize(picture(target.picture)[y : y + h, x : x + w], size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(target.truth[y : y + h, x : x + w].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return pixels, alpha


def follow(pam: PAM, path: Path) -> dict[str, Any]:
    """How well an object is followed through a clip."""
    tracker, found, false, spent = Tracker(pam), [], [], 0.0
    for i, moving in enumerate(clip(path)):
        prompts = None
        if i == 0:
            x, y, w, h = cv2.boundingRect(moving.truth.view(np.uint8))
            prompts = {"it": Prompt(box=Box(x, y, x + w, y + h))}
        began = time.process_time()
        mask = tracker.step(Frame(i, i / 25, moving.image), prompts).objects["it"].mask
        spent += time.process_time() - began if i else 0.0
        if moving.truth.any():
            found.append(float((mask & moving.truth).sum() / (mask | moving.truth).sum()))
        else:
            false.append(bool(mask.any()))
    return asdict(path) | {
        "iou": round(float(np.mean(found)), 3),
        "first": round(found[0], 3),
        "last": round(float(np.mean(found[-5:])), 3),
        "away": len(false),
        "found_while_away": sum(false),
        "cpu_ms": round(1000 * spent / max(1, path.frames - 1), 1),
    }


def main() -> None:
    """Follow, print, and say the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--out", type=pathlib.Path)
    given = parser.parse_args()
    pam = model.load("nano", threads=1)
    rows = []
    for kind in given.kinds.split(","):
        for seed in range(given.seeds):
            rows.append(follow(pam, Path(seed, given.frames, kind)))
            print(json.dumps(rows[-1]), flush=True)
        mine = [row for row in rows if row["kind"] == kind]
        print(f"{kind}: mean IoU {np.mean([row['iou'] for row in mine]):.3f} over {len(mine)} clips", flush=True)
    if given.out:
        given.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
