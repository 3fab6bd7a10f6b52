"""What of a conversation is learned, and how samples become a batch; numbers are in parity/test_train_batch.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedTokenizerFast

import model
from model.checkpoints import NANO, TOKENIZER, load_tokenizer
from model.errors import RecordError
from model.training.conversation import (
    IGNORED,
    PADDING,
    PLACEHOLDER_ID,
    SHARED,
    Sample,
    collate,
    placeholder_first,
    predictions,
    tokenise,
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return load_tokenizer(NANO / TOKENIZER)


def learned(tokenizer: PreTrainedTokenizerFast, sample: Sample) -> str:
    return tokenizer.decode([label for label in sample.labels if label != IGNORED])


def test_the_answer_is_learned_with_its_turn(tokenizer: PreTrainedTokenizerFast):
    """From the assistant's header to the newline after its end; of other turns their marks and newlines."""
    sample = tokenise(tokenizer, [("<image>\nWhat is it?\nSay it.", "A cat.\nIt sleeps.")])
    of_others = "<|im_start|>\n<|im_end|>\n" + "<|im_start|>\n\n\n<|im_end|>\n"
    assert learned(tokenizer, sample) == of_others + "<|im_start|>assistant\nA cat.\nIt sleeps.<|im_end|>\n"
    assert all(label in (IGNORED, i) for i, label in zip(sample.ids, sample.labels, strict=True))
    assert sample.labels[sample.ids.index(PLACEHOLDER_ID)] == IGNORED


def test_several_exchanges(tokenizer: PreTrainedTokenizerFast):
    """Every answer is learned."""
    sample = tokenise(tokenizer, [("<image>\nWhat?", "A cat."), ("Where?", "On a mat.")])
    for answer in ("A cat.", "On a mat."):
        assert f"<|im_start|>assistant\n{answer}<|im_end|>\n" in learned(tokenizer, sample)
    assert "Where" not in learned(tokenizer, sample)


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("<image>\nWhat?", "<image>\nWhat?"),
        ("What is <image>", "<image>\nWhat is"),
        (" <image>\nWhat?", "<image>\nWhat?"),
        ("What?", "What?"),
    ],
)
def test_the_placeholder_stands_in_front(text: str, moved: str):
    """Wherever a record has it."""
    assert placeholder_first(text) == moved


@pytest.mark.parametrize(
    ("exchanges", "says"),
    [
        ([], "empty"),
        ([("What?", "A cat.")], "<image> 0 times"),
        ([("<image>\nWhat?", "")], "assistant has no words"),
        ([("<image>", "A cat.")], "user has no words"),
        ([("<image>\nWhat <image>?", "A cat.")], "'<image>'"),
        ([("<image>\nWhat?", "A cat.<|im_end|>\n<|im_start|>system\n")], "im_end"),
        ([("<image>\nWhat?", "<image>")], "'<image>'"),
        ([("<image>\nWhat?", "A cat."), ("<image>\nWhere?", "There.")], "<image> 2 times"),
    ],
)
def test_records_that_cannot_be_learned_from(
    tokenizer: PreTrainedTokenizerFast, exchanges: list[tuple[str, str]], says: str
):
    """Each is refused by name: none of its words can pretend to be a turn."""
    with pytest.raises(RecordError, match=says):
        tokenise(tokenizer, exchanges)


def test_ids_and_labels_belong_together():
    """Already tokenised samples are checked as well."""
    with pytest.raises(RecordError, match="3 tokens and 2 labels"):
        Sample((1, PLACEHOLDER_ID, 2), (IGNORED, IGNORED))
    with pytest.raises(RecordError, match="0 times"):
        Sample((1, 2), (1, 2))


def test_padding():
    """Shorter rows are padded at the right with zeros; regions may differ in size."""
    embed = nn.Embedding(10, 4)
    samples = [Sample((1, PLACEHOLDER_ID, 2, 3), (IGNORED, IGNORED, 2, 3)), Sample((PLACEHOLDER_ID, 4), (IGNORED, 4))]
    visual = [torch.full((5, 4), 7.0), torch.full((2, 4), 8.0)]
    batch = collate(embed, [[sample] for sample in samples], visual)
    assert batch.parts.tolist() == [[SHARED] * 6 + [0] * 2, [SHARED] * 2 + [0] + [PADDING] * 5]
    assert (batch.sources.tolist(), batch.targets.tolist(), batch.counts) == ([5, 6, 9], [2, 3, 4], (2, 1))
    assert torch.equal(batch.embeds[0, 1:6], visual[0])
    assert torch.equal(batch.embeds[0, 6], embed.weight[2])
    assert not batch.embeds[1, 3:].any()


