"""Masks of everything: the regions of a view's trees that look like objects, whatever anybody points at."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from model.everything import Found
from model.proposals.enlarge import enlarge
from model.proposals.seeds import Seeds, depths
from model.proposals.traits import NAMES, traits_alone
from model.proposals.working import View, WorkingImage

LOOKED_AT = 400
"""Regions whose shapes are looked at: those that stand out most from what is around them."""

SLOPE, OFFSET = 1.1, 1.5
"""From what speaks for a region (see `_worth`) to the IoU to expect of it, 0..1, by a logistic function; fitted on
objects of drawn scenes (`python -m benchmarks.everything --fit`)."""

WEIGHTS = {"edge": 1.0, "separation": 1.0, "solidity": 1.0, "compactness": 0.5, "weakest edge": 0.5}
AREA, FRAME = 0.25, 3.0
"""How much speaks for a region that its traits are large (the logarithm counts), and its area; and against one how much
of the picture's frame it takes. Chosen on the photographs that `benchmarks.segment` keeps for tuning."""


def everywhere(working: WorkingImage, smallest: float, largest: float) -> Iterator[Found]:
    """The regions of a picture that may be objects, in no order.

    smallest, largest: area as a share of the picture. `score` is an expected IoU, and `stability` the IoU with the most
    similar region of the other tree, which merges superpixels in another order.
    """
    view = working.view
    members, tree = _regions(view)
    share = members @ view.superpixels.area / view.gradient.size
    fits = (share >= smallest) & (share <= largest)
    members, tree, share = members[fits], tree[fits], share[fits]
    if not len(members):
        return
    first = np.argsort(-_contrast(view, members) - AREA * np.log(share), kind="stable")[:LOOKED_AT]
    stability = _stability(members[first], tree[first], members, tree, view.superpixels.area)
    for k, stable in zip(first.tolist(), stability.tolist(), strict=True):
        mask = members[k][view.superpixels.labels]
        score = 1 / (1 + math.exp(-SLOPE * _worth(view, mask, float(share[k])) - OFFSET))
        yield Found(mask, score, stable, lambda mask=mask: _enlarged(working, mask))  # type: ignore[misc]


def _enlarged(working: WorkingImage, mask: np.ndarray) -> np.ndarray:
    large = enlarge(working, working.view, mask)
    return large if large.any() else _nearest(mask, large.shape)


def _nearest(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    rows = np.arange(shape[0]) * mask.shape[0] // shape[0]
    columns = np.arange(shape[1]) * mask.shape[1] // shape[1]
    return mask[rows[:, None], columns]


def _regions(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Which superpixels each region of the trees is made of, bool (k, n), and the tree it is in, int (k,)."""
    count = len(view.superpixels.area)
    members, trees = [], []
    for number, merges in enumerate(view.trees):
        all_of_them = np.zeros((count + len(merges), count), bool)
        all_of_them[np.arange(count), np.arange(count)] = True
        for k, (a, b) in enumerate(merges.tolist()):
            all_of_them[count + k] = all_of_them[a] | all_of_them[b]
        members.append(all_of_them)
        trees.append(np.full(len(all_of_them), number))
    return np.concatenate(members), np.concatenate(trees)


def _contrast(view: View, members: np.ndarray) -> np.ndarray:
    """float64 (k,), log of how sharp and how different in colour the borders of regions are; `members` bool (k, n)."""
    sp = view.superpixels
    a, b = sp.pairs.T
    border = (members[:, a] ^ members[:, b]).astype(np.float32)
    length = np.maximum(border @ sp.length, 1)
    strength = border @ (sp.strength * sp.length) / length
    apart = border @ (np.linalg.norm(sp.lab[a] - sp.lab[b], axis=1) * sp.length) / length
    return np.log(strength / (strength + view.usual) + 0.02) + np.log(apart / (apart + 10) + 0.02)


def _stability(
    members: np.ndarray, tree: np.ndarray, rivals: np.ndarray, rival_tree: np.ndarray, area: np.ndarray
) -> np.ndarray:
    """float64 (k,): IoU of each region with the most similar one of another tree; all are made of superpixels."""
    best = np.zeros(len(members))
    weighed = rivals.astype(np.float32) * area.astype(np.float32)
    total, own = weighed.sum(axis=1), members @ area
    for number in np.unique(tree):
        mine, others = tree == number, rival_tree != number
        if others.any():
            shared = members[mine].astype(np.float32) @ weighed[others].T
            best[mine] = (shared / (own[mine, None] + total[others] - shared)).max(axis=1)
    return best


def _worth(view: View, mask: np.ndarray, share: float) -> float:
    """What speaks for a region, bool (h, w), that covers this share of the picture, in log-odds but for a scale."""
    depth = depths(mask)
    y, x = divmod(int(depth.argmax()), mask.shape[1])
    seeds = Seeds(mask, ~mask, np.array([[x, y]]), np.zeros((0, 2), int), (x, y), None, None)
    seen = dict(zip(NAMES, traits_alone(view, seeds, mask, float(mask.size)), strict=False))
    says = sum(weight * math.log(max(seen[name], 0.02)) for name, weight in WEIGHTS.items())
    return says + AREA * math.log(share) - FRAME * seen["on the frame"]
