"""A prompt on the first frame of a clip: every frame's mask and memory, the clip's tokens, and the words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from model import sam as sam2
from model import video
from model.clip import Clip, perceive_clip
from model.pam import PAM
from model.reading import choose_frames
from model.sam import SamOutput
from model.video import Memory
from tests.model.parity.reference import as_prompt, close, close_mean, close_sums, holding
from tests.model.parity.words import check_words

REFERENCE = holding("video_prompt.npz")
FACTS = REFERENCE.json("video_prompt.json")


@dataclass
class Followed:
    """A clip as it was perceived, and what was seen of every frame on the way."""

    pam: PAM
    clip: Clip
    outputs: list[SamOutput]
    memories: list[Memory]


@pytest.fixture(scope="module")
def followed() -> Followed:
    outputs, memories = [], []

    def remember(sam, frame, output, *, prompted):
        memory = unwatched(sam, frame, output, prompted=prompted)
        outputs.append(output)
        memories.append(memory)
        return memory

    pam = REFERENCE.pam(REFERENCE.case["video_tower"])
    unwatched = video.remember
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, "remember", remember)
        clip = perceive_clip(pam, REFERENCE.frames(FACTS["n_frames"]), as_prompt(FACTS))
    return Followed(pam, clip, outputs, memories)


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return REFERENCE.arrays("video_prompt.npz")


def test_masks(followed: Followed, expected: dict[str, np.ndarray]):
    """Mask logits, scores and areas, frame by frame."""
    low = torch.cat([output.visible_logits[:, 0] for output in followed.outputs])
    close(low[:, ::8, ::8], expected["low_res_mask_fp32_sub8"], 5e-3)
    for name in expected:
        if name.startswith("low_res_mask_fp16_frame"):
            close(low[int(name.removeprefix("low_res_mask_fp16_frame"))], expected[name], 1.5e-2)
    close(torch.cat([output.iou for output in followed.outputs]), expected["iou_pred4"], 1e-4)
    close(torch.cat([output.object_score for output in followed.outputs]), expected["object_score"], 1e-4)
    for facts in FACTS["frames"]:
        frame = facts["frame"]
        assert abs(int((low[frame] > 0).sum()) - facts["mask_area_low_res"]) <= 10
        assert abs(int(followed.clip.masks[frame].sum()) - facts["mask_area_video_res"]) <= 10


def test_tokens_and_features_of_every_frame(followed: Followed, expected: dict[str, np.ndarray]):
    """The two rows that the language side sees, and image features that carry memory."""
    for facts in FACTS["frames"]:
        output = followed.outputs[facts["frame"]]
        assert [int(rows[0]) for rows in sam2.select_tokens(output.logits, output.iou)] == facts["selected_rows"]
    close(torch.cat([output.tokens for output in followed.outputs]), expected["mid_mask_tokens_out"], 5e-3)
    sums = torch.cat([output.image.sum((2, 3)) for output in followed.outputs])
    close_sums(sums, expected["mid_image_embed_channel_sums"], 1e-4)


def test_memory(followed: Followed, expected: dict[str, np.ndarray]):
    """Pointers of token 0; the prompted frame's memory rounded to bfloat16, the others' not."""
    close(torch.cat([memory.pointer for memory in followed.memories]), expected["obj_ptr"], 5e-3)
    cells = torch.cat([memory.cells for memory in followed.memories])
    assert cells.dtype == torch.float32
    rounded = [bool((frame == frame.bfloat16()).all()) for frame in cells]
    assert rounded == [True] + [False] * (len(cells) - 1)
    for ours, theirs in zip(cells[:, ::8, ::8, ::8], expected["maskmem_features_sub"], strict=True):
        close_mean(ours, theirs, 1e-3)


def test_frames_that_the_language_model_sees(followed: Followed, expected: dict[str, np.ndarray]):
    """Which frames they are, and what the perceiver makes of them."""
    clip, pam = followed.clip, followed.pam
    assert list(clip.chosen) == FACTS["selected_frames"]
    with torch.inference_mode():
        chosen = [followed.outputs[frame] for frame in clip.chosen]
        semantic = torch.cat([pam.perceiver(output.image, output.tokens)[1] for output in chosen])
    assert len(chosen) == FACTS["resampler_calls"]
    close(semantic, expected["sem_tokens"], 5e-3)


def test_layout(followed: Followed):
    """Per frame: image rows, newline, semantic rows, newline, frame newline; the first frame in full."""
    pam, visual = followed.pam, followed.clip.visual
    assert len(visual) == FACTS["vision_rows"]
    newlines = {
        "image_newline": pam.image_newline,
        "semT_newline": pam.semantic_newline,
        "frame_newline": pam.frame_newline,
    }
    row = 0
    for frame in FACTS["selected_frames"]:
        for name, rows in FACTS["block_rows"]["frame 0" if frame == 0 else "every other selected frame"]:
            if name in newlines:
                assert torch.equal(visual[row], newlines[name])
            row += rows
    assert row == len(visual)


def test_words(followed: Followed, expected: dict[str, np.ndarray]):
    """The spliced prompt and the greedy words."""
    assert FACTS["prompt_ids"].index(-200) == FACTS["vision_start"]
    check_words(followed.pam, FACTS, followed.clip.visual, expected, embeds_limit=5e-3, logits_limit=5e-3)


@pytest.mark.parametrize(
    ("count", "frames"), holding("prompts.json").json("prompts.json")["frame_selection"]["examples"].items()
)
def test_frame_selection(count: str, frames: list[int]):
    """The official table, from 16 frames on."""
    assert list(choose_frames(int(count))) == frames
