"""Tracking: frames per second by size of model and by objects, and memory by length, beside SAM 2's video predictor.

    python -m benchmarks.track --out track [--device cuda] [--sizes nano,tiny,large] [--lengths 100,1000]

Both follow by SAM 2's memory with the very same weights (nano's own; of other sizes random ones, which cost as much),
on the same pictures. "motion" is nano as it ships. For speed they take turns frame by frame, so that a busy machine
meets all alike, and the median frame of the later ones counts (memory fills for 7 frames): in CPU seconds of one
thread, on CUDA in seconds. It includes reading the frame; what sam2 reads beforehand is spread over its frames. For
memory each has a process of its own, and what counts is what that gains after the model is loaded. With --resume, what
results.json holds is not measured again.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
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
FILLED = 7
"""Frames after which SAM 2's memory is full, and a frame costs what it costs from then on."""

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


def boxes(box: Box, objects: int) -> list[Box]:
    """That box, and others of its size beside it, overlapping where there are many."""
    return [Box(*(np.array(box) + 3 * (i // 2) * (-1) ** i)) for i in range(objects)]


def ours(pam: PAM, folder: Path, objects: Sequence[Box], memory: bool, read_ahead: bool) -> Iterator[np.ndarray]:
    """The first object's masks, bool (H, W), by `model.tracking`."""
    if memory:
        pam = copy.copy(pam)
        pam.config = replace(pam.config, proposals=False)
    prompts = {i: Prompt(box=box) for i, box in enumerate(objects)}
    for found in follow(pam, open_frames(folder), {0: prompts}, read_ahead=read_ahead):
        yield found.objects[0].mask


@torch.inference_mode()
def theirs(pam: PAM, folder: Path, objects: Sequence[Box]) -> Iterator[np.ndarray]:
    """Masks by sam2's video predictor, on the weights of `pam`."""
    sam: Any = pam.sam
    state = sam.init_state(str(folder))
    for i, box in enumerate(objects):
        sam.add_new_points_or_box(state, frame_idx=0, obj_id=i, box=np.array(box, np.float32))
    for _, _, logits in sam.propagate_in_video(state):
        yield (logits[:, 0] > 0).cpu().numpy()[0]


def masks(way: str, pam: PAM, folder: Path, objects: Sequence[Box], *, read_ahead: bool = True) -> Iterator[np.ndarray]:
    """By one of WAYS."""
    if way == "sam2":
        return theirs(pam, folder, objects)
    return ours(pam, folder, objects, way == "studio", read_ahead)


def speed(size: str, objects: int, folder: Path, box: Box, device: str) -> dict[str, Any]:
    """The median seconds of a frame by each way, CPU seconds on a CPU; and the least IoU of ours and sam2's masks."""
    torch.set_num_threads(1)
    pam = load(size, device)
    ways = WAYS if size == "nano" else WAYS[:2]
    clock = time.thread_time if device == "cpu" else time.perf_counter
    told = boxes(box, objects)
    for way in ways if size == "nano" else ():
        list(masks(way, pam, folder.with_name(WARM), told))
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    # What is read ahead would be read on another's turn.
    walks, alike = {way: masks(way, pam, folder, told, read_ahead=False) for way in ways}, 1.0
    while True:
        found = {way: _timed(walks[way], clock, seconds[way]) for way in ways}
        if found["sam2"] is None or found["studio"] is None:
            break
        both = int((found["sam2"] | found["studio"]).sum())
        alike = min(alike, float((found["sam2"] & found["studio"]).sum() / both) if both else 1.0)
    frames = len(seconds["sam2"])
    # Its first step reads them all; of large models that is less than what their memory saves on it.
    spread = max(0.0, seconds["sam2"][0] - float(np.median(seconds["sam2"]))) / frames
    later = min(FILLED, frames // 2)
    medians = {way: float(np.median(each[later:])) + (spread if way == "sam2" else 0) for way, each in seconds.items()}
    first = {way: [round(each, 4) for each in some[:20]] for way, some in seconds.items()}
    what = {"size": size, "objects": objects, "frames": frames, "least_iou": alike}
    return what | {"seconds": medians, "first_seconds": first}


def _timed(walk: Iterator[np.ndarray], clock: Callable[[], float], into: list[float]) -> np.ndarray | None:
    began = clock()
    found = next(walk, None)
    if found is not None:
        into.append(clock() - began)
    return found


def memory(way: str, folder: Path, box: Box, device: str) -> dict[str, Any]:
    """One walk of nano through the frames: MiB gained at most, and CPU seconds."""
    torch.set_num_threads(1)
    pam = load("nano", device)
    for _ in masks(way, pam, folder.with_name(WARM), [box]):
        pass
    before, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    count = sum(1 for _ in masks(way, pam, folder, [box]))
    found = {
        "way": way,
        "frames": count,
        "cpu_seconds": time.process_time() - cpu,
        "mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }
    if device.startswith("cuda"):
        found["gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return found


def in_a_process(what: str, *given: object) -> dict[str, Any]:
    """`speed` or `memory` in a fresh process, so that peaks of memory do not mix."""
    command = [sys.executable, "-m", "benchmarks.track", "--child", what, *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise RuntimeError(f"{what} {given} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """All that was asked for; results.json grows on the way."""
    path = given.out / "results.json"
    results: list[dict[str, Any]] = json.loads(path.read_text()) if given.resume and path.exists() else []
    sizes, lengths = (each.split(",") if each else [] for each in (given.sizes, given.lengths))
    plan: list[tuple[tuple[Any, ...], int]] = [
        (("speed", size, 1), given.frames if size == "nano" else given.few) for size in sizes
    ]
    plan += [(("speed", "nano", int(objects)), given.frames) for objects in given.objects.split(",") if objects]
    plan += [(("memory", way), int(length)) for length in lengths for way in WAYS]
    known = {json.dumps(each["plan"]) for each in results}
    with tempfile.TemporaryDirectory() as scratch:
        for i, (what, count) in enumerate(plan):
            name = [*what, count, given.device]
            if json.dumps(name) in known:
                continue
            folder, box = film(Path(scratch) / str(i), count)
            results.append(in_a_process(*what, folder, given.device, *box) | {"plan": name, "what": what[0]})
            known.add(json.dumps(name))
            print(json.dumps(results[-1]), flush=True)
            path.write_text(json.dumps(results, indent=1))
    return results


def draw(results: list[dict[str, Any]], device: str, path: Path) -> None:
    """Frames per second by size and by objects, and memory by length, as a PNG."""
    figure = Figure(figsize=(13, 4), dpi=130, layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=[1.1, 1.6, 1.6, 2.2])
    speeds = [each for each in results if each["what"] == "speed"]
    alone = [each for each in speeds if each["objects"] == 1]
    many = sorted((each for each in speeds if each["size"] == "nano"), key=lambda each: each["objects"])
    second = "CPU second, one thread" if device == "cpu" else "second"
    _bars(axes[0], [each for each in alone if each["size"] == "nano"], "size", lambda seconds: 1 / seconds)
    _bars(axes[1], [each for each in alone if each["size"] != "nano"], "size", lambda seconds: 1 / seconds)
    _bars(axes[2], many, "objects", lambda seconds: 1e3 * seconds)
    for each in axes[:2]:
        each.set_ylabel(f"frames per {second}")
    axes[2].set_ylabel("CPU ms a frame, one thread" if device == "cpu" else "ms a frame")
    axes[2].set_xlabel("objects, nano")
    for way in WAYS:
        long = sorted((each["frames"], each["mib"]) for each in results if each.get("way") == way)
        if long:
            axes[3].plot(*zip(*long, strict=True), marker="o", color=COLOURS[way])
    axes[3].set_xlim(left=0)
    axes[3].set_ylim(bottom=0)
    axes[3].set_xlabel("frames")
    axes[3].set_ylabel("MiB gained, nano")
    handles = [Line2D([], [], color=COLOURS[way], linewidth=6) for way in WAYS]
    axes[3].legend(handles, [NAMES[way] for way in WAYS], fontsize=8, frameon=False)
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    with matplotlib.rc_context({"font.family": "DejaVu Sans"}):
        figure.savefig(path)


def _bars(axes: Any, speeds: list[dict[str, Any]], by: str, value: Callable[[float], float]) -> None:
    ways = [way for way in WAYS if any(way in each["seconds"] for each in speeds)]
    for k, way in enumerate(ways):
        mine = [(i, value(each["seconds"][way])) for i, each in enumerate(speeds) if way in each["seconds"]]
        places = [i + 0.27 * (k - (len(ways) - 1) / 2) for i, _ in mine]
        bars = axes.bar(places, [height for _, height in mine], 0.25, color=COLOURS[way])
        axes.bar_label(bars, [f"{h:.0f}" if h >= 10 else f"{h:.2g}".lstrip("0") for _, h in mine], fontsize=6)
    axes.set_xticks(range(len(speeds)), [str(each[by]) for each in speeds])


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("track"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sizes", default="nano,tiny")
    parser.add_argument("--objects", default="4,16", help="of nano")
    parser.add_argument("--lengths", default="100,500,1500,5000")
    parser.add_argument("--frames", type=int, default=100, help="of nano for speed")
    parser.add_argument("--few", type=int, default=10, help="of other sizes")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        *what, folder, device = given.child[:-4]
        box = Box(*map(float, given.child[-4:]))
        found = (
            speed(what[1], int(what[2]), Path(folder), box, device)
            if what[0] == "speed"
            else memory(what[1], Path(folder), box, device)
        )
        print(json.dumps(found))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    draw(measure(given), given.device, given.out / "track.png")


if __name__ == "__main__":
    main()
