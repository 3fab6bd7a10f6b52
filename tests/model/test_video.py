"""Objects followed through frames: the arithmetic of sam2's own tracker, in bounded memory."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from model import PAM
from model import sam as sam2
from model.errors import TrackError
from model.frame_encoder import FrameEncoder, FrameFeatures
from model.prompt import Box, Point, Prompt
from model.sam import SamOutput
from model.video import ANCHORS, Track, without_memory

CLICK = Prompt(points=(Point(300, 200),))
BOX = Prompt(box=Box(150, 80, 420, 330))


def pixels(pam: PAM, photograph: np.ndarray, shift: int) -> torch.Tensor:
    """The photograph as a camera sees it that moves to the right."""
    moved = sam2.preprocess(np.roll(photograph, -7 * shift, axis=1), pam.image_size)
    return moved.to(pam.image_newline.dtype)[None]


def prompted(pam: PAM, frame: FrameFeatures, *prompts: Prompt) -> SamOutput:
    """Prompts of one kind on the 400 x 600 photograph."""
    size, dtype = pam.image_size, frame.coarse.dtype
    tensors = [sam2.prompt_tensors(prompt, 400, 600, size, torch.device("cpu"), dtype) for prompt in prompts]
    points, labels = (torch.cat(parts) for parts in zip(*tensors, strict=True))
    return sam2.decode(pam.sam, without_memory(pam.sam, frame), points, labels, None, one_image=True)


@torch.inference_mode()
def follow(pam: PAM, photograph: np.ndarray, count: int, length: int | None, *prompts: Prompt) -> list[SamOutput]:
    track, encode = Track(pam.sam, length), FrameEncoder(pam.sam)
    first = encode(pixels(pam, photograph, 0))
    outputs = [prompted(pam, first, *prompts)]
    track.start(first, outputs[0])
    outputs += [track.step(encode(pixels(pam, photograph, i))) for i in range(1, count)]
    return outputs


@torch.inference_mode()
def sam2_follows(pam: PAM, photograph: np.ndarray, count: int, length: int, prompt: Prompt) -> list[dict[str, Any]]:
    """The same by sam2's own `track_step`, with the one rounding that the official fork keeps."""
    sam: Any = pam.sam
    outputs: dict[str, dict[int, dict[str, Any]]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    points, labels = sam2.prompt_tensors(prompt, 400, 600, pam.image_size, torch.device("cpu"), torch.float32)
    for i in range(count):
        _, features, places, sizes = sam._prepare_backbone_features(sam.forward_image(pixels(pam, photograph, i)))
        output = sam.track_step(
            frame_idx=i,
            is_init_cond_frame=i == 0,
            current_vision_feats=features,
            current_vision_pos_embeds=places,
            feat_sizes=sizes,
            point_inputs={"point_coords": points, "point_labels": labels} if i == 0 else None,
            mask_inputs=None,
            output_dict=outputs,
            num_frames=length,
        )
        if i == 0:
            output["maskmem_features"] = output["maskmem_features"].bfloat16().float()
        outputs["cond_frame_outputs" if i == 0 else "non_cond_frame_outputs"][i] = output
    return [outputs["cond_frame_outputs"][0], *outputs["non_cond_frame_outputs"].values()]


@pytest.mark.parametrize(("count", "length", "prompt"), [(19, None, CLICK), (5, 5, BOX), (2, 2, CLICK)])
def test_the_arithmetic_is_sam2s(nano: PAM, coffee: np.ndarray, count: int, length: int | None, prompt: Prompt):
    """Which memories and pointers are seen, with which ages, past the 7 and 16 frames that are remembered."""
    ours = follow(nano, coffee, count, length, prompt)
    theirs = sam2_follows(nano, coffee, count, length or 10_000, prompt)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.visible_logits[:, :1], other["pred_masks"], rtol=0, atol=2e-3)
        torch.testing.assert_close(mine.object_score, other["object_score_logits"], rtol=0, atol=2e-3)


