"""Which parts of a PAM learn, and how: whole where it is small, by low-rank adapters where it is large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from model.pam import PAM
from model.training.finetune.learner import Learner, MaskLearner
from model.training.finetune.records import RegionRecord
from model.training.shapes import CATEGORIES

SMALL = 100_000_000
"""Weights of a language model up to which all of them learn."""

RANK = 16
ADAPTED = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""The linear layers of Qwen2."""

RATE_WHOLE, RATE_ADAPTERS, RATE_MASKS = 7e-4, 1e-4, 3e-4
"""After 200 corrections at 2e-4, 4e-4 and 7e-4 nano named .69, .85 and .88 of 240 held-out things rightly, and of 1000
old ones 2.1, 0.5 and 0.0 points fewer than before (standard error 0.9; one run each)."""


def is_small(pam: PAM) -> bool:
    """Whether all of a model's language side learns unless something else is said."""
    return sum(p.numel() for p in pam.language.parameters()) <= SMALL


def categories(pam: PAM, regions: Sequence[RegionRecord]) -> tuple[str, ...]:
    """What a small model's classifier is to tell apart (see Learner): what regions are called, and what it knew."""
    if not (pam.config.close_up and is_small(pam)):
        return ()
    return tuple(sorted({*CATEGORIES, *(region.category.casefold() for region in regions)} - {""}))


def words(pam: PAM, rank: int, categories: Sequence[str]) -> tuple[Learner, PeftModel | None]:
    """A PAM whose words learn, and its adapters of that rank, if it is not 0; categories: see Learner.

    What learns is float32 whatever the rest is in, as half precision loses small steps.
    """
    pam.requires_grad_(False).eval()
    adapters: Any = None
    if rank:
        config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=ADAPTED)
        adapters = get_peft_model(pam.language, config)
    else:
        pam.language.float().requires_grad_(True)
    if not is_small(pam):
        pam.language.train()  # transformers keeps activations of a model that does not train
        pam.language.gradient_checkpointing_enable({"use_reentrant": False})
        pam.language.enable_input_require_grads()
    learner = Learner(pam, categories)
    if categories:
        learner.float().requires_grad_(True)
        _choose_looks(pam)
    for part in (pam.perceiver, pam.image_projector, pam.semantic_projector, learner.newlines):
        part.float().requires_grad_(True)
    if pam.config.close_up:
        pam.outline_projector.float().requires_grad_(True)
    else:
        # Nothing of a single picture goes through these; processes would wait for their gradients.
        pam.perceiver.proj.requires_grad_(False)
        pam.frame_newline.requires_grad_(False)
    return learner, adapters


def _choose_looks(pam: PAM) -> None:
    """Of SAM 2 the later stages of the image encoder learn, and what finds masks.

    What it follows videos with sees no single picture; processes would wait for its gradients. The first two stages see
    edges and textures, which are the same for things old and new, and are a tenth of the time of a step.
    """
    for name, parameter in pam.sam.named_parameters():
        parameter.requires_grad_(name.startswith(("image_encoder", "sam_mask_decoder", "sam_prompt_encoder.mask")))
    trunk: Any = pam.sam.get_submodule("image_encoder.trunk")
    for part in (trunk.patch_embed, *trunk.blocks[: trunk.stage_ends[1] + 1]):
        part.requires_grad_(False)
    for embedding in (trunk.pos_embed, trunk.pos_embed_window):
        embedding.requires_grad_(False)


def masks(pam: PAM) -> MaskLearner:
    """A PAM whose mask decoder learns."""
    pam.requires_grad_(False).eval()
    learner = MaskLearner(pam)
    learner.decoder.float().requires_grad_(True)
    return learner


def merge(pam: PAM, adapters: PeftModel | None) -> None:
    """Make what adapters have learned part of the weights they adapt, so that any program can load them."""
    if adapters is not None:
        with torch.no_grad():
            pam.language = adapters.merge_and_unload()
    pam.requires_grad_(False).eval()
