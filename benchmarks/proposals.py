"""How good and how fast the classical proposals are: coins and hand-outlined objects on scikit-image's photographs.

python -m benchmarks.proposals [--out results/] [--held-out]
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import skimage.data
import skimage.io
import typer

from model.prompt import Box, Point, Prompt
from model.proposals import WorkingImage, prepare, propose
from model.proposals.methods import first_guesses, pool
from model.proposals.seeds import depths, sow
from model.proposals.vote import merit, rank

DATA = Path(__file__).parents[1] / "tests" / "data"
CLICKS = 5


@dataclass(frozen=True, eq=False)
class Target:
    """One object to be found: bool (H, W) on the photograph of that name in skimage.data."""

    group: str
    photo: str
    name: str
    truth: np.ndarray


@dataclass(eq=False)
class Outcome:
    """What came of one target: IoU after each click, from the box, and of each method alone; masks for the eye."""

    target: Target
    clicks: list[float] = field(default_factory=list)
    box: float = 0.0
    score: float = 0.0
    methods: dict[str, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)


def photograph(name: str) -> np.ndarray:
    """uint8 (H, W, 3)."""
    image = skimage.data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(skimage.data, name)()
    return np.ascontiguousarray(np.dstack([image] * 3) if image.ndim == 2 else image)


def targets() -> Iterator[Target]:
    """Every coin, and every object of objects.json."""
    labels = skimage.io.imread(DATA / "coins.png")
    for k in range(1, labels.max() + 1):
        yield Target("coins", "coins", str(k), np.equal(labels, k))
    objects = json.loads((DATA / "objects.json").read_text())
    for entry in objects["objects"]:
        truth = np.zeros(photograph(entry["photo"]).shape[:2], np.uint8)
        cv2.fillPoly(truth, [np.round(entry["outline"]).astype(np.int32)], 1)
        group = "held out" if entry["photo"] in objects["held_out"] else "photographs"
        yield Target(group, entry["photo"], entry["object"], truth.astype(bool))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.count_nonzero(a & b) / max(1, np.count_nonzero(a | b)))


def deepest(region: np.ndarray) -> tuple[float, float, float]:
    """x, y and depth of the pixel farthest from the edge of `region`."""
    depth = depths(region)
    y, x = divmod(int(depth.argmax()), region.shape[1])
    return float(x), float(y), float(depth[y, x])


def next_click(truth: np.ndarray, mask: np.ndarray) -> Point:
    """Where a patient annotator would click next: the middle of the deeper of what is missing and what is too much."""
    missing, surplus = deepest(truth & ~mask), deepest(mask & ~truth)
    return Point(*missing[:2]) if missing[2] >= surplus[2] else Point(*surplus[:2], positive=False)


def measure(working: WorkingImage, target: Target) -> Outcome:
    """Ask for `target` by clicks, then by its box, then of each method alone."""
    outcome = Outcome(target, points=[Point(*deepest(target.truth)[:2])])
    for _ in range(CLICKS):
        began = time.perf_counter()
        proposal = propose(working, Prompt(tuple(outcome.points)))[0]
        outcome.seconds.append(time.perf_counter() - began)
        outcome.masks.append(proposal.mask)
        outcome.clicks.append(iou(proposal.mask, target.truth))
        outcome.score = outcome.score or proposal.score
        if not np.array_equal(proposal.mask, target.truth):
            outcome.points.append(next_click(target.truth, proposal.mask))
    ys, xs = np.nonzero(target.truth)
    box = Box(xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    outcome.box = iou(propose(working, Prompt(box=box))[0].mask, target.truth)
    outcome.methods = compare(working, target, outcome.points[0])
    return outcome


def compare(working: WorkingImage, target: Target, click: Point) -> dict[str, float]:
    """IoU, at the working size and before any nearer look, of each method's most meritorious mask and of the votes."""
    view = working.view
    seeds = sow(view, Prompt((click,)), *target.truth.shape)
    masks = pool(view, seeds, first_guesses(view, seeds))
    height, width = view.shape
    truth = cv2.resize(target.truth.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA) > 127
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for name, mask in masks:
        found[name].append((merit(view, seeds, mask), iou(mask, truth)))
    answer = {name: max(pairs)[1] for name, pairs in found.items()}
    answer["most merit"] = max(pair for pairs in found.values() for pair in pairs)[1]
    answer["medoid"] = iou(rank(view, seeds, masks)[0][0], truth)
    answer["oracle"] = max(pair[1] for pairs in found.values() for pair in pairs)
    return answer


