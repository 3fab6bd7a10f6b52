"""An object that is not there on some frames: empty masks, the word for "not there" as pointer and in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model import sam as sam2
from model import video
from model.clip import perceive_clip
from model.sam import ABSENT
from tests.model.parity.reference import as_prompt, close, close_mean, close_sums, holding

REFERENCE = holding("occlusion.npz")
FACTS = REFERENCE.json("occlusion.json")


def test_an_object_that_is_away(monkeypatch: pytest.MonkeyPatch):
    """Every frame's decisions and memory, whether the object is there or not."""
    outputs, memories, unwatched = [], [], video.remember

    def remember(sam, frame, output, *, prompted):
        outputs.append(output)
        memories.append(unwatched(sam, frame, output, prompted=prompted))
        return memories[-1]

    monkeypatch.setattr(video, "remember", remember)
    pam = REFERENCE.pam(
        FACTS.get("tower", REFERENCE.case["video_tower"]), REFERENCE.case["occlusion_object_score_bias"]
    )
    clip = perceive_clip(pam, REFERENCE.frames(FACTS["n_frames"]), as_prompt(FACTS))

    expected = REFERENCE.arrays("occlusion.npz")
    score = torch.cat([output.object_score for output in outputs])
    close(score, expected["object_score"], 1e-4)
    assert [bool(s > 0) for s in score] == [s > 0 for s in FACTS["object_score"]]
    low = torch.cat([output.visible_logits[:, 0] for output in outputs])
    close(low[:, ::8, ::8], expected["low_res_mask_fp32_sub8"], 5e-3)
    away = (score <= 0)[:, 0]
    assert bool((low[away] == ABSENT).all())
    close(torch.cat([output.iou for output in outputs]), expected["iou_pred4"], 1e-4)
    close(torch.cat([output.tokens for output in outputs]), expected["mid_mask_tokens_out"], 5e-3)
    rows = [[int(r[0]) for r in sam2.select_tokens(output.logits, output.iou)] for output in outputs]
    assert rows == FACTS["selected_rows"]
    close_sums(
        torch.cat([output.image.sum((2, 3)) for output in outputs]), expected["mid_image_embed_channel_sums"], 1e-4
    )
    close(torch.cat([memory.pointer for memory in memories]), expected["obj_ptr"], 5e-3)
    for memory, theirs in zip(memories, expected["maskmem_features_sub"], strict=True):
        close_mean(memory.cells[0, ::8, ::8, ::8], theirs, 1e-3)
    areas = np.array([mask.sum() for mask in clip.masks])
    assert np.abs(areas - expected["video_res_mask_area"]).max() <= 10
    assert bool((areas[away.numpy()] == 0).all())
