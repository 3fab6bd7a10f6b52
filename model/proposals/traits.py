"""What can be said of masks without knowing the truth: edges, colours, shape, clicks, and how many resemble them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from model.proposals.seeds import Seeds, depths, surroundings
from model.proposals.working import View

PLAIN_DIFFERENCE = 10.0
"""Lab units: a difference in colour that is plain to see."""

ROUGHLY = 0.75
"""IoU with a rough mask above which no more likeness is asked of a mask."""

KEEP = 3.0
"""How much a mask that was thought to be good resists change."""

RING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
CROSS = np.ones((3, 3), np.uint8)

NAMES = (
    *("edge", "weakest edge", "separation", "inner edges", "colour overlap", "colour overlap nearby", "purity"),
    *("solidity", "compactness", "size in view", "log size in view", "log size in picture", "on the frame"),
    *("centred", "depth of click", "box", "boxed", "rough", "likeness", "agreement", "method agreement", "best friend"),
    *("clicks", "refusals", "amends", "likeness to before", "change", "centred change", "new edge", "lost edge"),
    *("room", "reach", "score before"),
)
"""The columns of `traits`."""


@dataclass(frozen=True, eq=False)
class Standing:
    """A mask that a click amends: bool (h, w), and the IoU that was expected of it."""

    mask: np.ndarray
    score: float

    @cached_property
    def outline(self) -> np.ndarray:
        """bool (h, w): the pixels just outside."""
        return _outline(self.mask)

    @cached_property
    def room(self) -> tuple[np.ndarray, np.ndarray]:
        """float32 (h, w) each: how deep pixels lie outside and inside of the mask."""
        return depths(~self.mask), depths(self.mask)


def agreement(masks: Sequence[np.ndarray]) -> np.ndarray:
    """float64 (n, n): IoU of each of `masks`, bool (h, w), with each other."""
    bits = np.stack([np.packbits(m) for m in masks])
    bits = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8))).view(np.uint64)
    overlap = np.stack([np.bitwise_count(bits & row).sum(axis=1, dtype=np.int64) for row in bits])
    area = overlap.diagonal()
    return overlap / np.maximum(area[:, None] + area[None, :] - overlap, 1)


def traits(
    view: View,
    seeds: Seeds,
    pool: Sequence[tuple[str, np.ndarray]],
    keep: Sequence[int],
    alike: np.ndarray,
    before: Standing | None,
    picture_area: float,
) -> np.ndarray:
    """float32 (k, len(NAMES)) of the masks `keep` of `pool`.

    alike: see `agreement`, of all of the pool. before: what stood before the last click, or None.
    picture_area: pixels of the whole picture at the view's scale.
    """
    ballots = Counter(name for name, _ in pool)
    weights = 1 / np.array([ballots[name] for name, _ in pool])
    methods = np.array([name for name, _ in pool])
    consensus = alike @ weights / weights.sum()
    friends = np.stack([alike[:, methods == name].max(axis=1) for name in ballots])
    rows = []
    for k in keep:
        alone = traits_alone(view, seeds, pool[k][1], picture_area)
        best = np.sort(friends[:, k])
        votes = [consensus[k], best.mean(), best[-2] if len(best) > 1 else 0.0]
        counts = [len(seeds.clicks) / 5, len(seeds.refusals) / 5]
        rows.append([*alone, *votes, *counts, *_amended(view, seeds, pool[k][1], before)])
    return np.array(rows, np.float32)


def plausibility(rows: np.ndarray) -> np.ndarray:
    """float64 (k,), in log-odds: what speaks for masks with these traits (see NAMES) whatever the ranker has seen.

    Learned from few photographs, the ranker is at its best beside these rules of thumb (measured by leaving
    photographs out). First clicks: objects end at edges, stand out from what is around them, are mostly convex, have
    the click in their middle, and are seldom most of the picture; other methods find them too. Further clicks: other
    methods agree, the click is in the middle of what changes, and the better the mask was thought to be the more of it
    stays. Boxes are filled, rough masks resembled.
    """

    def log(name: str) -> np.ndarray:
        return np.log(np.maximum(rows[:, NAMES.index(name)].astype(np.float64), 0.02))

    always = log("edge") + log("separation") + log("solidity") + log("agreement")
    first = always + log("centred") / 2 + np.log1p(-np.minimum(rows[:, NAMES.index("size in view")], 0.98))
    later = (log("agreement") + np.log(rows[:, NAMES.index("centred change")] + 0.05)) / 2
    later += KEEP * rows[:, NAMES.index("score before")] ** 4 * log("likeness to before")
    boxed = (always + log("box")) / 2
    rough = (always + np.minimum(0, log("likeness") - np.log(ROUGHLY))) / 2
    amends, box, clicked = (rows[:, NAMES.index(n)] > 0 for n in ("amends", "boxed", "clicks"))
    return np.select([amends, box, clicked], [later, boxed, first], rough)


def traits_alone(view: View, seeds: Seeds, mask: np.ndarray, picture_area: float) -> list[float]:
    """The first of NAMES, which need no other mask: of `mask`, bool (h, w); see `traits`."""
    near = surroundings(mask, 5)
    on = np.ascontiguousarray(mask[near]).view(np.uint8)
    gradient = view.gradient[near]
    strength = gradient / (gradient + view.usual)
    under = strength[(cv2.dilate(on, CROSS) - on).astype(bool)]
    edge = float(under.mean()) if under.size else 0.0
    weakest = float(np.partition(under, under.size // 5)[: under.size // 5 + 1].mean()) if under.size else 0.0
    around, core = cv2.dilate(on, RING) - on, cv2.erode(on, CROSS, borderValue=1)
    rind = on - cv2.erode(on, RING, borderValue=1)
    separation = 0.0
    if around.any() and rind.any():
        lab = view.lab[near]
        apart = float(np.linalg.norm(np.subtract(cv2.mean(lab, around)[:3], cv2.mean(lab, rind)[:3])))
        separation = apart / (apart + PLAIN_DIFFERENCE)
    inner = cv2.mean(strength, core)[0] if core.any() else 0.0
    area = float(np.count_nonzero(on))
    colours = view.colours[near]
    inside = np.bincount(colours[on.view(bool)], minlength=view.colour_counts.size)
    outside = view.colour_counts - inside
    nearby = np.bincount(colours[around.astype(bool)], minlength=inside.size)
    purity = float(inside[inside * outside.sum() > outside * area].sum() / area)
    outlines = cv2.findContours(on, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    hull = cv2.contourArea(cv2.convexHull(np.concatenate(outlines)))
    length = sum(cv2.arcLength(o, True) for o in outlines) + 4
    frame = sum(np.count_nonzero(mask[line]) for line in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]))
    depth = depths(on)
    deepest, clicked = float(depth.max()), 0.0
    if len(seeds.clicks):
        corner = near[1].start, near[0].start
        at = seeds.clicks - corner
        at = at[((at >= 0) & (at < on.shape[::-1])).all(axis=1)]
        clicked = float(depth[at[:, 1], at[:, 0]].max()) if len(at) else 0.0
    likeness = 0.0
    if seeds.rough is not None:
        likeness = np.count_nonzero(mask & seeds.rough) / np.count_nonzero(mask | seeds.rough)
    return [
        *(edge, weakest, separation, inner, _overlap(inside, outside), _overlap(inside, nearby), purity),
        *(min(1.0, area / max(hull, 1.0)), min(1.0, 4 * np.pi * area / length**2), area / mask.size),
        *(np.log10(area / mask.size), np.log10(area / picture_area), frame / (2 * sum(mask.shape))),
        *(clicked / deepest, clicked / area**0.5),
        *(box_fit(mask, seeds.box) if seeds.box is not None else 0.0, float(seeds.box is not None)),
        *(float(seeds.rough is not None), likeness),
    ]


def _amended(view: View, seeds: Seeds, mask: np.ndarray, before: Standing | None) -> list[float]:
    if before is None or seeds.last is None:
        return [0.0] * 9
    change = mask ^ before.mask
    area = float(np.count_nonzero(change))
    both = np.count_nonzero(mask | before.mask)
    x, y = seeds.last
    room = float(before.room[int(before.mask[y, x])][y, x])
    centred = reach = 0.0
    if area:
        depth = depths(change)
        centred, reach = float(depth[y, x] / depth.max()), float(depth[y, x] / room)
    new = _outline(mask)
    strength = view.gradient / (view.gradient + view.usual)
    gained, lost = new & ~_thick(before.outline), before.outline & ~_thick(new)
    return [
        *(1.0, 1 - area / max(both, 1), np.log10(area / mask.size + 1e-5), centred),
        *(float(strength[gained].mean()) if gained.any() else 0.5, float(strength[lost].mean()) if lost.any() else 0.5),
        *(np.log10(room / view.side), reach, before.score),
    ]


def _outline(mask: np.ndarray) -> np.ndarray:
    """bool (h, w): the pixels just outside of `mask`."""
    on = mask.view(np.uint8)
    return (cv2.dilate(on, CROSS) - on).view(bool)


def _thick(line: np.ndarray) -> np.ndarray:
    return cv2.dilate(line.view(np.uint8), CROSS).view(bool)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """0..1: Bhattacharyya coefficient of two histograms; 0 where one is empty."""
    total = float(a.sum()) * float(b.sum())
    return float(np.sqrt(a * b.astype(np.float64)).sum() / total**0.5) if total else 0.0


def box_fit(mask: np.ndarray, box: tuple[slice, slice]) -> float:
    """0..1: IoU of the box around `mask` with `box`."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    rows, columns = box
    overlap = max(0, min(x + w, columns.stop) - max(x, columns.start)) * max(
        0, min(y + h, rows.stop) - max(y, rows.start)
    )
    return overlap / (w * h + (columns.stop - columns.start) * (rows.stop - rows.start) - overlap)