@torch.inference_mode()
def test_prompted_frames_stay_remembered_as_sam2_has_it(nano: PAM, coffee: np.ndarray):
    """Mended twice: all three prompted frames are seen, with their ages, and what went astray in between is not."""
    sam: Any = nano.sam
    outputs: dict[str, dict[int, dict[str, Any]]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    track, encode = Track(sam), FrameEncoder(sam)
    boxes = {0: BOX, 3: Prompt(box=Box(160, 90, 400, 330)), 5: Prompt(box=Box(100, 80, 380, 300))}
    for i in range(9):
        image = pixels(nano, coffee, i)
        frame = encode(image)
        prompt, inputs = boxes.get(i), None
        if prompt is None:
            ours = track.step(frame)
        else:
            ours = prompted(nano, frame, prompt)
            (track.mend if i else track.start)(frame, ours)
            points, labels = sam2.prompt_tensors(prompt, 400, 600, nano.image_size, torch.device("cpu"), torch.float32)
            inputs = {"point_coords": points, "point_labels": labels}
        _, features, places, sizes = sam._prepare_backbone_features(sam.forward_image(image))
        output = sam.track_step(
            frame_idx=i,
            is_init_cond_frame=inputs is not None,
            current_vision_feats=features,
            current_vision_pos_embeds=places,
            feat_sizes=sizes,
            point_inputs=inputs,
            mask_inputs=None,
            output_dict=outputs,
            num_frames=10_000,
        )
        if inputs is None:
            outputs["non_cond_frame_outputs"][i] = output
        else:
            output["maskmem_features"] = output["maskmem_features"].bfloat16().float()
            outputs["cond_frame_outputs"][i] = output
            outputs["non_cond_frame_outputs"].clear()
        torch.testing.assert_close(ours.visible_logits[:, :1], output["pred_masks"], rtol=0, atol=2e-3)


@torch.inference_mode()
def test_corrections_do_not_pile_up(nano: PAM, coffee: np.ndarray):
    """However often it is mended, a track remembers as many prompted frames."""
    frame = FrameEncoder(nano.sam)(pixels(nano, coffee, 0))
    track, output = Track(nano.sam), prompted(nano, frame, BOX)
    track.start(frame, output)
    for _ in range(2 * ANCHORS):
        track.mend(frame, output)
    assert len(track._anchors) == ANCHORS


@torch.inference_mode()
def test_the_encoder_is_sam2s(nano: PAM, coffee: np.ndarray):
    """What it computes once and leaves out changes nothing but the last digits, in half precision too."""
    image = pixels(nano, coffee, 0)
    for pam, tolerance in ((nano, 1e-4), (copy.deepcopy(nano).to(torch.bfloat16), 0.3)):
        given = image.to(pam.image_newline.dtype)
        encode, (coarse, fine) = FrameEncoder(pam.sam), sam2.backbone(pam.sam, given)
        for found in (encode(given), encode(given)):
            assert found.coarse.dtype == given.dtype
            for mine, theirs in zip((found.coarse, *found.fine), (coarse, *fine), strict=True):
                torch.testing.assert_close(mine.float(), theirs.float(), rtol=0, atol=tolerance)


def test_several_objects_are_followed_as_each_alone(nano: PAM, coffee: np.ndarray):
    """One pass for all of them changes none."""
    other = Prompt(points=(Point(60, 350),))
    both = follow(nano, coffee, 5, None, CLICK, other)
    for row, prompt in enumerate((CLICK, other)):
        for together, alone in zip(both, follow(nano, coffee, 5, None, prompt), strict=True):
            torch.testing.assert_close(together.logits[row], alone.logits[0], rtol=0, atol=2e-3)
            torch.testing.assert_close(together.tokens[row], alone.tokens[0], rtol=0, atol=2e-3)


@torch.inference_mode()
def test_memory_does_not_grow_with_the_video(nano: PAM, coffee: np.ndarray):
    """After the first frames a track holds as many bytes for ever."""
    track = Track(nano.sam)
    frame = FrameEncoder(nano.sam)(pixels(nano, coffee, 0))
    track.start(frame, prompted(nano, frame, CLICK))
    held = []
    for _ in range(20):
        track.step(frame)
        held.append(sum(t.untyped_storage().nbytes() for t in (*track._cells, *track._pointers)))
    assert held[0] < held[5] < held[14]
    assert set(held[14:]) == {held[14]}


@torch.inference_mode()
def test_a_new_start_forgets(nano: PAM, coffee: np.ndarray):
    """What was followed before has no part in what is followed then."""
    frame = FrameEncoder(nano.sam)(pixels(nano, coffee, 0))
    used, fresh = Track(nano.sam), Track(nano.sam)
    used.start(frame, prompted(nano, frame, CLICK))
    for _ in range(3):
        used.step(frame)
    for track in (used, fresh):
        track.start(frame, prompted(nano, frame, BOX))
    assert torch.equal(used.step(frame).logits, fresh.step(frame).logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(nano: PAM, coffee: np.ndarray, dtype: torch.dtype):
    """A model in half precision follows too, in its own dtype, and finds nearly the same."""
    half = copy.deepcopy(nano).to(dtype)
    for mine, exact in zip(follow(half, coffee, 4, 4, CLICK), follow(nano, coffee, 4, 4, CLICK), strict=True):
        assert {mine.logits.dtype, mine.tokens.dtype, mine.image.dtype} == {dtype}
        same = (mine.visible_logits[:, 0] > 0) == (exact.visible_logits[:, 0] > 0)
        assert float(same.float().mean()) > 0.95


@torch.inference_mode()
def test_what_cannot_be_followed(nano: PAM, coffee: np.ndarray):
    """No prompted frame, no frames."""
    frame = FrameEncoder(nano.sam)(pixels(nano, coffee, 0))
    with pytest.raises(TrackError, match="prompted frame"):
        Track(nano.sam).step(frame)
    with pytest.raises(TrackError, match="0 frames"):
        Track(nano.sam, 0)
