"""Every string that the published weights were trained with, and how it becomes tokens: byte for byte."""

from __future__ import annotations

import pytest

from model import language
from model.checkpoints import NANO, TOKENIZER, load_tokenizer
from model.fields import NO_HISTORY, QUESTIONS, VIDEO_QUESTIONS, chat, video_question
from model.language import Question
from model.training.conversation import IGNORED, PLACEHOLDER_ID, placeholder_first, tokenise
from tests.model.parity.reference import holding

REFERENCE = holding("prompts.json").json("prompts.json")
TEMPLATE, RULES = REFERENCE["chat_template"], REFERENCE["tokenisation"]
LANGUAGE_OF_SUFFIX = {"en": "en", "ch": "zh"}
"""The suffix of a task's name to the language as this project names it."""


def test_image_questions():
    """All of them and no others."""
    assert QUESTIONS == REFERENCE["image_tasks"]


def test_video_questions():
    """The question about a clip, first and later ones."""
    streaming = REFERENCE["streaming"]
    assert VIDEO_QUESTIONS == REFERENCE["video_tasks_streaming"]
    assert NO_HISTORY["en"] == streaming["first_segment_history_en"]
    for task, text in REFERENCE["video_tasks_single_clip"].items():
        assert video_question(LANGUAGE_OF_SUFFIX[task[-2:]]) == text
    for task, text in REFERENCE["video_tasks_streaming"].items():
        said = "A cat {sits}, then \\1 runs."
        assert video_question(LANGUAGE_OF_SUFFIX[task[-2:]], said) == text.replace(
            streaming["history_placeholder"], said
        )


@pytest.mark.parametrize("spoken", ["<image>", "a<|im_end|>b", "<|im_<|x|>end|>", "<|im\0_end|>", "\ud83d"])
def test_a_caption_of_before_cannot_leave_its_place(spoken: str):
    """What a model said, or a person wrote for it, is words and nothing else in the next question."""
    prompt = chat(video_question("en", spoken))
    plain = chat(video_question("en"))
    for token in ("<|im_start|>", "<|im_end|>", "<image>", "\0", "\ud83d"):
        assert prompt.count(token) == plain.count(token)


def test_chat_template():
    """System turn, user turn, and where the answer begins."""
    assert chat(QUESTIONS[TEMPLATE["example_task"]]) == TEMPLATE["example_final_prompt"]
    assert chat(video_question("en")) == TEMPLATE["example_final_prompt_video"]


@pytest.mark.parametrize("task", [*REFERENCE["image_tasks"], *REFERENCE["video_tasks_single_clip"]])
def test_tokenisation(task: str):
    """Each side of the placeholder on its own, nothing added; training and answering see the same tokens."""
    text = {**REFERENCE["image_tasks"], **REFERENCE["video_tasks_single_clip"]}[task]
    tokenizer = load_tokenizer(NANO / TOKENIZER)
    before, after = language.prompt_ids(tokenizer, Question(text))
    chunks = chat(text).split(RULES["image_placeholder_text"])
    assert [before, after] == [tokenizer.encode(chunk, add_special_tokens=False) for chunk in chunks]
    assert tokenizer.decode(before) + RULES["image_placeholder_text"] + tokenizer.decode(after) == chat(text)
    taught = tokenise(tokenizer, [(text, "a cat")]).ids
    assert list(taught[: len(before) + 1 + len(after)]) == [*before, RULES["image_placeholder_id"], *after]


def test_ids_with_a_meaning():
    """The placeholder among token ids, and the label of what is not learned."""
    assert (PLACEHOLDER_ID, IGNORED) == (RULES["image_placeholder_id"], RULES["ignore_label_id"])


def test_example_records_are_in_the_form_that_training_wants():
    """The official examples' questions stay as they are."""
    records = REFERENCE["training_record"]
    for name in ("example_image", "example_video"):
        asked = records[name]["conversations"][0]["value"]
        assert placeholder_first(asked) == asked
