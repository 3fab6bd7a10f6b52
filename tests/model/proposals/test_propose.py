"""Proposals: masks from clicks, boxes and rough masks by classical means, on photographs of scikit-image."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import skimage.io
from hypothesis import example, given, settings
from hypothesis import strategies as st

from model.errors import ImageError, PromptError
from model.prompt import Box, Point, Prompt
from model.proposals import WorkingImage, prepare, propose, steps
from model.proposals.seeds import depths

DATA = Path(__file__).parents[2] / "data"
TINY = [(1, 1), (1, 40), (40, 1), (2, 2), (3, 7), (9, 300)]


def rgb(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.dstack([image] * 3) if image.ndim == 2 else image)


@cache
def photograph(name: str) -> WorkingImage:
    image = skimage.data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(skimage.data, name)()
    return prepare(rgb(image))


@cache
def enlarged_coffee() -> WorkingImage:
    """Twelve megapixels."""
    return prepare(cv2.resize(skimage.data.coffee(), (4000, 3000), interpolation=cv2.INTER_CUBIC))


def coins() -> list[np.ndarray]:
    labels = skimage.io.imread(DATA / "coins.png")
    return [np.equal(labels, k) for k in range(1, labels.max() + 1)]


def outlined(photo: str, name: str) -> np.ndarray:
    objects = json.loads((DATA / "objects.json").read_text())["objects"]
    outline = next(o["outline"] for o in objects if (o["photo"], o["object"]) == (photo, name))
    mask = np.zeros(photograph(photo).image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], 1)
    return mask.astype(bool)


def deepest(mask: np.ndarray) -> tuple[float, float]:
    y, x = np.unravel_index(depths(mask).argmax(), mask.shape)
    return float(x), float(y)


def around(mask: np.ndarray) -> Box:
    ys, xs = np.nonzero(mask)
    return Box(float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.count_nonzero(a & b) / np.count_nonzero(a | b))


def best(working: WorkingImage, *points: Point, box: Box | None = None, mask: np.ndarray | None = None) -> np.ndarray:
    proposal = propose(working, Prompt(points, box, mask))[0]
    assert proposal.mask.shape == working.image.shape[:2] and proposal.mask.dtype == bool
    assert 0 <= proposal.score <= 1
    return proposal.mask


def pixel(point: Point, working: WorkingImage) -> tuple[int, int]:
    height, width = working.image.shape[:2]
    return min(int(point.y), height - 1), min(int(point.x), width - 1)


def assert_promises(working: WorkingImage, mask: np.ndarray, points: list[Point]) -> None:
    """Clicks are obeyed (the positive one where both hit the same pixel), and every part holds a positive click."""
    on = {pixel(p, working) for p in points if p.positive}
    off = {pixel(p, working) for p in points if not p.positive} - on
    assert all(mask[p] for p in on)
    assert not any(mask[p] for p in off)
    parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1]
    assert set(np.unique(parts)) - {0} == {parts[p] for p in on}


def test_every_coin_comes_from_one_click() -> None:
    """The figure that the issue asks for: mean IoU of at least 0.90, from one click at each coin's deepest point."""
    working = photograph("coins")
    scores = [iou(best(working, Point(*deepest(coin))), coin) for coin in coins()]
    assert len(scores) == 24
    assert np.mean(scores) >= 0.95, scores
    assert min(scores) >= 0.85, scores


@pytest.mark.parametrize(
    ("photo", "name", "least"),
    [
        ("astronaut", "mission patch", 0.9),
        ("astronaut", "face", 0.9),
        ("motorcycle", "lower box", 0.9),
        ("chelsea", "left eye", 0.85),
        ("coffee", "spoon bowl", 0.85),
    ],
)
def test_a_box_finds_objects_of_photographs(photo: str, name: str, least: float) -> None:
    """The smart box: GrabCut and the others stay inside the box and find what fills it."""
    truth = outlined(photo, name)
    box = around(truth)
    mask = best(photograph(photo), box=box)
    assert iou(mask, truth) >= least
    x0, y0, x1, y1 = map(int, box)
    assert not np.delete(np.delete(mask, np.s_[y0:y1], 0), np.s_[:0], 1).any()
    assert not np.delete(mask, np.s_[x0:x1], 1).any()


