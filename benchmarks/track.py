"""Tracking: frames per second by size of model, and memory by length of video, beside SAM 2's own video predictor.

    python -m benchmarks.track --out track [--device cuda] [--sizes nano,tiny,large] [--lengths 100,1000]

Both follow one box by SAM 2's memory with the very same weights (nano's own; of other sizes random ones, which cost as
much), on the same pictures, each run in a process of its own, taking turns. "motion" is nano as it ships. A frame's
time includes reading it; memory is what the process gains after the model is loaded.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

import model
from benchmarks import moving
from benchmarks.perceive.sizes import configuration, fill, outline
from model import PAM
from model.config import PAMConfig, SamConfig
from model.frames import open_frames
from model.prompt import Box, Prompt
from model.tracking import follow

TOWERS = {"tiny": "sam2.1_hiera_t", "small": "sam2.1_hiera_s", "base+": "sam2.1_hiera_b+", "large": "sam2.1_hiera_l"}
WAYS = ("studio", "sam2", "motion")
NAMES = {"studio": "PAM Studio", "sam2": "sam2's video predictor", "motion": "nano as it ships"}
COLOURS = {"studio": "#1f6feb", "sam2": "#9aa5b1", "motion": "#d1603d"}
WARM = "warm"
SCENE = 60
"""Pictures that differ; longer videos go back and forth through them."""


def load(size: str, device: str) -> PAM:
    """Nano, or a SAM 2.1 of that size with random weights."""
    if size == "nano":
        return model.load("nano", device=device, threads=1)
    config = PAMConfig(size, sam=SamConfig(TOWERS[size]), language=configuration("nano").language)
    return fill(outline(config), torch.device(device), torch.float32).eval()


def film(folder: Path, frames: int) -> tuple[Path, Box]:
    """A folder of JPEGs, and a box around what moves in it; beside it a short one to warm up with."""
    folder.mkdir()
    scene = list(moving.clip(moving.Path(4, SCENE)))
    for i, each in enumerate(scene):
        Image.fromarray(each.image).save(folder / f"{i}.jpg", quality=90)
    for out, count in ((folder / WARM, 2), (folder / "frames", frames)):
        out.mkdir()
        for i in range(count):
            there = i % (2 * SCENE - 2)
            (out / f"{i:05}.jpg").symlink_to(folder / f"{min(there, 2 * SCENE - 2 - there)}.jpg")
    ys, xs = np.nonzero(scene[0].truth)
    return folder / "frames", Box(xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def ours(pam: PAM, folder: Path, box: Box, memory: bool) -> Iterator[np.ndarray]:
    """Masks, bool (H, W), by `model.tracking`."""
    if memory:
        pam = copy.copy(pam)
        pam.config = replace(pam.config, proposals=False)
    for found in follow(pam, open_frames(folder), {0: {1: Prompt(box=box)}}):
        yield found.objects[1].mask


@torch.inference_mode()
def theirs(pam: PAM, folder: Path, box: Box) -> Iterator[np.ndarray]:
    """Masks by sam2's video predictor, on the weights of `pam`."""
    sam: Any = pam.sam
    state = sam.init_state(str(folder))
    sam.add_new_points_or_box(state, frame_idx=0, obj_id=1, box=np.array(box, np.float32))
    for _, _, logits in sam.propagate_in_video(state):
        yield (logits[0, 0] > 0).cpu().numpy()


def run(way: str, size: str, folder: Path, box: Box, device: str) -> dict[str, Any]:
    """One walk through the frames: seconds, CPU seconds, and MiB gained at most."""
    torch.set_num_threads(1)
    pam = load(size, device)
    for _ in _masks(way, pam, folder.with_name(WARM), box):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    count = sum(1 for _ in _masks(way, pam, folder, box))
    found = {
        "way": way,
        "size": size,
        "frames": count,
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }
    if device.startswith("cuda"):
        found["gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return found


def _masks(way: str, pam: PAM, folder: Path, box: Box) -> Iterator[np.ndarray]:
    return theirs(pam, folder, box) if way == "sam2" else ours(pam, folder, box, memory=way == "studio")


def in_a_process(way: str, size: str, folder: Path, box: Box, device: str) -> dict[str, Any]:
    """As `run`, in a fresh process, so that peaks of memory do not mix."""
    command = [sys.executable, "-m", "benchmarks.track", "--child", way, size, str(folder), device, *map(str, box)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise RuntimeError(f"{way} {size} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(out: Path, sizes: list[str], lengths: list[int], frames: int, device: str) -> list[dict[str, Any]]:
    """Speed at `frames` frames for each size, memory at each length with nano; results.json grows on the way."""
    results: list[dict[str, Any]] = []
    plan = [(size, frames if size == "nano" else max(4, frames // 10), "speed") for size in sizes] + [
        ("nano", length, "memory") for length in lengths
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for i, (size, count, what) in enumerate(plan):
            folder, box = film(Path(scratch) / str(i), count)
            for way in WAYS if size == "nano" else WAYS[:2]:
                results.append(in_a_process(way, size, folder, box, device) | {"what": what, "device": device})
                print(json.dumps(results[-1]), flush=True)
                (out / "results.json").write_text(json.dumps(results, indent=1))
    return results


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Frames per second by size, and memory by length, as a PNG."""
    figure = Figure(figsize=(11, 4.2), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    speeds = [each for each in results if each["what"] == "speed"]
    sizes = list(dict.fromkeys(each["size"] for each in speeds))
    cpu = all(each["device"] == "cpu" for each in results)
    for k, way in enumerate(WAYS):
        mine = [each for each in speeds if each["way"] == way]
        rates = [each["frames"] / each["cpu_seconds" if cpu else "seconds"] for each in mine]
        places = [sizes.index(each["size"]) + 0.27 * (k - 1) for each in mine]
        bars = left.bar(places, rates, 0.25, color=COLOURS[way], label=NAMES[way])
        left.bar_label(bars, [f"{rate:.2g}" for rate in rates], fontsize=8)
        long = sorted((e["frames"], e["mib"]) for e in results if e["what"] == "memory" and e["way"] == way)
        if long:
            right.plot(*zip(*long, strict=True), marker="o", color=COLOURS[way], label=NAMES[way])
    left.set_xticks(range(len(sizes)), sizes)
    left.set_yscale("log")
    left.set_ylabel("frames per CPU second, one thread" if cpu else "frames per second")
    right.set_xlabel("frames")
    right.set_ylabel("MiB gained, nano")
    for axes in (left, right):
        axes.legend(fontsize=8, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    with matplotlib.rc_context({"font.family": "DejaVu Sans"}):
        figure.savefig(path)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("track"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", default="nano,tiny")
    parser.add_argument("--lengths", default="100,500,1500,5000")
    parser.add_argument("--frames", type=int, default=40, help="of nano for speed; a tenth for others")
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        way, size, folder, device, *box = given.child
        print(json.dumps(run(way, size, Path(folder), Box(*map(float, box)), device)))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    lengths = [int(length) for length in given.lengths.split(",") if length]
    results = measure(given.out, given.sizes.split(","), lengths, given.frames, given.device)
    draw(results, given.out / "track.png")


if __name__ == "__main__":
    main()
