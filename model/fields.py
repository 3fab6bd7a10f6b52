"""The questions that PAM was trained on, by field and language, and questions of one's own.

The strings are interface constants of the published weights (official PAM repository, commit 2fc36d3): byte for byte.
"""

from __future__ import annotations

import re

from model.errors import QuestionError
from model.explanation import join_explanation, split_explanation

__all__ = [
    "CAPTIONS",
    "LANGUAGES",
    "NO_HISTORY",
    "QUESTIONS",
    "TASK_OF_FIELD",
    "VIDEO_QUESTIONS",
    "ask",
    "chat",
    "check_spoken",
    "join_explanation",
    "question",
    "split_explanation",
    "task_of",
    "video_question",
]

QUESTIONS = {
    "recognize_en": "<image>\nClassify this subject and provide its label.",
    "recognize_ch": "<image>\n对该目标对象进行分类并提供标签",
    "explain_en": "<image>\nClassify this subject and provide the label and its definition.",
    "explain_ch": "<image>\n对该目标对象进行分类并提供标签和名词功能解释",
    "brief_cap_en": "<image>\nProvide a concise caption for this subject.",
    "brief_cap_ch": "<image>\n对该目标对象提供一个概括的描述",
    "detail_cap_en": "<image>\nProvide a comprehensive and detailed description for this subject.",
    "detail_cap_ch": "<image>\n对该目标对象提供一个全面且详细的描述",
}
"""Official task name to the human turn of the conversation."""

VIDEO_QUESTIONS = {
    "video_cap_en": "<image>\nProvide a caption for this subject in this video.\nPrevious caption: {history}",
    "video_cap_ch": "<image>\n对该视频中的目标对象提供一个描述。\n历史描述：{history}",
}
"""Official task name to the human turn about a clip; {history} is what was said of the clip before."""

NO_HISTORY = {"en": "None", "zh": "无"}
"""What stands for the previous caption where there is none."""

TASK_OF_FIELD = {"category": "recognize", "explanation": "explain", "caption": "brief_cap"}
"""Field of a region to the official task that asks for it, without language suffix; the caption is the brief one."""

CAPTIONS = {"brief": "brief_cap", "detailed": "detail_cap"}
"""Caption style to its official task."""

LANGUAGES = {"en": "en", "zh": "ch"}
"""Language, as ISO 639 has it, to the suffix of the official task names."""

SYSTEM = "You are a helpful assistant."
PLACEHOLDER = "<image>"
MAX_QUESTION = 4000
"""Longest question of one's own, in characters."""

_CONTROL = re.compile(r"<\|[^<>|\s]*\|>|<(?:image|im_start|im_end|im_patch)>", re.IGNORECASE)
"""What a tokenizer or the prompt takes for a command: Qwen2's special tokens, and the names around the placeholder."""


def question(field: str, language: str = "en", caption: str = "brief") -> str:
    """The official question for a field of a region ("category", "explanation", "caption").

    language: "en" or "zh". caption: "brief" or "detailed", for the field of that name.
    Raises QuestionError for a field, language or style that PAM was not trained on.
    """
    return QUESTIONS[task_of(field, language, caption)]


def task_of(field: str, language: str = "en", caption: str = "brief") -> str:
    """The official name of the task that `question` asks for, such as "detail_cap_ch". Raises QuestionError."""
    for name, value, known in (
        ("field", field, TASK_OF_FIELD),
        ("language", language, LANGUAGES),
        ("caption style", caption, CAPTIONS),
    ):
        if value not in known:
            raise QuestionError(f"PAM knows no {name} {value!r}: choose one of {', '.join(known)}")
    return f"{CAPTIONS[caption] if field == 'caption' else TASK_OF_FIELD[field]}_{LANGUAGES[language]}"


def video_question(language: str = "en", previous: str = "") -> str:
    """The official question for the caption of a clip.

    language: "en" or "zh". previous: the caption of the clip before, taken as plain words: what a tokenizer would take
    for a command is left out, so that a model's own slip cannot end the turn. Raises QuestionError for a language that
    PAM was not trained on.
    """
    if language not in LANGUAGES:
        raise QuestionError(f"PAM knows no language {language!r}: choose one of {', '.join(LANGUAGES)}")
    history = _plain(previous) or NO_HISTORY[language]
    return VIDEO_QUESTIONS[f"video_cap_{LANGUAGES[language]}"].replace("{history}", history)


def ask(text: str) -> str:
    """A question of one's own about a region, in the form of the official ones.

    Raises QuestionError for one that is empty, longer than MAX_QUESTION characters, or that holds the image placeholder
    or a control token: with these a question could end the turn and speak as someone else.
    """
    if not text.strip():
        raise QuestionError("the question is empty")
    if len(text) > MAX_QUESTION:
        raise QuestionError(f"the question has {len(text)} characters: make it {MAX_QUESTION} or fewer")
    check_spoken(text, "the question")
    return f"{PLACEHOLDER}\n{text.strip()}"


def check_spoken(text: str, what: str) -> None:
    """Raise QuestionError where `text`, called `what`, cannot be plain words of a conversation."""
    if found := _CONTROL.search(text):
        raise QuestionError(f"{what} holds the control token {found.group()!r}: take it out")
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise QuestionError(f"{what} holds characters that are no text (NUL or half a surrogate pair): take them out")


def _plain(text: str) -> str:
    """What `check_spoken` would let through of a text."""
    text = "".join(letter for letter in text if letter != "\0" and not "\ud800" <= letter <= "\udfff")
    # What is left when a token is taken out may be another one.
    while _CONTROL.search(text):
        text = _CONTROL.sub("", text)
    return text.strip()


def chat(question: str) -> str:
    """The full prompt (ChatML, template `qwen_2`) that ends where the assistant begins to speak."""
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
