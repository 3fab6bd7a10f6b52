"""Objects followed by SAM 2's memory, all that were prompted on one frame together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from model import sam as sam2
from model import video
from model.errors import TrackError
from model.frame_encoder import FrameEncoder, FrameFeatures
from model.pam import PAM
from model.prompt import Prompt
from model.sam import MASK_PROMPT_SCALE, SamFeatures, SamOutput
from model.segmentation import EncodedImage
from model.segmenting import LOGIT_BOUND
from model.tracking.masks import TrackedMask
from model.video import Track


@dataclass(eq=False)
class Group:
    """Objects that were prompted on the same frames: their memories are of one age, and go through SAM 2 as a batch.

    output: what SAM 2's decoder said of them on the last frame.
    """

    keys: list[Hashable]
    track: Track
    output: SamOutput


class MemoryFollower:
    """See `model.tracking.tracker.Follower`."""

    def __init__(self, pam: PAM, length: int | None):
        self._pam, self._length = pam, length
        self._encode = FrameEncoder(pam.sam)
        self._groups: list[Group] = []

    @property
    def outputs(self) -> dict[Hashable, SamOutput]:
        """See `Follower`."""
        return {key: group.output.row(row) for group in self._groups for row, key in enumerate(group.keys)}

    @torch.inference_mode()
    def step(self, image: np.ndarray, prompts: Mapping[Hashable, Prompt], elapsed: int) -> dict[Hashable, TrackedMask]:
        """See `Follower.step`. The image is encoded once, however many objects there are."""
        pam = self._pam
        pixels = sam2.preprocess(image, pam.image_size).to(pam.device, pam.image_newline.dtype)[None]
        frame = self._encode(pixels)
        prompted = {key: self._prompted(frame, image, key, prompt, elapsed) for key, prompt in prompts.items()}
        begun = self._anchored(frame, prompted, elapsed)
        for group in self._groups:
            group.output = group.track.step(frame, elapsed)
        self._groups += begun
        found = {
            key: mask
            for group in self._groups
            for key, mask in zip(group.keys, _masks(group.output, *image.shape[:2]), strict=True)
        }
        for key, prompt in prompts.items():
            if prompt.mask is not None and _is_whole(prompt):
                found[key] = replace(found[key], mask=prompt.mask)
        return found

    def _anchored(self, frame: FrameFeatures, prompted: Mapping[Hashable, SamOutput], elapsed: int) -> list[Group]:
        """Groups of what was prompted on a frame, taken out of those that they were in."""
        begun = []
        for group in list(self._groups):
            keys = [key for key in group.keys if key in prompted]
            if keys:
                track = group.track.of([group.keys.index(key) for key in keys])
                output = SamOutput.together([prompted[key] for key in keys])
                track.mend(frame, output, elapsed)
                begun.append(Group(keys, track, output))
                for key in keys:
                    self.forget(key)
        known = {key for group in begun for key in group.keys}
        new = [key for key in prompted if key not in known]
        if new:
            track, output = Track(self._pam.sam, self._length), SamOutput.together([prompted[key] for key in new])
            track.start(frame, output)
            begun.append(Group(new, track, output))
        return begun

    def follows(self, key: Hashable) -> bool:
        """See `Follower.follows`."""
        return any(key in group.keys for group in self._groups)

    def forget(self, key: Hashable) -> None:
        """See `Follower.forget`."""
        for group in self._groups:
            if key in group.keys:
                rows = [row for row, other in enumerate(group.keys) if other != key]
                if not rows:
                    self._groups.remove(group)
                    return
                group.keys = [group.keys[row] for row in rows]
                group.track, group.output = group.track.of(rows), group.output.rows(rows)
                return
        raise TrackError(f"{key} is not followed")

    def _prompted(
        self, frame: FrameFeatures, image: np.ndarray, key: Hashable, prompt: Prompt, elapsed: int
    ) -> SamOutput:
        """What SAM 2 makes of a prompt: on the frame alone, or for clicks on what is followed, of what it remembers."""
        height, width = image.shape[:2]
        followed = next((group for group in self._groups if key in group.keys), None)
        if followed is None or prompt.box is not None or prompt.mask is not None:
            encoded = EncodedImage(height, width, video.without_memory(self._pam.sam, frame), None)
            output = self._pam.segment(encoded, prompt).output
            return self._as_given(output, prompt.mask) if prompt.mask is not None and _is_whole(prompt) else output
        row = followed.keys.index(key)
        recalled = followed.track.recall(frame, elapsed)
        mine = SamFeatures(recalled.embedding[row : row + 1], recalled.fine)
        points, labels = sam2.prompt_tensors(
            prompt, height, width, self._pam.image_size, self._pam.device, mine.embedding.dtype
        )
        before = self._unprompted(mine).logits[:, :1].clamp(-LOGIT_BOUND, LOGIT_BOUND)
        return sam2.decode(self._pam.sam, mine, points, labels, before, one_image=False)

    def _unprompted(self, features: SamFeatures) -> SamOutput:
        size, place = self._pam.image_size, features.embedding
        points, labels = sam2.prompt_tensors(Prompt(), size, size, size, place.device, place.dtype)
        return sam2.decode(self._pam.sam, features, points, labels, None, one_image=False)

    def _as_given(self, output: SamOutput, mask: np.ndarray) -> SamOutput:
        """A mask that a person drew is the mask, as SAM 2 has it; the decoder only makes tokens of it."""
        drawn = sam2.mask_prompt(mask, self._pam.sam, self._pam.device).to(output.logits.dtype)
        return replace(
            output,
            logits=torch.cat([drawn, output.logits[:, 1:]], dim=1),
            iou=torch.cat([torch.ones_like(output.iou[:, :1]), output.iou[:, 1:]], dim=1),
            object_score=torch.full_like(output.object_score, MASK_PROMPT_SCALE),
        )


def _is_whole(prompt: Prompt) -> bool:
    return prompt.mask is not None and prompt.box is None and not prompt.points


def _masks(output: SamOutput, height: int, width: int) -> list[TrackedMask]:
    """Of each object, one after the other: at a frame's own size, all at once may be large."""
    shown, scores = output.visible_logits[:, :1], output.iou[:, 0].tolist()
    present = output.object_score[:, 0].float().sigmoid().tolist()
    return [
        TrackedMask((sam2.to_image_size(each[None], height, width)[0, 0] > 0).cpu().numpy(), score, there)
        for each, score, there in zip(shown, scores, present, strict=True)
    ]
