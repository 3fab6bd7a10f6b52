"""The questions that PAM was trained on, and how their answers are read.

The strings are interface constants of the published weights (official PAM repository, commit 2fc36d3): byte for byte.
"""

from __future__ import annotations

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

TASK_OF_FIELD = {"category": "recognize", "explanation": "explain", "caption": "brief_cap"}
"""Field of a region to the official task that asks for it, without its language suffix."""

SYSTEM = "You are a helpful assistant."


def chat(question: str) -> str:
    """The full prompt (ChatML, template `qwen_2`) that ends where the assistant begins to speak."""
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def join_explanation(category: str, definition: str) -> str:
    """The answer to `explain`: label and definition in one text, as the official records have it."""
    return f"{category}: {definition}"


def split_explanation(answer: str) -> tuple[str, str]:
    """Label and definition of an answer to `explain`; the label is empty where the answer has none in front."""
    label, colon, definition = answer.partition(":")
    if not colon or len(label.split()) > 6:
        return "", answer.strip()
    return label.strip(), definition.strip()
