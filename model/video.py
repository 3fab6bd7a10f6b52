"""SAM 2 over the frames of a video: an object is prompted once and then followed by memory, frame after frame."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from sam2.modeling.sam2_utils import get_1d_sine_pe
from torch import Tensor

from model import sam as sam2
from model.errors import TrackError
from model.frame_encoder import FrameFeatures
from model.prompt import Prompt
from model.recall import recall
from model.sam import SamFeatures, SamOutput

ANCHORS = 4
"""Prompted frames that are remembered, the latest, where the configuration sets no number. sam2 keeps all of them, and
memory would grow with every correction."""


@dataclass(frozen=True, eq=False)
class Memory:
    """What is kept of B objects on a frame.

    cells:   float (B, M, S/16, S/16), the frame with the masks in it.
    pointer: float (B, C), the objects themselves.
    """

    cells: Tensor
    pointer: Tensor

    def rows(self, kept: list[int]) -> Memory:
        """That of some of the objects."""
        return Memory(self.cells[kept], self.pointer[kept])


def without_memory(sam: Any, frame: FrameFeatures) -> SamFeatures:
    """The frame as an image of its own, for a prompt on it."""
    return SamFeatures(frame.coarse + sam.no_mem_embed.view(1, -1, 1, 1), frame.fine)


class Track:
    """Objects that were prompted on the same frames and are followed through those that come after.

    Frames come one at a time, in the order of the walk (backward works alike), and none is kept: the memory holds the
    last ANCHORS prompted frames, the features of the last 6 frames and the pointers of the last 15, however long the
    video.
    """

    def __init__(self, sam: Any, length: int | None = None):
        """length: of the clip in frames, the prompted one included; None for a long or endless video.

        The weights see the age of a pointer as a fraction of the clip where that is shorter than the 16 frames whose
        pointers are kept: that is how sam2 and the official code have it.
        """
        if length is not None and length < 1:
            raise TrackError(f"a clip of {length} frames cannot be followed: it needs at least one")
        self._sam = sam
        self._horizon = max(1, min(length or sam.max_obj_ptrs_in_encoder, sam.max_obj_ptrs_in_encoder) - 1)
        most = sam.max_cond_frames_in_attn
        self._anchors: deque[tuple[int, Memory]] = deque(maxlen=most if most > 0 else ANCHORS)
        self._now = 0
        self._cells: deque[Tensor] = deque(maxlen=sam.num_maskmem - 1)
        self._pointers: deque[Tensor] = deque(maxlen=self._horizon)

    @torch.inference_mode()
    def start(self, frame: FrameFeatures, output: SamOutput) -> None:
        """Begin, or begin anew, with objects prompted on a frame.

        output: what `sam.decode` said of B prompts on `without_memory(frame)`.
        """
        self._anchors.clear()
        self._now = 0
        self._anchor(frame, output)

    @torch.inference_mode()
    def mend(self, frame: FrameFeatures, output: SamOutput, elapsed: int = 1) -> None:
        """Go on with the same objects, prompted once more, `elapsed` frames after the last one.

        What they were prompted as before stays; what was found since does not, for it had gone astray.
        """
        self._now += elapsed
        self._anchor(frame, output)

    def _anchor(self, frame: FrameFeatures, output: SamOutput) -> None:
        self._anchors.append((self._now, remember(self._sam, frame, output, prompted=True)))
        self._cells.clear()
        self._pointers.clear()

    @torch.inference_mode()
    def step(self, frame: FrameFeatures, elapsed: int = 1) -> SamOutput:
        """Find the objects on the next frame, `elapsed` frames after the last one. Raises TrackError before `start`."""
        features = self.recall(frame, elapsed)
        self._now += elapsed
        size, place = self._sam.image_size, features.embedding
        points, labels = sam2.prompt_tensors(Prompt(), size, size, size, place.device, place.dtype)
        objects = len(place)
        output = sam2.decode(
            self._sam, features, points.expand(objects, -1, -1), labels.expand(objects, -1), None, one_image=False
        )
        memory = remember(self._sam, frame, output, prompted=False)
        self._cells.append(memory.cells)
        self._pointers.append(memory.pointer)
        return output

    def of(self, rows: Sequence[int]) -> Track:
        """The track of some of the objects, to be gone on with apart from this one."""
        kept, part = list(rows), copy.copy(self)
        part._anchors = deque(((at, memory.rows(kept)) for at, memory in self._anchors), self._anchors.maxlen)
        part._cells = deque((cells[kept] for cells in self._cells), self._cells.maxlen)
        part._pointers = deque((pointer[kept] for pointer in self._pointers), self._pointers.maxlen)
        return part

    @torch.inference_mode()
    def recall(self, frame: FrameFeatures, elapsed: int = 1) -> SamFeatures:
        """The next frame as memory sees it, once for each object; changes nothing. Raises TrackError before `start`."""
        if not self._anchors:
            raise TrackError("a track needs a prompted frame before it can follow: call start() first")
        return SamFeatures(self._recall(frame, elapsed), frame.fine)

    def _recall(self, frame: FrameFeatures, elapsed: int) -> Tensor:
        """The frame's features conditioned on memory, float (B, C, h, w)."""
        sam = self._sam
        cells, cell_places = self._cell_memory()
        pointers, pointer_places = self._pointer_memory(elapsed)
        # Position tables are float32; the features' dtype is the model's.
        position = sam.image_encoder.neck.position_encoding(frame.coarse).to(frame.coarse.dtype)
        seen = recall(
            sam.memory_attention,
            _sequence(frame.coarse),
            _sequence(position),
            torch.cat([cells, pointers], dim=1),
            torch.cat([cell_places, pointer_places], dim=1),
            pointers.shape[1],
        )
        return seen.transpose(1, 2).unflatten(2, frame.coarse.shape[-2:])

    def _cell_memory(self) -> tuple[Tensor, Tensor]:
        """Remembered features, (B, N*h*w, M), and their places in space and time, (1, N*h*w, M); prompted frames come
        first."""
        sam, anchored = self._sam, [memory.cells for _, memory in self._anchors]
        place = _sequence(sam.memory_encoder.position_encoding(anchored[0][:1]).to(anchored[0].dtype))
        # The table's last entry means a prompted frame, whatever its age; entry d - 1 means d frames ago.
        ages = [*[sam.num_maskmem - 1] * len(anchored), *range(len(self._cells) - 1, -1, -1)]
        return (
            torch.cat([_sequence(cells) for cells in (*anchored, *self._cells)], dim=1),
            torch.cat([place + sam.maskmem_tpos_enc[age] for age in ages], dim=1),
        )

    def _pointer_memory(self, elapsed: int) -> tuple[Tensor, Tensor]:
        """Object pointers cut into tokens, (B, N*C/M, M), and their ages encoded likewise, (1, N*C/M, M)."""
        sam = self._sam
        pointers = torch.stack([*(memory.pointer for _, memory in self._anchors), *reversed(self._pointers)], dim=1)
        prompted = [self._now + elapsed - at for at, _ in self._anchors]
        ages = torch.tensor([*prompted, *range(1, len(self._pointers) + 1)], device=pointers.device)
        encoded = get_1d_sine_pe(ages / self._horizon, dim=pointers.shape[-1]).to(pointers.dtype)
        pieces = pointers.shape[-1] // sam.mem_dim
        places = sam.obj_ptr_tpos_proj(encoded).repeat_interleave(pieces, dim=0)
        return pointers.unflatten(2, (pieces, sam.mem_dim)).flatten(1, 2), places[None]