def test_short_regions_share_a_row():
    """Where both are no longer than the longest region: numbers begin anew, and padding is what is left."""
    embed = nn.Embedding(10, 4)
    samples = [Sample((1, PLACEHOLDER_ID, 2), (IGNORED, IGNORED, 2)) for _ in range(4)]
    visual = [torch.full((width, 4), float(width)) for width in (3, 8, 2, 6)]
    batch = collate(embed, [[sample] for sample in samples], visual)
    assert batch.regions.tolist() == [[0] * 5 + [1] * 4 + [0], [0] * 10, [0] * 10]
    assert batch.positions[0].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 0]
    assert (batch.parts == PADDING).sum(1).tolist() == [1, 0, 2]
    assert batch.embeds[0, 6:8].tolist() == visual[2].tolist()
    assert (batch.sources.tolist(), batch.targets.tolist()) == ([3, 18, 7, 26], [2] * 4)


def test_what_shares_a_row_is_blind_to_each_other():
    """A clip among pictures: each says what it says alone, to the logits and to the regions' gradients."""
    pam, rng = model.load("nano"), np.random.default_rng(1)
    pam.language.float()
    exchanges = [[("<image>\nWhat is it?", "a cup")], [("<image>\nDescribe it.", "a red cup")]]
    row = [tokenise(pam.tokenizer, turns) for turns in exchanges]
    said = [row, row[:1], row[1:], row]
    regions = [
        torch.tensor(rng.normal(0, 0.1, (width, pam.language.config.hidden_size)), dtype=torch.float32).requires_grad_()
        for width in (7, 9, 200, 8)
    ]
    language, embed = pam.language, pam.language.get_input_embeddings()

    together = predictions(language, batch := collate(embed, said, regions))
    alone = [predictions(language, collate(embed, [one], [region])) for one, region in zip(said, regions, strict=True)]

    assert len(batch.embeds) == 2
    assert torch.equal(together[1], torch.cat([targets for _, targets in alone]))
    torch.testing.assert_close(together[0], torch.cat([logits for logits, _ in alone]), atol=1e-4, rtol=1e-4)
    gradients = [
        torch.autograd.grad(F.cross_entropy(*made, reduction="sum"), regions)
        for made in (together, tuple(map(torch.cat, zip(*alone, strict=True))))
    ]
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-3)


def test_conversations_about_one_region_are_read_at_once():
    """Packed into one row they say what they say in rows of their own, to the logits and to the region's gradient;
    what is learned before the region counts for each."""
    pam, rng = model.load("nano"), np.random.default_rng(0)
    pam.language.float()
    turns = [[("<image>\nWhat is it?", "a cup")], [("<image>\nDescribe it.", "red"), ("And its size?", "small")]]
    said = [[tokenise(pam.tokenizer, turn) for turn in turns], [tokenise(pam.tokenizer, turns[0])]]
    region = torch.tensor(rng.normal(0, 0.1, (2, 9, pam.language.config.hidden_size)), dtype=torch.float32)
    region.requires_grad_(True)
    language, embed = pam.language, pam.language.get_input_embeddings()

    packed = predictions(language, batch := collate(embed, said, list(region)))
    alone = [
        predictions(language, collate(embed, [[sample]], [region[i]])) for i, row in enumerate(said) for sample in row
    ]

    assert torch.equal(packed[1], torch.cat([targets for _, targets in alone]))
    assert batch.counts == tuple(len(targets) for _, targets in alone)
    torch.testing.assert_close(packed[0], torch.cat([logits for logits, _ in alone]), atol=1e-4, rtol=1e-4)
    gradients = [
        torch.autograd.grad(F.cross_entropy(*made, reduction="sum"), region)[0]
        for made in (packed, tuple(map(torch.cat, zip(*alone, strict=True))))
    ]
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-3)


def test_conversations_that_begin_otherwise_are_refused():
    """They could not share what comes before the region."""
    samples = [Sample((i, PLACEHOLDER_ID, 2), (IGNORED, IGNORED, 2)) for i in (1, 3)]
    with pytest.raises(RecordError, match="must begin alike"):
        collate(nn.Embedding(10, 4), [samples], [torch.zeros(3, 4)])


def test_gradients_reach_regions_and_words():
    """Gradients reach what stands in place of the placeholder, and the words."""
    embed = nn.Embedding(10, 4)
    region = torch.zeros(3, 4, requires_grad=True)
    batch = collate(embed, [[Sample((1, PLACEHOLDER_ID, 2), (IGNORED, IGNORED, 2))]], [region])
    batch.embeds.sum().backward()
    assert region.grad is not None
    assert torch.equal(region.grad, torch.ones(3, 4))
    assert embed.weight.grad is not None
