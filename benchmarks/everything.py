"""How many outlined objects are found without a click, and in what time.

python -m benchmarks.everything --out results/

The objects are those of `benchmarks.segment`: outlines on photographs, of which nobody tunes anything on `test`, coins,
and drawn scenes. An object is found when one of the regions has this IoU with it; a photograph has more objects than
were outlined, so precision cannot be said.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from rich.progress import track

import model
from benchmarks.segment.annotator import iou
from benchmarks.segment.targets import Set, Target, picture, targets
from model import PAM, EncodedImage, Region
from model.everything import EverythingOptions, find
from model.proposals.everywhere import OFFSET, SLOPE
from model.training.scenes import draw_scene

LEVELS = (0.5, 0.75)
HEIGHT, COLUMNS, SHOWN = 300, 4, 8
"""Of the contact sheet: pixels of a picture, pictures in a row, and pictures of a set."""

FIT_SEED, FIT_SCENES = 30_011, 30


def measure(pam: PAM, encoded: EncodedImage, wanted: Sequence[Target], options: EverythingOptions) -> dict:
    """What one picture's targets came to."""
    began, worked = time.perf_counter(), time.process_time()
    found = pam.segment_everything(encoded, options)
    between = time.process_time()
    regions = pam.regions(found)
    seconds = {
        "masks": between - worked,
        "words": time.process_time() - between,
        "wall": time.perf_counter() - began,
    }
    best = [max((iou(region.mask, target.truth) for region in regions), default=0.0) for target in wanted]
    return {"regions": regions, "ious": best, "seconds": seconds}


def expected(pam: PAM, scenes: int = FIT_SCENES) -> tuple[float, float]:
    """Slope and offset of the logistic function from what speaks for a region to its IoU, on objects of scenes."""
    spoken, reached = [], []
    for index in range(scenes):
        scene = draw_scene(FIT_SEED, index)
        every = EverythingOptions(least_score=0.0, least_stability=0.0, duplicate=0.9, most=200)
        for found in find(pam, pam.encode(scene.image), every):
            mask = found.enlarge()
            spoken.append((np.log(found.score / (1 - found.score)) - OFFSET) / SLOPE)
            reached.append(max(iou(mask, thing.mask) for thing in scene.objects))
    x = torch.tensor([spoken, [1.0] * len(spoken)], dtype=torch.float64)
    y = torch.tensor(reached, dtype=torch.float64)
    weights = torch.tensor([SLOPE, OFFSET], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(weights @ x, y)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    slope, offset = weights.detach().tolist()
    return slope, offset


def drawn(image: np.ndarray, regions: Sequence[Region]) -> np.ndarray:
    """The picture with each region's outline and category, uint8 (HEIGHT, ..., 3)."""
    scale = HEIGHT / image.shape[0]
    view = cv2.resize(image, (round(image.shape[1] * scale), HEIGHT), interpolation=cv2.INTER_AREA)
    for number, region in enumerate(reversed(regions)):
        mask = cv2.resize(region.mask.astype(np.uint8), view.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        hue = np.uint8([[[(number * 67) % 180, 230, 255]]])
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
        tint = view[mask > 0].astype(float) * 0.75 + np.array(colour) * 0.25
        view[mask > 0] = tint.astype(np.uint8)
        outlines = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(view, outlines, -1, colour, 1)
    return view


def sheet(views: Sequence[np.ndarray]) -> np.ndarray:
    """The views side by side, in rows."""
    width = max(view.shape[1] for view in views)
    padded = [np.pad(view, ((2, 2), (2, 2 + width - view.shape[1]), (0, 0))) for view in views]
    while len(padded) % COLUMNS:
        padded.append(np.zeros_like(padded[0]))
    return np.vstack([np.hstack(padded[i : i + COLUMNS]) for i in range(0, len(padded), COLUMNS)])


def main(
    sets: Annotated[str, typer.Option(help=f"Which sets, by commas: {', '.join(Set)}.")] = ",".join(Set),
    most: Annotated[int, typer.Option(min=1, help="Regions of one picture.")] = EverythingOptions().most,
    weights: Annotated[str, typer.Option(help="A checkpoint: nano, a folder, or a Hugging Face id.")] = "nano",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many pictures of each set.")] = None,
    fit: Annotated[bool, typer.Option(help="Only fit SLOPE and OFFSET of model/proposals/everywhere.py.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for everything.json and everything.png.")] = None,
) -> None:
    """Count the objects that are found, and draw what was."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pam = model.load(weights, threads=1)
    if fit:
        slope, offset = expected(pam)
        print(f"SLOPE, OFFSET = {slope:.2f}, {offset:.2f}")
        return
    options = replace(EverythingOptions(), most=most)
    rows, views = [], []
    for name in sets.split(","):
        pictures = [list(group) for _, group in groupby(targets(Set(name)), lambda target: target.picture)][:limit]
        met = []
        for number, wanted in enumerate(track(pictures, name, transient=True)):
            image = picture(wanted[0].picture)
            met.append(measure(pam, pam.encode(image), wanted, options))
            if number < SHOWN:
                views.append(drawn(image, met[-1]["regions"]))
        ious = np.concatenate([each["ious"] for each in met])
        seconds = {key: float(np.median([each["seconds"][key] for each in met])) for key in ("masks", "words", "wall")}
        count = float(np.mean([len(each["regions"]) for each in met]))
        recall = {str(level): float((ious >= level).mean()) for level in LEVELS}
        rows.append({"set": name, "objects": len(ious), "regions": count, "recall": recall, "seconds": seconds})
    heads = [f"found at IoU {level}" for level in LEVELS]
    print(f"| set | objects | regions of a picture | {' | '.join(heads)} | CPU s masks | CPU s words |")
    print("|---" * (5 + len(LEVELS)) + "|")
    for row in rows:
        found = " | ".join(f"{row['recall'][str(level)]:.2f}" for level in LEVELS)
        spent = f"{row['seconds']['masks']:.2f} | {row['seconds']['words']:.2f}"
        print(f"| {row['set']} | {row['objects']} | {row['regions']:.0f} | {found} | {spent} |")
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "everything.json").write_text(json.dumps(rows, indent=1) + "\n")
        cv2.imwrite(str(out / "everything.png"), cv2.cvtColor(sheet(views), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    typer.run(main)
