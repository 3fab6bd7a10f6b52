"""Objects followed without a trained memory: by how they move, and by what they look like.

From one frame to the next dense optical flow (DIS, Kroeger et al. 2016) says how the object moved as a whole; its
template then settles there (template.py), so that small errors do not add up. What no longer looks like the template is
hidden. An object that is hidden, or has left, is searched for until it looks like itself again.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import torch

from model import proposals
from model.errors import TrackError
from model.pam import PAM
from model.prompt import Prompt
from model.sam import SamOutput
from model.tracking import template as templates
from model.tracking.masks import TrackedMask
from model.tracking.search import search
from model.tracking.template import Likeness, Pose, Template

FLOW_SIDE = 192
"""Longest side of the window in which motion is measured, in its own pixels."""

ROOM = 0.8
"""Surroundings of that window on each side, relative to the object."""

POINTS = 500
"""Pixels of the object whose motion is asked."""

GONE = 0.3
"""Share of the object that must look like itself for it to be there."""

KINSHIP = 0.2
"""Correlation that it must have too, where the object has any pattern: a plain wall may have its colours."""

FAMILIAR = 0.8
"""Share from which what is seen is sure enough to learn its motion from."""

HABIT = 0.1
"""How much better than where it was going a place must look for an object that is half hidden to be there: what hides
it moves too, and would take it along."""

CHANGED = 0.65
"""Share under which an object that is still followed has turned or changed, so that its outline is settled anew."""

LEAST_AGREEMENT = 0.7
"""IoU with the carried mask that a newly settled outline must have."""

REST = 8
"""Frames for which it must have changed: less is something that passes before it, and settling costs as much as many
frames."""

ANCHORS = 4
"""Prompts whose looks are remembered: an object that is lost may come back as any of them."""

PATIENCE = 5
"""Frames for which a hidden object is looked for where it was going before it is looked for everywhere."""


@dataclass(eq=False)
class Thing:
    """An object on the way.

    shown:   what the latest prompts showed, at most ANCHORS.
    latest:  what it looked like when its outline was last settled.
    pose:    of `latest` on the last frame.
    motion:  Pose, how it moved from frame to frame when it was last seen: without turning or growing, which a few
             hidden frames would carry far.
    lost:    frames since it was seen.
    changed: frames since it looked as it did.
    flow:    works out flow in memory of its own, as each thread must.
    """

    shown: tuple[Template, ...]
    latest: Template
    pose: Pose
    mask: np.ndarray
    motion: Pose = field(default_factory=lambda: np.eye(2, 3))
    lost: int = 0
    changed: int = 0
    flow: cv2.DISOpticalFlow = field(
        default_factory=lambda: cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST), repr=False
    )


class MotionFollower:
    """See `model.tracking.tracker.Follower`."""

    def __init__(self, pam: PAM):
        self._pam = pam
        self.outputs: dict[Hashable, SamOutput] = {}
        self._things: dict[Hashable, Thing] = {}
        self._before: np.ndarray | None = None

    def step(
        self, image: np.ndarray, prompts: Mapping[Hashable, Prompt], elapsed: int = 1
    ) -> dict[Hashable, TrackedMask]:
        """See `Follower.step`."""
        told = {key for key, prompt in prompts.items() if prompt.box is not None or prompt.mask is not None}
        found = self._followed({key: thing for key, thing in self._things.items() if key not in told}, image)
        for key, (mask, score) in self._prompted(image, prompts, found).items():
            template = templates.take(image, mask)
            before = self._things.get(key)
            shown = (*(before.shown if before else ()), template)[-ANCHORS:]
            self._things[key] = Thing(shown, template, template.place, mask)
            found[key] = TrackedMask(mask, score, 1.0)
        self._before = image
        return found

    def _followed(self, things: Mapping[Hashable, Thing], image: np.ndarray) -> dict[Hashable, TrackedMask]:
        """Each thing on the next frame. They have nothing to do with each other, and OpenCV lets other threads run."""
        threads = min(len(things), torch.get_num_threads())
        if threads < 2:
            return {key: self._follow(thing, image) for key, thing in things.items()}
        with ThreadPoolExecutor(threads) as pool:
            return dict(zip(things, pool.map(lambda thing: self._follow(thing, image), things.values()), strict=True))

    def _prompted(
        self, image: np.ndarray, prompts: Mapping[Hashable, Prompt], found: Mapping[Hashable, TrackedMask]
    ) -> dict[Hashable, tuple[np.ndarray, float]]:
        """Masks that prompts mean, and their scores."""
        said: dict[Hashable, tuple[np.ndarray, float]] = {}
        working: proposals.WorkingImage | None = None
        for key, prompt in prompts.items():
            before = found.get(key)
            if before is not None and prompt.box is None and prompt.mask is None:
                if before.visible:
                    prompt = replace(prompt, mask=before.mask)
                elif not any(point.positive for point in prompt.points):
                    continue  # it is not there, which is what the click says too
            if prompt.mask is not None and not prompt.points and prompt.box is None:
                said[key] = prompt.mask, 1.0
                continue
            working = working or self._pam.working(image)
            best = proposals.propose(working, prompt)[0]
            said[key] = best.mask, best.score
        return said

    def follows(self, key: Hashable) -> bool:
        """See `Follower.follows`."""
        return key in self._things

    def forget(self, key: Hashable) -> None:
        """See `Follower.forget`."""
        if self._things.pop(key, None) is None:
            raise TrackError(f"{key} is not followed")

    def _follow(self, thing: Thing, image: np.ndarray) -> TrackedMask:
        assert self._before is not None
        guess = templates.compose(thing.motion, thing.pose)
        guesses = [guess]
        if not thing.lost:
            guesses = [templates.compose(self._measured(thing, self._before, image), thing.pose), guess]
        pose, likeness = templates.register(thing.latest, image, guesses)
        if likeness.share < FAMILIAR:
            straight = templates.look(thing.latest, image, guess)
            if likeness.worth < straight.worth + HABIT:
                pose, likeness = guess, straight
        if not _is_there(thing.latest, likeness) or not _inside(thing.latest, pose, image.shape):
            return self._missed(thing, image, guess)
        if likeness.share > FAMILIAR:
            thing.motion = _shift(thing.latest, thing.pose, pose)
        thing.changed = thing.changed + 1 if likeness.share < CHANGED else 0
        found = self._seen(thing, image, pose, likeness)
        return self._settled(thing, image, found) if thing.changed >= REST else found

    def _settled(self, thing: Thing, image: np.ndarray, found: TrackedMask) -> TrackedMask:
        """An object that looks different by now, with the outline and the looks that it has now."""
        thing.changed = 0
        if (hit := search(thing.latest, image, thing.pose, lost=0, everywhere=True)) is not None:
            return self._seen(thing, image, *hit)  # it had held on to something else
        whole = templates.paint(thing.latest, thing.pose, thing.latest.inner, image.shape[:2])
        if not whole.any():
            return found
        x, y, w, h = cv2.boundingRect(whole.view(np.uint8))
        room = round(ROOM * max(w, h))
        rows, columns = slice(max(0, y - room), y + h + room), slice(max(0, x - room), x + w + room)
        carried = np.ascontiguousarray(whole[rows, columns])
        working = self._pam.working(np.ascontiguousarray(image[rows, columns]))
        best = proposals.propose(working, Prompt(mask=carried))[0]
        if (best.mask & carried).sum() < LEAST_AGREEMENT * (best.mask | carried).sum():
            return found
        mask = np.zeros(image.shape[:2], bool)
        mask[rows, columns] = best.mask
        thing.latest = templates.take(image, mask)
        thing.pose, thing.mask = thing.latest.place, mask
        return TrackedMask(mask, best.score, found.object_score)

    def _seen(self, thing: Thing, image: np.ndarray, pose: Pose, likeness: Likeness) -> TrackedMask:
        thing.pose, thing.lost = pose, 0
        thing.mask = templates.paint(thing.latest, pose, likeness.seen, image.shape[:2])
        score = float(np.clip(likeness.share * (0.5 + 0.5 * max(0.0, likeness.correlation)), 0, 1))
        return TrackedMask(thing.mask, score, float(np.clip(0.5 + likeness.share / 2, 0, 1)))

    def _missed(self, thing: Thing, image: np.ndarray, guess: Pose) -> TrackedMask:
        thing.lost += 1
        everywhere = thing.lost > PATIENCE
        places = [(thing.latest, thing.pose if everywhere else guess)]
        if everywhere and thing.lost % 2:  # it may have turned since, or turned back
            old = thing.shown[thing.lost // 2 % len(thing.shown)]
            places = [(old, old.place)]
        for template, last in places:
            if (hit := search(template, image, last, lost=thing.lost, everywhere=everywhere)) is not None:
                thing.latest = template
                thing.motion = np.eye(2, 3)
                return self._seen(thing, image, *hit)
        if thing.lost <= PATIENCE:
            thing.pose = guess
        thing.mask = np.zeros(image.shape[:2], bool)
        return TrackedMask(thing.mask, 0.0, max(0.05, 0.4 / thing.lost))

    def _measured(self, thing: Thing, before: np.ndarray, image: np.ndarray) -> Pose:
        """How the object moved, as a whole, from the frame before to this one."""
        x, y, w, h = cv2.boundingRect(thing.mask.view(np.uint8))
        if not w:
            return thing.motion
        room = round(ROOM * max(w, h)) + 8
        height, width = thing.mask.shape
        x0, y0, x1, y1 = max(0, x - room), max(0, y - room), min(width, x + w + room), min(height, y + h + room)
        scale = min(1.0, FLOW_SIDE / max(x1 - x0, y1 - y0))
        size = (max(16, round((x1 - x0) * scale)), max(16, round((y1 - y0) * scale)))
        a, b = (
            cv2.cvtColor(cv2.resize(each[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
            for each in (before, image)
        )
        flow = thing.flow.calc(a, b, None)
        on = cv2.resize(thing.mask[y0:y1, x0:x1].view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        ys, xs = np.nonzero(on)
        if len(xs) < 8:
            return thing.motion
        some = np.linspace(0, len(xs) - 1, min(POINTS, len(xs)), dtype=int)
        source = np.stack([xs[some], ys[some]], axis=1).astype(np.float32)
        target = source + flow[ys[some], xs[some]]
        found, _ = cv2.estimateAffinePartial2D(source, target, method=cv2.RANSAC, ransacReprojThreshold=1.0)
        if found is None:
            return thing.motion
        sx, sy = (x1 - x0) / size[0], (y1 - y0) / size[1]
        to_frame = np.array([[sx, 0, x0 + sx / 2 - 0.5], [0, sy, y0 + sy / 2 - 0.5]])
        return templates.compose(to_frame, templates.compose(found, _inverse(to_frame)))


def _shift(template: Template, before: Pose, after: Pose) -> Pose:
    """How the middle of an object moved."""
    middle = (np.array(template.size) - 1) / 2
    moved = (after[:, :2] - before[:, :2]) @ middle + after[:, 2] - before[:, 2]
    return np.hstack([np.eye(2), moved[:, None]])


def _is_there(template: Template, likeness: Likeness) -> bool:
    return likeness.share >= GONE and (likeness.correlation >= KINSHIP or template.plain)


def _inside(template: Template, pose: Pose, shape: tuple[int, ...]) -> bool:
    """Whether a good part of the object would be on the picture."""
    ys, xs = np.nonzero(template.inner)
    u, v = pose[:, :2] @ np.stack([xs, ys]) + pose[:, 2:]
    within = (u >= 0) & (v >= 0) & (u < shape[1]) & (v < shape[0])
    return bool(within.mean() > 0.15)


def _inverse(pose: Pose) -> Pose:
    return cv2.invertAffineTransform(pose)