@pytest.mark.parametrize(
    ("photo", "name", "least"),
    [("astronaut", "hair", 0.9), ("astronaut", "suit", 0.88), ("motorcycle", "seat", 0.87)],
)
def test_further_clicks_mend_what_the_first_got_wrong(photo: str, name: str, least: float) -> None:
    """The refinement loop: a click at the deepest place of the larger error helps and spoils nothing."""
    working, truth = photograph(photo), outlined(photo, name)
    points, scores = [Point(*deepest(truth))], []
    for _ in range(3):
        mask = best(working, *points)
        scores.append(iou(mask, truth))
        missing, surplus = truth & ~mask, mask & ~truth
        more = depths(missing).max() >= depths(surplus).max()
        points.append(Point(*deepest(missing if more else surplus), positive=bool(more)))
    assert scores[0] < least <= scores[-1]
    assert all(after > before - 0.02 for before, after in zip(scores, scores[1:], strict=False))


def test_a_negative_click_removes_what_it_points_at() -> None:
    """From a rough mask that holds two coins, one negative click leaves the other coin whole."""
    working, one, other = photograph("coins"), coins()[0], coins()[3]
    mask = best(working, Point(*deepest(one)), Point(*deepest(other), positive=False), mask=one | other)
    assert iou(mask, one) > 0.9


def test_a_rough_mask_is_mended() -> None:
    """A mask shifted by a few pixels comes back on the edges of the coin, without any click."""
    working, coin = photograph("coins"), coins()[0]
    rough = np.roll(coin, (4, 5), (0, 1))
    assert iou(best(working, mask=rough), coin) > max(0.93, iou(rough, coin))


clicks = st.builds(Point, st.floats(0, 1), st.floats(0, 1), st.booleans())


@settings(max_examples=16, deadline=None)
@given(st.sampled_from(["coins", "chelsea", "motorcycle"]), st.lists(clicks, min_size=1, max_size=4))
def test_clicks_are_obeyed_wherever_they_fall(photo: str, places: list[Point]) -> None:
    """Random clicks on photographs, the far edge and repeated pixels included."""
    working = photograph(photo)
    height, width = working.image.shape[:2]
    points = [Point(p.x * width, p.y * height, p.positive) for p in places]
    points[0] = points[0]._replace(positive=True)
    assert_promises(working, best(working, *points), points)


@settings(max_examples=12, deadline=None)
@given(st.tuples(*[st.floats(-0.2, 1.2)] * 4), st.lists(clicks, max_size=2))
@example((0.0, 0.0, 0.5, -0.125), [])
def test_the_mask_stays_in_the_box(corners: tuple[float, float, float, float], places: list[Point]) -> None:
    """Boxes of all sizes, some beyond the picture; a positive click outside stretches the box as far as itself."""
    working = photograph("coffee")
    height, width = working.image.shape[:2]
    xs, ys = sorted((corners[0] * width, corners[1] * width)), sorted((corners[2] * height, corners[3] * height))
    box = Box(xs[0], ys[0], xs[1] + 1, ys[1] + 1)
    points = [Point(p.x * width, p.y * height, p.positive) for p in places]
    prompt = Prompt(tuple(points), box)
    try:
        prompt.check(height, width)
    except PromptError:
        return
    mask = propose(working, prompt)[0].mask
    rows, columns = np.nonzero(mask)
    on = [pixel(p, working) for p in points if p.positive]
    assert mask.any() or len(places) > len(on)
    assert (rows >= min([int(box.y0), *(y for y, _ in on)])).all()
    assert (rows <= max([box.y1, *(y for y, _ in on)])).all()
    assert (columns >= min([int(box.x0), *(x for _, x in on)])).all()
    assert (columns <= max([box.x1, *(x for _, x in on)])).all()
    if on:
        assert_promises(working, mask, points)


