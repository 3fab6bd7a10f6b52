"""Classical interactive segmentation, each method alone, from clicks or a box, by its usual recipe."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from skimage.filters import sobel
from skimage.segmentation import random_walker, watershed

from benchmarks.segment.annotator import Segmenter
from model.prompt import Prompt

SIDE = 200
"""Longest side, in pixels, at which the baselines work: at the full size the random walker takes minutes."""

TOLERANCE = 20.0
"""Lab units within which the flood fill goes on."""

CLICK_RADIUS = 3
GUESS = 12
"""GrabCut starts from discs around the clicks; their radius is one GUESS-th of the longer side."""


def baseline(method: Callable[[np.ndarray, np.ndarray, bool], np.ndarray], image: np.ndarray) -> Segmenter:
    """`method` on `image`, uint8 (H, W, 3), made small and its answer made large again."""
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    small = cv2.resize(
        image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )

    def segment(prompt: Prompt) -> np.ndarray:
        mask = method(small, _markers(prompt, small.shape[:2], scale), prompt.box is not None)
        return cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5

    return segment


def _markers(prompt: Prompt, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """int32 (h, w): 1 on the object, 2 off it, 0 unknown; a box says what lies outside, and its middle is on."""
    markers = np.zeros(shape, np.int32)
    if prompt.box is not None:
        x0, y0, x1, y1 = (round(v * scale) for v in prompt.box)
        markers[:] = 2
        markers[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)] = 0
        cv2.circle(markers, ((x0 + x1) // 2, (y0 + y1) // 2), max(1, min(x1 - x0, y1 - y0) // 8), 1, -1)
    for p in prompt.points:
        cv2.circle(markers, (int(p.x * scale), int(p.y * scale)), CLICK_RADIUS, 1 if p.positive else 2, -1)
    return markers


def _framed(markers: np.ndarray) -> np.ndarray:
    """`markers` with the frame off the object, unless something says off already."""
    if (markers == 2).any():
        return markers
    framed = markers.copy()
    for line in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        framed[line] = np.where(framed[line] == 0, 2, framed[line])
    return framed


def flood_fill(image: np.ndarray, markers: np.ndarray, boxed: bool) -> np.ndarray:
    """What hangs together with a click and has a colour like it, more than like one that was clicked away."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    on = markers == 1
    off = np.full(markers.shape, np.inf) if boxed else _colour_distance(lab, markers == 2)
    distance = _colour_distance(lab, on)
    near = on | ((distance < TOLERANCE) & (distance < off) & (markers != 2))
    parts = cv2.connectedComponents(near.astype(np.uint8), connectivity=4)[1]
    return near & np.isin(parts, np.unique(parts[on]))


def _colour_distance(lab: np.ndarray, clicked: np.ndarray) -> np.ndarray:
    """float (h, w): Lab units to the nearest of the median colours of the parts of `clicked`."""
    labels = cv2.connectedComponents(clicked.astype(np.uint8))[1]
    distance = np.full(labels.shape, np.inf)
    for k in range(1, labels.max() + 1):
        distance = np.minimum(distance, np.linalg.norm(lab - np.median(lab[labels == k], axis=0), axis=2))
    return distance


def grab_cut(image: np.ndarray, markers: np.ndarray, boxed: bool) -> np.ndarray:
    """Rother et al. 2004, five rounds."""
    on = (markers == 1).astype(np.uint8)
    if boxed:
        guess = markers != 2
    else:
        guess = cv2.distanceTransform(1 - on, cv2.DIST_L2, 3) < max(markers.shape) / GUESS
    trimap = np.where(guess, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[markers == 2] = cv2.GC_BGD
    if not boxed:
        trimap[markers == 1] = cv2.GC_FGD
    sides = np.count_nonzero(trimap % 2), np.count_nonzero(trimap % 2 == 0)
    if min(sides) < 10:  # OpenCV fits five Gaussians to each side, and refuses sides smaller than that
        return trimap % 2 == 1
    cv2.setRNGSeed(0)
    cv2.grabCut(image, trimap, None, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
    return trimap % 2 == 1


def marker_watershed(image: np.ndarray, markers: np.ndarray, boxed: bool) -> np.ndarray:
    """Watershed of the gradient between the clicks and the frame."""
    return watershed(sobel(image.astype(np.float32) / 255, axis=(0, 1)).max(axis=2), _framed(markers)) == 1


def walker(image: np.ndarray, markers: np.ndarray, boxed: bool) -> np.ndarray:
    """Grady 2006, as stiff as scikit-image has it by default."""
    return random_walker(image / 255, _framed(markers), mode="cg_j", channel_axis=2, tol=1e-3) == 1


BASELINES = {
    "flood fill": flood_fill,
    "GrabCut": grab_cut,
    "watershed": marker_watershed,
    "random walker": walker,
}
