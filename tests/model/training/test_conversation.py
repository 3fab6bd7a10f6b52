"""What of a conversation is learned, and how samples become a batch; numbers are in parity/test_train_batch.py."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from model.checkpoints import NANO, TOKENIZER, load_tokenizer
from model.errors import RecordError
from model.training.conversation import (
    IGNORED,
    PLACEHOLDER_ID,
    Sample,
    collate,
    placeholder_first,
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


def test_padding_and_length():
    """Shorter rows are padded at the right with zeros, longer ones cut; regions may differ in size."""
    embed = nn.Embedding(10, 4)
    samples = [Sample((1, PLACEHOLDER_ID, 2, 3), (IGNORED, IGNORED, 2, 3)), Sample((PLACEHOLDER_ID, 4), (IGNORED, 4))]
    visual = [torch.full((5, 4), 7.0), torch.full((2, 4), 8.0)]
    batch = collate(embed, samples, visual)
    assert batch.mask.tolist() == [[True] * 8, [True] * 3 + [False] * 5]
    assert batch.labels.tolist() == [[IGNORED] * 6 + [2, 3], [IGNORED] * 2 + [4] + [IGNORED] * 5]
    assert torch.equal(batch.embeds[0, 1:6], visual[0])
    assert torch.equal(batch.embeds[0, 6], embed.weight[2])
    assert not batch.embeds[1, 3:].any()
    cut = collate(embed, samples, visual, max_length=7)
    assert (cut.embeds.shape, cut.labels.tolist()[0]) == ((2, 7, 4), [IGNORED] * 6 + [2])


def test_gradients_reach_regions_and_words():
    """Gradients reach what stands in place of the placeholder, and the words."""
    embed = nn.Embedding(10, 4)
    region = torch.zeros(3, 4, requires_grad=True)
    batch = collate(embed, [Sample((1, PLACEHOLDER_ID, 2), (IGNORED, IGNORED, 2))], [region])
    batch.embeds.sum().backward()
    assert region.grad is not None
    assert torch.equal(region.grad, torch.ones(3, 4))
    assert embed.weight.grad is not None
