"""The language side: region tokens in a chat prompt, read and answered by a Qwen2 model."""

from model.language.generate import GREEDY, DecodingOptions, Piece, Utterance, Writer
from model.language.scorer import PrefixScorer
from model.language.sequence import Question, projector, prompt_ids, splice
from model.language.transformer import Prefix, Transformer

__all__ = [
    "GREEDY",
    "DecodingOptions",
    "Piece",
    "Prefix",
    "PrefixScorer",
    "Question",
    "Transformer",
    "Utterance",
    "Writer",
    "projector",
    "prompt_ids",
    "splice",
]
