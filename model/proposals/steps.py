"""From a prompt to one mask on a view: the first click opens, each later click amends what stands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from model.prompt import Prompt
from model.proposals.enlarge import enlarge
from model.proposals.methods import attached, first_guesses, pool
from model.proposals.oblige import oblige
from model.proposals.seeds import SEED_RADIUS, Seeds, sow
from model.proposals.traits import Standing, agreement, plausibility, traits
from model.proposals.working import OFFERED, View, WorkingImage, look

ZOOM_MARGIN = 0.5
"""Room left around the object when its surroundings are looked at closely, relative to its own size."""

AMEND_MARGIN = 1.0
"""The same when a click amends, which may mean that the object is larger than it seemed."""

TWIN = 0.96
"""IoU from which two masks are not worth ranking against each other; but for amendments, which may be small."""

SAME = 0.8
"""IoU above which two masks count as the same answer."""

SEAM = 2
"""Pixels of the view around a change in which the outline is laid along the edges anew."""

ZOOM_BELOW = 0.6
"""An object whose surroundings are under this share of the view's side is looked at again from nearer."""


@dataclass(frozen=True, eq=False)
class Settled:
    """What stands after some of the clicks.

    masks:    bool (h, w) of `view`, best first, clearly different from each other.
    scores:   one for each.
    standing: what the last click found, as a mask of `view`, bool (h, w), and at the size of the image, bool (H, W)
              packed along its rows; None where nothing stood.
    """

    view: View
    masks: tuple[np.ndarray, ...]
    scores: tuple[float, ...]
    standing: tuple[np.ndarray, np.ndarray] | None = None

    def large(self, working: WorkingImage, number: int, prompt: Prompt) -> np.ndarray:
        """Mask `number` at the size of the image, bool (H, W), as it is shown for `prompt`.

        Away from what the last click changed it is what was shown before: the outline is not laid anew there.
        """
        mask = self.masks[number]
        large = enlarge(working, self.view, mask)
        if self.standing is not None:
            before, shown = self.standing
            changed = cv2.dilate((mask ^ before).astype(np.uint8), np.ones((2 * SEAM + 1,) * 2, np.uint8))
            x0, y0, x1, y1 = self.view.window
            anew = cv2.resize(changed, (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST).astype(bool)
            kept = np.unpackbits(shown, axis=1, count=large.shape[1]).astype(bool)
            kept[y0:y1, x0:x1] = np.where(anew, large[y0:y1, x0:x1], kept[y0:y1, x0:x1])
            large = kept
        return oblige(working.image, large, prompt)


def settle(working: WorkingImage, prompt: Prompt) -> Settled:
    """Open with the box, the mask and the clicks up to the first positive one; then amend click by click.

    A later click corrects what the earlier ones brought about, so it changes what is around it and leaves the rest.
    """
    first = next((i for i, p in enumerate(prompt.points) if p.positive), -1) + 1 if prompt.mask is None else 0
    start = hashlib.sha256(np.packbits(prompt.mask).tobytes()).digest() if prompt.mask is not None else None

    def key(n: int) -> tuple:
        return prompt.points[:n], prompt.box, start

    # From the last click that is remembered on: only a few are, and they are the last ones.
    known = next((n for n in range(len(prompt.points), first - 1, -1) if key(n) in working.recent), first - 1)
    settled = working.recent.get(key(known)) if known >= first else None
    for n in range(known + 1, len(prompt.points) + 1):
        so_far = replace(prompt, points=prompt.points[:n])
        if settled is None:
            settled = _open(working, so_far)
        else:
            shown = settled.large(working, 0, replace(prompt, points=prompt.points[: n - 1]))
            settled = _amend(working, settled, so_far, np.packbits(shown, axis=1))
        working.recent[key(n)] = settled
    assert settled is not None
    return settled


def _open(working: WorkingImage, prompt: Prompt) -> Settled:
    height, width = working.image.shape[:2]
    view = working.view
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
        view = _nearer(working, view, (x0, y0, x1, y1))
    elif prompt.mask is not None:
        view = _nearer(working, view, _extent(prompt.mask))
    seeds = sow(view, prompt, height, width)
    settled = _first(working, view, seeds, first_guesses(view, seeds))
    if view is not working.view or prompt.mask is not None:
        return settled
    nearer = _nearer(working, view, _to_original(view, _extent(settled.masks[0])))
    if nearer is view:
        return settled
    seeds = sow(nearer, prompt, height, width)
    return _first(working, nearer, replace(seeds, rough=carry(view, settled.masks[0], nearer)))


def _first(working: WorkingImage, view: View, seeds: Seeds, guesses: Iterable[np.ndarray] = ()) -> Settled:
    masks = pool(view, seeds, guesses)
    if seeds.rough is not None:
        masks.append(("rough", seeds.rough))
    return _choose(working, view, seeds, masks, None)


def _choose(
    working: WorkingImage,
    view: View,
    seeds: Seeds,
    pool: list[tuple[str, np.ndarray]],
    before: Standing | None,
) -> Settled:
    """The masks of `pool` that differ, those first that the ranker expects most of."""
    masks = [mask for _, mask in pool]
    alike = agreement(masks)
    keep = _apart(alike, range(len(pool)), TWIN if before is None else 1.0)
    area = view.scale**2 * working.image.shape[0] * working.image.shape[1]
    rows = traits(view, seeds, pool, keep, alike, before, area)
    expected = working.judge(view, [masks[k] for k in keep], rows).clip(1e-3, 1 - 1e-3)
    worth = np.log(expected / (1 - expected)) + plausibility(rows)
    order = [keep[k] for k in np.argsort(-worth, kind="stable").tolist()]
    score = dict(zip(keep, expected.tolist(), strict=True))
    chosen = _apart(alike, order, SAME)[:OFFERED]
    return Settled(view, tuple(masks[k] for k in chosen), tuple(score[k] for k in chosen))


def _apart(alike: np.ndarray, order: Iterable[int], limit: float) -> list[int]:
    """Those of `order` that are not as much as `limit` like one before them."""
    kept: list[int] = []
    for k in order:
        if not (alike[k, kept] >= limit).any():
            kept.append(k)
    return kept


def _amend(working: WorkingImage, settled: Settled, prompt: Prompt, shown: np.ndarray) -> Settled:
    """`settled`, made right at the last click of `prompt`.

    shown: the mask that was shown before that click, see `Settled.standing`.
    """
    height, width = working.image.shape[:2]
    click = prompt.points[-1]
    view, mask = settled.view, settled.masks[0]
    left, top, right, bottom = _to_original(view, _extent(mask)) if mask.any() else (click.x, click.y) * 2
    extent = min(left, click.x), min(top, click.y), max(right, click.x + 1), max(bottom, click.y + 1)
    view = _nearer(working, working.view, extent, AMEND_MARGIN)
    if view.window == settled.view.window:
        view = settled.view
    else:
        mask = carry(settled.view, mask, view)
    seeds = sow(view, replace(prompt, mask=None), height, width)
    x, y = (seeds.clicks if click.positive else seeds.refusals)[-1].tolist()
    # A click on a pixel that was also clicked the other way changes nothing unless it is the positive one.
    if mask[y, x] == click.positive or seeds.positive[y, x] != click.positive:
        return Settled(view, (mask,), settled.scores[:1], (mask, shown))
    before = Standing(mask, settled.scores[0])
    amendments = _amendments(view, seeds, mask, (x, y), click.positive)
    return replace(_choose(working, view, seeds, amendments, before), standing=(mask, shown))


def _amendments(
    view: View, seeds: Seeds, mask: np.ndarray, at: tuple[int, int], positive: bool
) -> list[tuple[str, np.ndarray]]:
    """What `mask` may become after a click at x, y: names and masks, bool (h, w), that obey all clicks.

    Each method says so three times: from all the clicks, anew; from all the clicks, but only what hangs together with
    the new one is changed; and from the new click alone, what looks like one piece with it.
    """
    spot = np.zeros(view.shape, bool)
    spot[at[1], at[0]] = True
    own, opposite = (seeds.positive, seeds.negative) if positive else (seeds.negative, seeds.positive)
    disc = attached(own & _disc(view, at), spot)
    wrong = mask != positive
    found = [("disc", mask ^ (disc & wrong)), ("spot", mask ^ spot)]
    if seeds.positive.any():
        together = pool(view, seeds)
        found += together
        for name, other in together:
            if other[at[1], at[0]] == positive:
                found.append((name + " here", mask ^ attached(other ^ mask, spot)))
    alone = Seeds(disc, opposite & ~disc, np.array([at]), np.zeros((0, 2), int), at, None, None)
    found += [(name + " alone", mask ^ attached(other & wrong, spot)) for name, other in pool(view, alone)]
    return [(name, new) for name, new in found if new.any() and _obeys(new, seeds)] or [("spot", mask ^ spot)]


def _obeys(mask: np.ndarray, seeds: Seeds) -> bool:
    """Whether `mask` is right at each of the clicks."""
    on = mask[seeds.clicks[:, 1], seeds.clicks[:, 0]]
    off = mask[seeds.refusals[:, 1], seeds.refusals[:, 0]]
    return bool(on.all() and not off.any())


def _disc(view: View, at: tuple[int, int]) -> np.ndarray:
    canvas = np.zeros(view.shape, np.uint8)
    cv2.circle(canvas, at, max(1, round(2 * SEED_RADIUS * view.side)), 1, -1)
    return canvas.astype(bool)


def _extent(mask: np.ndarray) -> tuple[float, float, float, float]:
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, x + w, y + h


def _to_original(view: View, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x0, y0 = view.window[:2]
    return box[0] / view.scale + x0, box[1] / view.scale + y0, box[2] / view.scale + x0, box[3] / view.scale + y0


def _nearer(
    working: WorkingImage, view: View, extent: tuple[float, float, float, float], room: float = ZOOM_MARGIN
) -> View:
    """A closer view around `extent`, pixels of the original; `view` itself where that would show little more."""
    height, width = working.image.shape[:2]
    x0, y0, x1, y1 = extent
    margin = max(8 / working.view.scale, room * max(x1 - x0, y1 - y0))
    window = (
        max(0, int(x0 - margin)),
        max(0, int(y0 - margin)),
        min(width, int(x1 + margin) + 1),
        min(height, int(y1 + margin) + 1),
    )
    side = max(window[2] - window[0], window[3] - window[1])
    if view.scale > 0.99 or side > ZOOM_BELOW * max(view.window[2] - view.window[0], view.window[3] - view.window[1]):
        return view
    return look(working.pyramid, window)


def carry(view: View, mask: np.ndarray, to: View) -> np.ndarray:
    """`mask` of `view` as the mask of another view; what `view` does not show is off."""
    h, w = to.shape
    x0, y0, x1, y1 = to.window
    u0, v0, u1, v1 = view.window
    # The affine map from pixels of `to` to pixels of `view`, both with the pixel centre at one half.
    sx, sy = (x1 - x0) / w * view.shape[1] / (u1 - u0), (y1 - y0) / h * view.shape[0] / (v1 - v0)
    tx, ty = (x0 - u0) * view.shape[1] / (u1 - u0), (y0 - v0) * view.shape[0] / (v1 - v0)
    matrix = np.array([[sx, 0, tx + sx / 2 - 0.5], [0, sy, ty + sy / 2 - 0.5]])
    soft = cv2.warpAffine(mask.astype(np.float32), matrix, (w, h), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return soft > 0.5
