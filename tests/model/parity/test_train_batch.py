"""A batch of two training samples of different lengths: what goes into the language model, and its loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.pam import PAM
from model.prompt import Prompt
from model.training.conversation import IGNORED, PADDING, Batch, Sample, collate, loss, predictions
from tests.model.parity.reference import as_prompt, close, holding

REFERENCE = holding("train_batch.npz")


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return REFERENCE.arrays("train_batch.npz")


@pytest.fixture(scope="module")
def samples(expected: dict[str, np.ndarray]) -> list[Sample]:
    """The tokens of both samples, without the padding that the file has them with."""
    rows = zip(expected["input_ids"], expected["labels_in"], expected["attention_mask_in"], strict=True)
    return [Sample(tuple(ids[mask].tolist()), tuple(labels[mask].tolist())) for ids, labels, mask in rows]


@pytest.fixture(scope="module")
def pam(samples: list[Sample], expected: dict[str, np.ndarray]) -> PAM:
    return REFERENCE.pam(tower(samples[0], expected["inputs_embeds_row_sums"][0]))


@pytest.fixture(scope="module")
def batch(pam: PAM, samples: list[Sample], expected: dict[str, np.ndarray]) -> Batch:
    image = pam.encode(REFERENCE.image())
    with torch.inference_mode():
        visual = [pam.visual_tokens([pam.segment(image, prompt(expected, i))])[0] for i in range(len(samples))]
        return collate(pam.language.get_input_embeddings(), [[sample] for sample in samples], visual)


def prompt(expected: dict[str, np.ndarray], index: int) -> Prompt:
    """A box has no labels."""
    labels = expected.get(f"vp_labels_{index}")
    return as_prompt(
        {
            "visual_prompt": expected[f"visual_prompt_{index}"].tolist(),
            "vp_labels": None if labels is None else labels.tolist(),
        }
    )


def tower(sample: Sample, row_sums: np.ndarray) -> str:
    """The tower of the batch, which no file names: the one whose single image has the same region tokens."""
    facts = REFERENCE.json("image_prompt.json")
    for name in REFERENCE.case["towers"]:
        for case, of_image in facts[name].items():
            sums = REFERENCE.arrays("image_prompt.npz", f"{name}/{case}/")["inputs_embeds_row_sums"]
            rows = of_image["n_image_tokens"]
            theirs, ours = of_image["prompt_ids"].index(-200), sample.ids.index(-200)
            if np.abs(sums[theirs : theirs + rows] - row_sums[ours : ours + rows]).max() < 1e-3:
                return str(name)
    return str(REFERENCE.case["video_tower"])


def test_inputs(batch: Batch, expected: dict[str, np.ndarray]):
    """Region tokens in place, everything padded at the right."""
    tail = expected["inputs_embeds_tail_fp32"]
    close(batch.embeds.sum(-1), expected["inputs_embeds_row_sums"], 1e-3)
    close(batch.embeds[:, -tail.shape[1] :], tail, 1e-4)
    assert np.array_equal(labels(batch).numpy(), expected["labels_out"])
    there = batch.parts != PADDING
    assert np.array_equal(there.numpy(), expected["attention_mask_out"])
    assert not batch.embeds[~there].any()


def labels(batch: Batch) -> torch.Tensor:
    """As the reference has them: (B, L), the id of each token that is learned, else IGNORED."""
    found = torch.full(batch.parts.shape, IGNORED).flatten()
    found[batch.sources + 1] = batch.targets
    return found.view(batch.parts.shape)


def test_loss_and_logits(pam: PAM, batch: Batch, expected: dict[str, np.ndarray]):
    """The loss, and the logits that predict each supervised token."""
    with torch.inference_mode():
        logits, targets = predictions(pam.language, batch)
        supervised = expected["supervised_positions"]
        assert targets.tolist() == [int(expected["labels_out"][row, place]) for row, place in supervised]
        close(logits, expected["logits_at_supervised_positions"], 2e-4)
        close(loss(pam.language, batch).reshape(1), expected["loss"], 2e-4)


def test_the_mask_changes_nothing(pam: PAM, batch: Batch):
    """Left out of the forward pass because causal attention does not need it: the loss is the one with it."""
    with torch.inference_mode():
        there = (batch.parts != PADDING).long()
        masked = pam.language(inputs_embeds=batch.embeds, attention_mask=there, labels=labels(batch)).loss
        close(loss(pam.language, batch), masked.numpy(), 1e-5)
