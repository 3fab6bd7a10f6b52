"""PAM's arithmetic is the official model's: held against its numbers, with weights that are made from their names.

The reference is what the official repository (commit 2fc36d3) computed on a CPU in float32. `PAM_PARITY_DIR` points to
another set of the same format; by default the copy in tests/data/parity is used.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast

from model import language
from model import sam as sam2
from model.checkpoints import NANO, TOKENIZER, load_tokenizer, to_official
from model.config import PAMConfig, PerceiverConfig, SamConfig
from model.pam import PAM, EncodedImage, Segmentation
from model.perceiver import FULL, QUARTER, SemanticPerceiver
from model.prompt import Box, Point, Prompt

FOLDER = Path(os.environ.get("PAM_PARITY_DIR", Path(__file__).parents[1] / "data" / "parity"))
CASE = json.loads((FOLDER / "case.json").read_text())
TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
}


def filled(name: str, shape: torch.Size) -> torch.Tensor:
    """The reference's weight of that official name (shared/parity/README.md, "Weight filler")."""
    seed = zlib.crc32((name + CASE["salt"]).encode()) & 0xFFFFFFFF
    z = np.random.RandomState(seed).standard_normal(tuple(shape)).astype(np.float32)
    if name.endswith("positional_encoding_gaussian_matrix"):
        return torch.from_numpy(z)
    if len(shape) >= 2:
        gain = np.float32(1 / math.sqrt(math.prod(shape[1:])))
        if name.startswith("model.layers.") and name.endswith(("q_proj.weight", "k_proj.weight")):
            gain = np.float32(2 / math.sqrt(math.prod(shape[1:])))
        return torch.from_numpy(z * gain)
    if name.endswith((".weight", ".gamma")):
        return torch.from_numpy(1 + np.float32(0.02) * z)
    if name.endswith("pred_obj_score_head.layers.2.bias"):
        return torch.from_numpy(np.float32(CASE["object_score_bias"]) + np.float32(0.02) * z)
    return torch.from_numpy(np.float32(0.02) * z)


def fill(module: torch.nn.Module, prefix: str) -> None:
    """Give every parameter and buffer of a module the reference's weights."""
    state = module.state_dict()
    module.load_state_dict({name: filled(to_official(prefix + name), tensor.shape) for name, tensor in state.items()})


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return load_tokenizer(NANO / TOKENIZER)


@pytest.fixture(scope="module", params=CASE["towers"])
def tower(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast) -> tuple[str, PAM, EncodedImage]:
    """A PAM with that vision tower and a tiny language model, and the reference image encoded once."""
    pam = PAM(PAMConfig("parity", SamConfig(f"sam2.1_{request.param}"), PerceiverConfig(), TINY), tokenizer).eval()
    fill(pam, "")
    return request.param, pam, pam.encode(np.asarray(Image.open(FOLDER / "image_prompt.png").convert("RGB")))


def reference(name: str, case: str) -> tuple[dict, dict[str, np.ndarray]]:
    with np.load(FOLDER / "image_prompt.npz") as file:
        arrays = {k.split("/")[2]: file[k] for k in file if k.startswith(f"{name}/{case}/")}
    return json.loads((FOLDER / "image_prompt.json").read_text())[name][case], arrays


def as_prompt(case: dict) -> Prompt:
    if case["vp_labels"] is None:
        return Prompt(box=Box(*case["visual_prompt"]))
    return Prompt(
        tuple(Point(x, y, bool(s)) for (x, y), s in zip(case["visual_prompt"], case["vp_labels"], strict=True))
    )


def close(ours: torch.Tensor | np.ndarray, theirs: np.ndarray, limit: float) -> None:
    np.testing.assert_allclose(np.asarray(ours, np.float64), theirs.astype(np.float64), rtol=0, atol=limit)


def test_semantic_perceiver():
    """Perceiver alone, both pixel-shuffle factors: tokens, their order, and the block without a residual."""
    with np.load(FOLDER / "semantic_perceiver.npz") as file:
        expected = dict(file)
    perceiver = SemanticPerceiver(256, PerceiverConfig()).eval()
    fill(perceiver, "perceiver.")
    seeds = CASE["perceiver_input_seeds"]
    image = torch.from_numpy(np.random.RandomState(seeds[0]).standard_normal((2, 256, 64, 64)).astype(np.float32))
    tokens = torch.from_numpy(np.random.RandomState(seeds[1]).standard_normal((2, 2, 256)).astype(np.float32))
    for name, neighbourhood in (("half", FULL), ("quarter", QUARTER)):
        with torch.inference_mode():
            image_tokens, semantic = perceiver(image, tokens, neighbourhood)
        assert tuple(image_tokens.shape) == tuple(expected[f"{name}_image_tokens_shape"])
        close(semantic, expected[f"{name}_sem_tokens"], 5e-5)
        close(image_tokens[:, expected[f"{name}_rows"]], expected[f"{name}_image_tokens_rows"], 5e-5)
        close(image_tokens.sum(-1), expected[f"{name}_image_tokens_row_sums"], 1e-3)


@pytest.mark.parametrize("case", ["click", "points", "box"])
def test_image_prompt(tower: tuple[str, PAM, EncodedImage], case: str):
    """From pixels and a prompt to the mask, the language model's input and its greedy words."""
    name, pam, image = tower
    facts, expected = reference(name, case)
    segmentation = pam.segment(image, as_prompt(facts))
    output = segmentation.output
    close(output.logits[0, 0, ::8, ::8], expected["low_res_mask_fp32_sub8"], 1e-4)
    close(output.logits[0, 0], expected["low_res_mask_fp16"], 1e-2)
    close(output.logits[0, :, ::4, ::4], expected["all4_low_res_mask_fp16_sub4"], 1e-2)
    full = sam2.to_image_size(output.visible_logits[:, :1], image.height, image.width)[0, 0]
    close(full[::8, ::8], expected["video_res_mask_fp32_sub8"], 1e-4)
    close(output.iou[0], expected["iou_pred4"], 5e-5)
    close(output.object_score[0], expected["object_score"], 5e-5)
    close(output.tokens[0], expected["mid_mask_tokens_out"], 5e-5)
    close(output.image[0].sum((1, 2)), expected["mid_image_embed_channel_sums"], 1e-2)
    assert [int(rows[0]) for rows in sam2.select_tokens(output.logits, output.iou)] == facts["selected_rows"]
    assert abs(int(segmentation.mask.sum()) - facts["mask_area_video_res"]) <= 3
    check_words(pam, segmentation, facts, expected)


def check_words(pam: PAM, segmentation: Segmentation, facts: dict, expected: dict[str, np.ndarray]) -> None:
    """The spliced prompt row by row, and the greedy continuation token by token."""
    placeholder = facts["prompt_ids"].index(-200)
    with torch.inference_mode():
        embeds = language.splice(
            pam.language.get_input_embeddings(),
            facts["prompt_ids"][:placeholder],
            pam.visual_tokens(segmentation.output)[0],
            facts["prompt_ids"][placeholder + 1 :],
        )
        assert len(embeds) == facts["sequence_length"]
        close(embeds, expected["inputs_embeds_fp32"], 1e-4)
        said, logits = [], []
        for _ in expected["greedy_tokens"]:
            logits.append(pam.language(inputs_embeds=embeds[None]).logits[0, -1])
            said.append(int(logits[-1].argmax()))
            embeds = torch.cat([embeds, pam.language.get_input_embeddings()(torch.tensor(said[-1:]))])
    assert said == facts["greedy_tokens"]
    close(torch.stack(logits), expected["step_logits"], 2e-4)
