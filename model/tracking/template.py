"""What an object looked like, and how well a place in another frame looks like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np

from model.tracking.matching import squared_distances

SIDE = 96
"""Longest side of a template, in its own pixels."""

MARGIN = 0.12
"""Surroundings that a template holds on each side, relative to the object: registration needs its outline."""

ROUNDS, LEAST_GAIN = 12, 1e-3
"""When registration stops: iterations, and what the correlation must gain in one."""

UNLIKE = 14.0
"""How far, in Lab units, a pixel may be from the template's to count as the object's still."""

PLAIN = 3.0
"""Standard deviation of lightness, in Lab units, under which there is no pattern."""

RING = (2, 5)
"""Where the surroundings of an object are looked at, in pixels of a template from its edge."""

SPILL_WEIGHT = 0.5
"""What a place loses at most for surroundings that look like the object."""

SURE = 0.9
"""Worth of a place from which no other is looked for."""

SHEAR = 0.03
"""How much better an object must look for being skewed: most things turn and grow, and what looks skewed is a slip."""

AROUND = 24
"""How far around a place is searched, in pixels of a template."""

COARSE = 3
"""Pixels of a template to one of the search."""

Pose = np.ndarray
"""float64 (2, 3): from pixels of a template to pixels of a frame, both with centres at whole numbers."""


@dataclass(frozen=True, eq=False)
class Template:
    """An object as it was on one frame.

    lab:   float32 (h, w, 3), CIE Lab, lightly smoothed.
    inner: bool (h, w), the object.
    mask:  float32 (H', W'), the object's outline at the frame's own resolution.
    place: Pose, where the template was on its frame.
    fine:  Pose, from the pixels of `mask` to those of the template.
    """

    lab: np.ndarray
    inner: np.ndarray
    mask: np.ndarray
    place: Pose
    fine: Pose

    @cached_property
    def plain(self) -> bool:
        """Whether the object has no pattern to speak of."""
        return float(self.lab[..., 0][self.inner].std()) < PLAIN

    @cached_property
    def around(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixels around the object that did not look like it, int (n,) in the order of a flattened template, and the
        colours it has nearest to each, float32 (n, 3)."""
        _, labels = cv2.distanceTransformWithLabels(
            (~self.inner).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        colours = np.zeros((int(labels.max()) + 1, 3), np.float32)
        colours[labels[self.inner]] = self.lab[self.inner]
        nearest = colours[labels]
        on = self.inner.astype(np.uint8)
        near, far = (cv2.dilate(on, np.ones((2 * r + 1, 2 * r + 1), np.uint8)) for r in RING)
        differs = np.sqrt(_squares(self.lab - nearest)) > UNLIKE
        ring = np.flatnonzero((far > near) & differs)
        return ring, nearest.reshape(-1, 3)[ring]

    @cached_property
    def own(self) -> np.ndarray:
        """int (n,), the object's pixels, in the order of a flattened template."""
        return np.flatnonzero(self.inner)

    @cached_property
    def pattern(self) -> tuple[np.ndarray, float]:
        """float32 (n,), how light the object's pixels are, about their mean; and the sum of its squares."""
        light = self.lab[..., 0].ravel()[self.own]
        about = light - light.mean()
        return about, about @ about

    @cached_property
    def held(self) -> np.ndarray:
        """uint8 (h, w), 1 on the object and its outline, by which it is registered."""
        return cv2.dilate(self.inner.astype(np.uint8), np.ones((3, 3), np.uint8))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as OpenCV takes them."""
        return self.lab.shape[1], self.lab.shape[0]


@dataclass(frozen=True, eq=False)
class Likeness:
    """How a place looks beside a template.

    correlation: of lightness on the object, -1..1.
    seen:        bool (h, w), the object's pixels that look as they did.
    share:       of the object's pixels that do, 0..1.
    spill:       of what lies around the object, the share that looks like the object and did not, 0..1: a template that
                 is too small fits anywhere inside.
    """

    correlation: float
    seen: np.ndarray
    share: float
    spill: float

    @property
    def worth(self) -> float:
        """By which places are compared, 0..1."""
        return self.share * (1 + self.correlation) / 2 * (1 - SPILL_WEIGHT * self.spill)


def take(image: np.ndarray, mask: np.ndarray) -> Template:
    """The template of a mask, bool (H, W), that is not empty, on uint8 (H, W, 3) RGB."""
    x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
    room = max(2, round(MARGIN * max(w, h)))
    height, width = mask.shape
    x0, y0, x1, y1 = max(0, x - room), max(0, y - room), min(width, x + w + room), min(height, y + h + room)
    scale = min(1.0, SIDE / max(x1 - x0, y1 - y0))
    size = (max(4, round((x1 - x0) * scale)), max(4, round((y1 - y0) * scale)))
    sx, sy = (x1 - x0) / size[0], (y1 - y0) / size[1]
    crop = np.ascontiguousarray(mask[y0:y1, x0:x1]).astype(np.float32)
    small = cv2.resize(image[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA)
    covered = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    place = np.array([[sx, 0, x0 + sx / 2 - 0.5], [0, sy, y0 + sy / 2 - 0.5]])
    fine = np.array([[1 / sx, 0, 0.5 / sx - 0.5], [0, 1 / sy, 0.5 / sy - 0.5]])
    inner = covered > 0.5
    return Template(_lab(small), inner if inner.any() else covered >= covered.max(), crop, place, fine)


def view(image: np.ndarray, pose: Pose, size: tuple[int, int]) -> np.ndarray:
    """The frame as the template would show it at a pose: Lab, float32 (h, w, 3)."""
    scale = float(np.sqrt(abs(np.linalg.det(pose[:, :2]))))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if scale < 1.5:
        return _lab(cv2.warpAffine(image, pose, size, flags=flags, borderMode=cv2.BORDER_REPLICATE))
    # Pixels of the template are averages of several: first at a finer grid, then by area.
    fold = min(4, round(scale))
    fine = pose.copy()
    fine[:, :2] /= fold
    fine[:, 2] -= fine[:, :2] @ np.full(2, (fold - 1) / 2)
    large = cv2.warpAffine(image, fine, (size[0] * fold, size[1] * fold), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return _lab(cv2.resize(large, size, interpolation=cv2.INTER_AREA))


def register(template: Template, image: np.ndarray, guesses: Sequence[Pose]) -> tuple[Pose, Likeness]:
    """The pose near one of `guesses` at which the frame looks most like the template, and how much it does there.

    Where the guesses are not good, what is around the first one is searched too. By enhanced correlation (Evangelidis
    and Psarakis 2008), which minds neither brightness nor contrast.
    """
    best = max((_at(template, image, guess) for guess in guesses), key=_worth)
    if best.likeness.worth < SURE:
        best = max([best, *(_at(template, image, each) for each in around(template, image, guesses[0]))], key=_worth)
    for kind in (cv2.MOTION_EUCLIDEAN, cv2.MOTION_AFFINE):
        if (shift := _shift(template, best.shown, kind)) is None:
            continue
        moved = compose(best.pose, shift)
        best = max(best, _at(template, image, moved), key=_worth)
        if kind == cv2.MOTION_AFFINE:
            stiff = _at(template, image, _stiff(moved, template))
            best = stiff if stiff.likeness.worth > best.likeness.worth - SHEAR else best
    return best.pose, best.likeness


def _stiff(pose: Pose, template: Template) -> Pose:
    """The pose without shear that is nearest, about the template's middle."""
    a, b, c, d = pose[:, :2].ravel()
    linear = np.array([[a + d, b - c], [c - b, a + d]]) / 2
    # A template's pixels need not be square on its own frame.
    linear = linear * (np.linalg.norm(template.place[:, :2], axis=0) / np.sqrt(np.linalg.det(template.place[:, :2])))
    middle = (np.array(template.size) - 1) / 2
    return np.hstack([linear, (pose[:, :2] @ middle + pose[:, 2] - linear @ middle)[:, None]])


def around(template: Template, image: np.ndarray, pose: Pose) -> list[Pose]:
    """Where near a pose a frame looks like the template, if only its place is different."""
    room = AROUND
    wide = pose.copy()
    wide[:, 2] -= pose[:, :2] @ np.full(2, float(room))
    shown = view(image, wide, (template.size[0] + 2 * room, template.size[1] + 2 * room))
    large, small = (
        cv2.resize(each, None, fx=1 / COARSE, fy=1 / COARSE, interpolation=cv2.INTER_AREA)
        for each in (shown, template.lab)
    )
    inner = cv2.resize(template.inner.astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_AREA)
    x, y = cv2.minMaxLoc(squared_distances(large, small, inner))[2]
    found = pose.copy()
    found[:, 2] += pose[:, :2] @ (COARSE * np.array([x, y]) - room)
    return [found]


def look(template: Template, image: np.ndarray, pose: Pose) -> Likeness:
    """How much a frame looks like the template at a pose."""
    return compare(template, view(image, pose, template.size))


class _Place(NamedTuple):
    """A pose, what is seen there (see `view`), and how much it looks like the template."""

    pose: Pose
    shown: np.ndarray
    likeness: Likeness


def _at(template: Template, image: np.ndarray, pose: Pose) -> _Place:
    shown = view(image, pose, template.size)
    return _Place(pose, shown, compare(template, shown))


def _worth(place: _Place) -> float:
    return place.likeness.worth


def _shift(template: Template, shown: np.ndarray, kind: int) -> Pose | None:
    """How a view must move to look most like the template; None where that cannot be told."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ROUNDS, LEAST_GAIN)
    start = np.eye(2, 3, dtype=np.float32)
    try:
        _, shift = cv2.findTransformECC(template.lab[..., 0], shown[..., 0], start, kind, criteria, template.held, 3)
    except cv2.error:  # it does not converge where there is nothing to hold on to
        return None
    return shift.astype(np.float64) if _plausible(shift) else None


def compare(template: Template, shown: np.ndarray) -> Likeness:
    """How much of the object a view shows."""
    own, off = template.own, shown - template.lab
    # Light changes from frame to frame; the object's own differences stay.
    drift = np.clip(np.median(off.reshape(-1, 3)[own].T.copy(), axis=1), -UNLIKE, UNLIKE)
    far = cv2.blur(np.sqrt(_squares(off - drift)), (3, 3))
    seen = template.inner & (far < UNLIKE)
    ring, nearest = template.around
    spills = np.sqrt(_squares(shown.reshape(-1, 3)[ring] - nearest - drift)) < UNLIKE
    light = shown[..., 0].ravel()[own]
    (u, length), v = template.pattern, light - light.mean()
    norm = float(np.sqrt(length * (v @ v)))
    return Likeness(
        float(u @ v) / norm if norm > 1e-6 else 0.0,
        seen,
        np.count_nonzero(seen) / len(own),
        np.count_nonzero(spills) / len(ring) if len(ring) else 0.0,
    )


def _squares(colours: np.ndarray) -> np.ndarray:
    """The sum of the squares of three channels, float32 (…, 3)."""
    squares = colours * colours
    return squares[..., 0] + squares[..., 1] + squares[..., 2]


def paint(template: Template, pose: Pose, seen: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The object's mask on a frame of that shape, bool (H, W): its outline at a pose, less what is hidden."""
    size = (shape[1], shape[0])
    soft = cv2.warpAffine(template.mask, compose(pose, template.fine), size, flags=cv2.INTER_LINEAR)
    hidden = template.inner & ~seen
    if not hidden.any():
        return soft > 0.5
    gone = cv2.warpAffine(hidden.astype(np.float32), pose, size, flags=cv2.INTER_LINEAR)
    return (soft > 0.5) & (gone < 0.5)


def compose(outer: Pose, inner: Pose) -> Pose:
    """`inner` first, then `outer`."""
    return np.hstack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]])


def _plausible(shift: np.ndarray) -> bool:
    """Whether a change of pose from one frame to the next is one that things make."""
    stretch = np.linalg.svd(shift[:, :2], compute_uv=False)
    return bool(stretch[0] < 1.25 and stretch[-1] > 0.8 and np.abs(shift[:, 2]).max() < SIDE / 2)


def _lab(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab), (3, 3), 0)
