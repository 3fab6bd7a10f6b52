"""What a language model reads of an object in a clip: tokens of some of its frames, gathered one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model import close_up
from model import sam as sam2
from model.errors import TrackError
from model.pam import IMAGES_PER_PASS, PAM
from model.perceiver import FULL, QUARTER
from model.sam import SamOutput
from model.trajectory import Spot, describe, spot

CHOSEN = 16
"""Frames of a clip that the language model sees."""


def choose_frames(count: int) -> tuple[int, ...]:
    """Which of a clip's frames the language model sees: the first and 15 others, spread evenly.

    All of them where there are fewer than 16, which the official code refuses. Raises TrackError for an empty clip.
    """
    if count < 1:
        raise TrackError("the clip has no frames")
    if count <= CHOSEN:
        return tuple(range(count))
    return (0, *(int(i) for i in np.linspace(1, count - 1, CHOSEN - 1, dtype=int)))


@dataclass(frozen=True, eq=False)
class _Glance:
    """A frame that is yet to be encoded: float32 (3, S, S), as SAM 2 takes it, and (1, S/4, S/4), its mask prompt."""

    pixels: Tensor
    mask: Tensor


class Reading:
    """An object's frames as they are gathered, in their order.

    A frame whose mask the decoder found is read as the decoder saw it; of others the decoder is shown the mask as its
    prompt, on the frame alone, when the reading is done. Models with close-ups (nano) read that of the frame which
    shows the object best, in full, then all frames at a quarter, and, where there are several, a token for the object's
    way through them (see model/trajectory.py); others the first frame in full.
    """

    def __init__(self, pam: PAM):
        self._pam = pam
        self._frames: list[Tensor | _Glance] = []
        self._spots: list[Spot] = []
        self._best: tuple[float, np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def show(self, image: np.ndarray, mask: np.ndarray, score: float = 1.0) -> None:
        """A frame, uint8 (H, W, 3), that may become the close-up; its mask, bool (H, W), and how good that is."""
        if not self._pam.config.close_up:
            return
        worth = score * float(np.sqrt(mask.sum()))
        if self._best is None or worth > self._best[0]:
            self._best = worth, image, mask

    @torch.inference_mode()
    def add(self, image: np.ndarray, mask: np.ndarray, output: SamOutput | None = None) -> None:
        """The next frame that is kept; output: of the decoder that found the mask, if one did."""
        self._spots.append(spot(mask))
        if output is not None:
            self._frames.append(self._tokens(output, first=not self._frames)[0])
            return
        size = self._pam.image_size
        pixels = sam2.preprocess(image, size)
        self._frames.append(_Glance(pixels, sam2.mask_logits(mask, (size // 4, size // 4))))

    def thin(self) -> None:
        """Forget every second frame."""
        del self._frames[1::2], self._spots[1::2]

    @torch.inference_mode()
    def visual(self) -> Tensor:
        """What stands for the clip, its frames chosen by `choose_frames`: float (1, V, hidden).

        Raises TrackError where there are none.
        """
        chosen = choose_frames(len(self._frames))
        close = [self._close_up(*self._best[1:])] if self._best is not None else []
        way = [self._way([self._spots[i] for i in chosen])] if self._pam.config.close_up and len(chosen) > 1 else []
        return torch.cat([*close, *self._read([self._frames[i] for i in chosen]), *way])[None]

    def _read(self, chosen: Sequence[Tensor | _Glance]) -> list[Tensor]:
        rows = dict(enumerate(chosen))
        waiting = [place for place, frame in rows.items() if isinstance(frame, _Glance)]
        for start in range(0, len(waiting), IMAGES_PER_PASS):
            some = waiting[start : start + IMAGES_PER_PASS]
            output = self._decoded([frame for place in some if isinstance(frame := rows[place], _Glance)])
            for i, place in enumerate(some):
                rows[place] = self._tokens(output.row(i), first=place == 0)[0]
        return [row for row in rows.values() if isinstance(row, Tensor)]

    def _decoded(self, glances: Sequence[_Glance]) -> SamOutput:
        pam = self._pam
        like = pam.image_newline
        pixels, masks = (torch.stack([getattr(g, name) for g in glances]).to(like) for name in ("pixels", "mask"))
        return close_up.decode(pam.sam, pixels, masks)

    def _tokens(self, output: SamOutput, *, first: bool) -> Tensor:
        full = first and not self._pam.config.close_up
        return self._pam.as_frame(self._pam.perceiver(output.image, output.tokens, FULL if full else QUARTER))

    def _way(self, spots: Sequence[Spot]) -> Tensor:
        numbers = torch.from_numpy(describe(spots)).to(self._pam.image_newline)
        return self._pam.trajectory_projector(numbers[None])

    def _close_up(self, image: np.ndarray, mask: np.ndarray) -> Tensor:
        output, outlines = close_up.look(self._pam, [(image, mask)])
        return self._pam.as_frame((*self._pam.perceiver(output.image, output.tokens, FULL), outlines))[0]


def read(pam: PAM, seen: Iterable[tuple[np.ndarray, np.ndarray]]) -> Tensor:
    """What stands for a clip whose masks are known, float (1, V, hidden).

    seen: a picture, uint8 (H, W, 3) RGB, and the object's mask there, bool (H, W), for each frame that a model is to
    see, in their order. Raises TrackError where there are none.
    """
    reading = Reading(pam)
    for image, mask in seen:
        reading.add(image, mask)
        reading.show(image, mask)
    return reading.visual()