def summary(outcomes: list[Outcome]) -> dict:
    """Means per group."""
    groups: dict[str, dict] = {}
    for group in dict.fromkeys(o.target.group for o in outcomes):
        these = [o for o in outcomes if o.target.group == group]
        clicks = np.mean([o.clicks for o in these], axis=0)
        groups[group] = {
            "objects": len(these),
            **{f"{n} clicks": round(float(clicks[n - 1]), 3) for n in (1, 3, 5)},
            "box": round(float(np.mean([o.box for o in these])), 3),
            "score": round(float(np.mean([o.score for o in these])), 3),
            "milliseconds": round(1000 * float(np.median([s for o in these for s in o.seconds]))),
            "methods": {m: round(float(np.mean([o.methods[m] for o in these])), 3) for m in these[0].methods},
        }
    return groups


def table(groups: dict) -> str:
    """Two Markdown tables: the prompts, and the methods from one click."""
    prompts = ["objects", "1 clicks", "3 clicks", "5 clicks", "box", "score", "milliseconds"]
    methods = list(next(iter(groups.values()))["methods"])
    lines = []
    for heads, of in ((prompts, lambda row: row), (methods, lambda row: row["methods"])):
        lines += ["| mean IoU | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
        lines += [f"| {g} | " + " | ".join(str(of(row)[h]) for h in heads) + " |" for g, row in groups.items()] + [""]
    return "\n".join(lines)


def contact_sheet(outcomes: list[Outcome]) -> np.ndarray:
    """uint8 (H, W, 3) BGR: each target after one click and after the last; truth green, mask red, clicks dotted."""
    tiles = []
    for o in outcomes:
        image = photograph(o.target.photo)
        for n in (1, CLICKS):
            tiles.append(_tile(image, o, n))
    columns = 8
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def _tile(image: np.ndarray, outcome: Outcome, clicks: int) -> np.ndarray:
    mask = outcome.masks[clicks - 1]
    x, y, w, h = cv2.boundingRect((outcome.target.truth | mask).astype(np.uint8))
    margin = max(w, h) // 4 + 5
    window = slice(max(0, y - margin), y + h + margin), slice(max(0, x - margin), x + w + margin)
    ratio = 220 / max(image[window].shape[:2])
    shown = cv2.resize(image[window][..., ::-1], None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
    for region, colour in ((outcome.target.truth, (0, 255, 0)), (mask, (0, 0, 255))):
        scaled = cv2.resize(region[window].astype(np.uint8), shown.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        cv2.drawContours(shown, cv2.findContours(scaled, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0], -1, colour, 1)
    for p in outcome.points[:clicks]:
        centre = int((p.x - window[1].start) * ratio), int((p.y - window[0].start) * ratio)
        cv2.circle(shown, centre, 3, (255, 200, 0) if p.positive else (255, 0, 255), -1)
    tile = np.zeros((240, 224, 3), np.uint8)
    tile[: shown.shape[0], : shown.shape[1]] = shown[:220]
    caption = f"{outcome.target.name} {clicks}: {outcome.clicks[clicks - 1]:.2f}"
    cv2.putText(tile, caption, (2, 236), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    return tile


def main(
    out: Annotated[Path | None, typer.Option(help="Folder for results.json, results.md and sheet.png.")] = None,
    held_out: Annotated[bool, typer.Option(help="Also the photographs kept apart from tuning.")] = False,
) -> None:
    """Measure, and print the tables."""
    cv2.setNumThreads(1)
    prepared: dict[str, WorkingImage] = {}
    outcomes = []
    for target in targets():
        if target.group != "held out" or held_out:
            working = prepared.get(target.photo) or prepare(photograph(target.photo))
            prepared[target.photo] = working
            outcomes.append(measure(working, target))
            o = outcomes[-1]
            clicks = " ".join(f"{v:.2f}" for v in o.clicks)
            print(f"{target.photo} {target.name}: {clicks}  box {o.box:.2f}", flush=True)
    groups = summary(outcomes)
    print(table(groups))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.json").write_text(json.dumps(groups, indent=1) + "\n")
        (out / "results.md").write_text(table(groups))
        worst_first = sorted(outcomes, key=lambda o: o.clicks[0])
        cv2.imwrite(str(out / "sheet.png"), contact_sheet(worst_first[:48]))


if __name__ == "__main__":
    typer.run(main)
