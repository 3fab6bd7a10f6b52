"""Small Qwen2 models with random weights, and a tokenizer that writes every byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

MakeLanguage = Callable[..., Qwen2ForCausalLM]


@pytest.fixture(scope="session")
def make_language() -> MakeLanguage:
    """Makes a Qwen2 of given sizes; sharp attention, so that a wrong position or mask shows in the logits."""

    def make(heads: int = 4, kv: int = 2, layers: int = 2, vocabulary: int = 300, tied: bool = False, seed: int = 0):
        config = Qwen2Config(
            vocab_size=vocabulary, hidden_size=16 * heads, intermediate_size=96, num_hidden_layers=layers,
            num_attention_heads=heads, num_key_value_heads=kv, max_position_embeddings=512, tie_word_embeddings=tied,
            initializer_range=0.3,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Qwen2ForCausalLM(config).eval().requires_grad_(False)

    return make


@pytest.fixture(scope="session")
def bytewise() -> PreTrainedTokenizerFast:
    """One token for each byte, and Qwen2's special tokens: Chinese takes three tokens a character."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(special + letters)}, []))
    tokenizer.add_special_tokens(special)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=special[0], eos_token=special[2])
