"""The official prompts, byte for byte, and the answers to `explain`."""

from __future__ import annotations

import pytest

from model.fields import QUESTIONS, chat, join_explanation, split_explanation


def test_the_chat_prompt_is_the_official_one():
    """The published weights expect this text exactly (official repository, commit 2fc36d3)."""
    assert chat(QUESTIONS["recognize_en"]) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image>\nClassify this subject "
        "and provide its label.<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("answer", "parts"),
    [
        (join_explanation("coin", "a small disc of metal."), ("coin", "a small disc of metal.")),
        ("coin: used for: paying", ("coin", "used for: paying")),
        ("It is a coin.", ("", "It is a coin.")),
        (
            "a very long text that is no label at all: it goes on",
            ("", "a very long text that is no label at all: it goes on"),
        ),
        ("", ("", "")),
    ],
)
def test_label_and_definition_are_told_apart(answer: str, parts: tuple[str, str]):
    """What is no label in front is not taken for one."""
    assert split_explanation(answer) == parts