def remember(sam: Any, frame: FrameFeatures, output: SamOutput, *, prompted: bool) -> Memory:
    """What to keep of B objects on a frame.

    Where the objects were prompted the mask is taken as a hard one, and what is remembered of it is rounded to
    bfloat16; on other frames neither is done. The published weights saw it so.
    """
    shown = output.visible_logits[:, :1].float()
    mask = F.interpolate(shown, size=(sam.image_size, sam.image_size), mode="bilinear", align_corners=False)
    mask = (mask > 0).float() if prompted else mask.sigmoid_()
    mask.mul_(sam.sigmoid_scale_for_mem_enc).add_(sam.sigmoid_bias_for_mem_enc)
    dtype = frame.coarse.dtype
    cells = sam.memory_encoder(frame.coarse, mask.to(dtype), skip_mask_sigmoid=True)["vision_features"]
    present = (output.object_score > 0).to(dtype)
    cells = cells + (1 - present)[:, :, None, None] * sam.no_obj_embed_spatial[:, :, None, None]
    if prompted:
        cells = cells.to(torch.bfloat16).to(dtype)
    return Memory(cells, pointer(sam, output))


def pointer(sam: Any, output: SamOutput) -> Tensor:
    """What is kept of B objects themselves, float (B, C): made from token 0, or the learned word for "not there"."""
    present = (output.object_score > 0).to(output.tokens.dtype)
    # The second of the language side's tokens is always token 0, the one whose mask is shown.
    return present * sam.obj_ptr_proj(output.tokens[:, 1]) + (1 - present) * sam.no_obj_ptr


def _sequence(maps: Tensor) -> Tensor:
    """(B, C, h, w) to (B, h*w, C)."""
    return maps.flatten(2).transpose(1, 2)
