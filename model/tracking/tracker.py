"""Following objects frame by frame, and through a video."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

import numpy as np

from model.errors import ImageError, PromptError, TrackError
from model.frames import Frame, Frames, Stream
from model.pam import PAM
from model.prompt import Box, Prompt
from model.sam import SamOutput
from model.tracking.masks import FrameMasks, TrackedMask

Prompts = Mapping[Hashable, Prompt]

NOTHING: Mapping[int, Prompts] = MappingProxyType({})


class Follower(Protocol):
    """A way to follow objects.

    outputs: what SAM 2's decoder said of each object on the last frame, where it was asked.
    """

    @property
    def outputs(self) -> dict[Hashable, SamOutput]: ...

    def step(self, image: np.ndarray, prompts: Prompts, elapsed: int) -> dict[Hashable, TrackedMask]:
        """Find all objects on the next frame, uint8 (H, W, 3), `elapsed` frames after the last one; those with a prompt
        as it says."""

    def follows(self, key: Hashable) -> bool:
        """Whether an object was prompted, and not forgotten."""

    def forget(self, key: Hashable) -> None:
        """Follow one no more."""


class Tracker:
    """Follows objects through frames that are brought one by one, in the order of the walk (backward works alike).

    An object begins where it is first prompted. A later prompt corrects it, and the track goes on from there: a box or
    a mask says anew what is meant (a mask alone is taken as it is), clicks alone mend what was followed to this frame.
    What it was prompted as before stays remembered, on a bounded number of frames. Not thread-safe.
    """

    def __init__(self, pam: PAM, length: int | None = None):
        """length: of a short clip in frames, see `model.video.Track`; None for all else."""
        if pam.config.proposals:
            from model.tracking.motion import MotionFollower  # other models do without what it imports

            self._follower: Follower = MotionFollower(pam)
        else:
            from model.tracking.memory import MemoryFollower

            self._follower = MemoryFollower(pam, length)
        self._size: tuple[int, ...] | None = None
        self._index: int | None = None

    @property
    def outputs(self) -> Mapping[Hashable, SamOutput]:
        """What SAM 2's decoder said of each object on the last frame; empty for models that follow without it."""
        return self._follower.outputs

    def step(self, frame: Frame, prompts: Prompts | None = None) -> FrameMasks:
        """Find all objects on the next frame.

        prompts: for objects that begin or are corrected here. Raises ImageError for a frame of another size than those
        before it, PromptError for a prompt that means nothing on it; then nothing has happened.
        """
        image = frame.image
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ImageError(f"frame {frame.index} is {image.dtype} {image.shape}, expected uint8 (height, width, 3)")
        if self._size is not None and image.shape != self._size:
            raise ImageError(f"frame {frame.index} of the clip is {image.shape[:2]}, the first one is {self._size[:2]}")
        for key, prompt in (prompts or {}).items():
            mends = prompt.points and prompt.box is None and prompt.mask is None and self._follower.follows(key)
            # A negative click means something where a mask stands.
            checked = replace(prompt, box=Box(0, 0, image.shape[1], image.shape[0])) if mends else prompt
            try:
                checked.check(*image.shape[:2])
            except PromptError as error:
                raise PromptError(f"{key} on frame {frame.index}: {error}") from error
        elapsed = 1 if self._index is None else max(1, abs(frame.index - self._index))
        self._size, self._index = image.shape, frame.index
        return FrameMasks(frame.index, frame.time, self._follower.step(image, prompts or {}, elapsed))

    def forget(self, key: Hashable) -> None:
        """Follow an object no more. Raises TrackError for one that is not followed."""
        self._follower.forget(key)


def follow(
    pam: PAM,
    frames: Frames,
    anchors: Mapping[int, Prompts],
    start: int | None = None,
    stop: int | None = None,
    *,
    backward: bool = False,
    behind: Mapping[int, Prompts] = NOTHING,
    read_ahead: bool = True,
) -> Generator[FrameMasks, None, None]:
    """Follow objects through a video in one pass; one FrameMasks for every frame, in the order of the walk.

    anchors: prompts by the number of their frame. An object begins at the first of its prompts on the way and is
             corrected at each later one.
    start:   the first frame of the walk; by default the first anchored one (backward: the last).
    stop:    exclusive; by default the walk goes to the end (backward: through frame 0).
    behind:  prompts on frames before the walk (backward: after it), which the objects are remembered by too; no masks
             are given of these frames.
    read_ahead: whether a thread reads the next frame while the model looks at this one.
    Each `next` is the work of one frame: a lock around the model can be let go of in between, and closing the generator
    cancels. Raises TrackError for anchors that the walk does not meet, and what `Tracker.step` and the frames raise.
    """
    at = sorted(frame for frame, prompts in anchors.items() if prompts)
    if not at:
        raise TrackError("nothing to follow: give a prompt on at least one frame")
    start = (at[-1] if backward else at[0]) if start is None else start
    way = frames.steps(start, stop, -1 if backward else 1)
    if strays := [frame for frame in at if frame not in way]:
        raise TrackError(f"prompts on frames {strays} lie outside of the walk from {start} to {way.stop}")
    if strays := [frame for frame in behind if (start - frame) * way.step <= 0]:
        raise TrackError(f"frames {sorted(strays)} do not lie behind the walk from {start} to {way.stop}")
    # The pointers' ages count in fractions of a short clip, as SAM 2 was trained.
    tracker = Tracker(pam, len(way) if not behind else None)
    for index in sorted(behind, reverse=backward):
        tracker.step(frames.read(index), behind[index])
    walk = frames.walk(start, way.stop if way.stop >= 0 else None, way.step)
    with Stream(frames.name, walk, live=False, capacity=1) if read_ahead else nullcontext(walk) as coming:
        for frame in coming:
            yield tracker.step(frame, anchors.get(frame.index))
