"""Tokenizers of checkpoints: one tokenizer.json, or the four files that slower tokenizers save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer

from model.checkpoints.files import ADDED, MERGES, PARTS, TOKENIZER, TOKENIZER_CONFIG, VOCABULARY, read_json
from model.errors import CheckpointError

END_OF_TEXT, TURN_BEGINS, TURN_ENDS = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (END_OF_TEXT, TURN_BEGINS, TURN_ENDS)
"""What a conversation with PAM is made of, besides text."""


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a checkpoint's folder. Raises CheckpointError when there is none, or a part of it is wrong."""
    if (folder / TOKENIZER).is_file():
        return load_tokenizer(folder / TOKENIZER)
    if not ((folder / VOCABULARY).is_file() and (folder / MERGES).is_file()):
        raise CheckpointError(f"{folder} is no checkpoint: it has no {TOKENIZER}, nor {VOCABULARY} and {MERGES}")
    return _from_parts(folder)


def load_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """A tokenizer from its JSON file. Raises CheckpointError."""
    try:
        read = Tokenizer.from_file(str(path))
        missing = [token for token in SPECIAL if read.token_to_id(token) is None]
        # Looked for before it is wrapped, since the wrapper gives those that are missing the next free ids.
        wrapped = PreTrainedTokenizerFast(tokenizer_object=read, pad_token=END_OF_TEXT, eos_token=TURN_ENDS)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if missing:
        raise CheckpointError(f"{path}: {missing[0]!r} is missing, without which no prompt can be written")
    return wrapped


def tokenizer_file(folder: Path) -> Path:
    """The file to name when a checkpoint's tokenizer is wrong."""
    return folder / (TOKENIZER if (folder / TOKENIZER).is_file() else VOCABULARY)


def unfit(tokenizer: PreTrainedTokenizerBase, rows: int, file: Path) -> list[str]:
    """Why a tokenizer cannot serve a model whose embedding has that many rows; empty if it can.

    Text of a special token that is not one id would be read as words, and the model would see no conversation.
    """
    problems = []
    for token in SPECIAL:
        ids = tokenizer.encode(token, add_special_tokens=False)
        if len(ids) != 1 or tokenizer.convert_ids_to_tokens(ids[0]) != token:
            problems.append(f"{file}: {token!r} is {len(ids)} tokens {ids}, it must be one of its own")
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= rows:
        problems.append(f"{file}: the largest token id is {largest}, the embedding has {rows} rows")
    return problems


def _from_parts(folder: Path) -> PreTrainedTokenizerBase:
    """From vocab.json and merges.txt, and the tokens that were added to them, each at its id."""
    files = f"{folder / VOCABULARY} or {folder / MERGES}"
    try:
        vocabulary, merges = BPE.read_file(str(folder / VOCABULARY), str(folder / MERGES))
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(f"{files} is damaged: {error}") from error
    holders = {i: token for token, i in vocabulary.items()}
    added = _added(folder)
    for token, i, file in added:
        if vocabulary.setdefault(token.content, i) != i or holders.setdefault(i, token.content) != token.content:
            raise CheckpointError(
                f"{file} gives {token.content!r} the id {i}; elsewhere beside it that token has id "
                f"{vocabulary[token.content]}, and that id belongs to {holders.get(i)!r}"
            )
    if missing := [token for token in SPECIAL if token not in vocabulary]:
        raise CheckpointError(f"{folder}: {missing[0]!r} is in none of {', '.join(PARTS)}: fetch all of them")
    plain = [AddedToken(token, special=True, normalized=False) for token in SPECIAL]
    try:
        # They are in the vocabulary by now: a tokenizer gives a token that it does not know the next free id.
        tokenizer = Qwen2Tokenizer(vocabulary, merges, eos_token=TURN_ENDS, pad_token=END_OF_TEXT)  # type: ignore[arg-type]
        tokenizer.add_tokens([*plain, *(token for token, _, _ in added if token.content not in SPECIAL)])
    except Exception as error:  # as above
        raise CheckpointError(f"{files} is damaged: {error}") from error
    return tokenizer


def _added(folder: Path) -> list[tuple[AddedToken, int, Path]]:
    """Tokens outside vocab.json, their ids, and the file that says so; transformers saves them in two places."""
    added = []
    if (file := folder / TOKENIZER_CONFIG).is_file():
        data = read_json(file)
        described = data.get("added_tokens_decoder", {}) if isinstance(data, dict) else None
        if not isinstance(described, dict):
            raise CheckpointError(f"{file} is no configuration of a tokenizer: its added_tokens_decoder is no object")
        for i, facts in described.items():
            text = facts.get("content") if isinstance(facts, dict) else None
            added.append((_token(file, text, facts), _id(file, i), file))
    if (file := folder / ADDED).is_file():
        data = read_json(file)
        if not isinstance(data, dict):
            raise CheckpointError(f"{file} is no list of tokens: it holds no object")
        described = {token.content: token for token, _, _ in added}
        for text, i in data.items():
            # Which are special is said in the other file alone; by Qwen's custom those are written so.
            facts = {"special": text.startswith("<|") and text.endswith("|>")}
            added.append((described.get(text) or _token(file, text, facts), _id(file, i), file))
    return added


def _token(file: Path, text: Any, facts: dict[str, Any]) -> AddedToken:
    flags = {name: facts[name] for name in ("single_word", "lstrip", "rstrip", "special") if name in facts}
    if not isinstance(text, str) or not text or not all(isinstance(flag, bool) for flag in flags.values()):
        raise CheckpointError(f"{file}: {text!r} with {flags} is no token")
    return AddedToken(text, normalized=facts.get("normalized") is True, **flags)


def _id(file: Path, i: Any) -> int:
    if type(i) is int and i >= 0:
        return i
    if isinstance(i, str) and i.isascii() and i.isdecimal() and len(i) < 10:
        return int(i)
    raise CheckpointError(f"{file}: {i!r} is no token id")