@pytest.mark.parametrize(("height", "width"), TINY)
@pytest.mark.parametrize("fill", ["black", "noise", "halves"])
def test_small_and_flat_images(height: int, width: int, fill: str) -> None:
    """One pixel, one row, one colour: nothing to see, and still a mask with the click in it, by click and by box."""
    image: np.ndarray = np.zeros((height, width, 3), np.uint8)
    if fill == "noise":
        image = np.random.default_rng(0).integers(0, 256, image.shape, dtype=np.uint8)
    if fill == "halves":
        image[:, width // 2 :] = 255
    working = prepare(image)
    corners = [Point(0, 0), Point(width, height, False)]
    assert_promises(working, best(working, *corners), corners)
    assert best(working, box=Box(0, 0, width, height)).any()
    assert best(working, mask=np.ones((height, width), bool)).any()


def test_contradictory_clicks_on_one_pixel() -> None:
    """The positive click wins, in whichever order they came."""
    working = photograph("chelsea")
    for points in ([Point(200, 100), Point(200, 100, False)], [Point(200, 100, False), Point(200.4, 100.4)]):
        assert best(working, *points)[100, 200]


def test_the_same_prompt_gives_the_same_mask() -> None:
    """Also when the earlier clicks were asked about before, and on an image prepared anew."""
    points = [Point(295, 160), Point(330, 60), Point(100, 100, False)]
    stepwise, at_once = photograph("coffee"), prepare(skimage.data.coffee())
    for n in range(1, len(points)):
        best(stepwise, *points[:n])
    assert np.array_equal(best(stepwise, *points), best(at_once, *points))
    assert np.array_equal(best(at_once, *points), best(at_once, *points))


def test_large_images_get_masks_at_their_own_size() -> None:
    """Twelve megapixels: the spoon's outline is followed at full size, not scaled up from the working size."""
    working = enlarged_coffee()
    truth = cv2.resize(outlined("coffee", "spoon bowl").astype(np.uint8), (4000, 3000)).astype(bool)
    mask = best(working, box=around(truth))
    assert iou(mask, truth) > 0.85
    assert working.nbytes < 3 * working.image.nbytes
    # A mask scaled up from 320 pixels would have outlines in steps of about ten pixels.
    steps = np.abs(np.diff(mask.argmax(axis=1)[mask.any(axis=1)]))
    assert np.median(steps[steps > 0]) <= 3


def test_alternatives_differ() -> None:
    """With a higher count the runners-up come too, each clearly another answer."""
    masks = [p.mask for p in propose(photograph("coffee"), Prompt((Point(295, 160),)), count=3)]
    assert len(masks) == 3
    assert all(iou(a, b) < 0.9 for i, a in enumerate(masks) for b in masks[:i])


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
    ids=["grey", "alpha", "float", "empty"],
)
def test_what_is_not_an_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="expected uint8"):
        prepare(image)


def test_a_prompt_outside_the_image_is_refused() -> None:
    with pytest.raises(PromptError, match="outside"):
        propose(photograph("coins"), Prompt((Point(9999, 5),)))


def test_candidates_are_enlarged_when_they_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a large photograph, bringing a mask to the full size takes longer than finding it: nobody waits for others."""
    made: list[int] = []
    enlarge = steps.enlarge
    monkeypatch.setattr(steps, "enlarge", lambda *args: (made.append(1), enlarge(*args))[1])
    found = propose(photograph("coffee"), Prompt((Point(295, 160),)))
    assert len(found) > 1 and not made
    assert found[0] is found[0] and len(made) == 1
    assert [c.score for c in found[:2]] == [found[0].score, found[-len(found) + 1].score] and len(made) == 2


def test_a_late_click_does_not_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a few answers are remembered, and the last is enough: the tenth click costs no more than the second."""
    working, points, amended = prepare(skimage.data.chelsea()), [], []
    amend = steps._amend
    monkeypatch.setattr(steps, "_amend", lambda *args: (amended.append(1), amend(*args))[1])
    for k in range(10):
        points.append(Point(60 + 30 * k, 150, k % 2 == 0))
        propose(working, Prompt(tuple(points)))
        assert len(amended) == k
