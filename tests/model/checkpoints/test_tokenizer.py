"""Tokenizers of checkpoints: in whatever files they come, every prompt has the same ids, and a wrong one is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import model
from backend import cli
from model import CheckpointError
from model.checkpoints import NANO, TOKENIZER, load_tokenizer, read, verify
from model.checkpoints.tokenizer import SPECIAL, read_tokenizer
from model.fields import QUESTIONS, VIDEO_QUESTIONS
from model.language import Question, prompt_ids
from tests.model.checkpoints import published
from tests.model.checkpoints.published import write

VOCABULARY, MERGES, ADDED, CONFIG = "vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"


def whole(last: bool) -> dict:
    """nano's tokenizer.json; last: renumbered so that the special tokens follow all others, as in Qwen2.5."""
    data = json.loads((NANO / TOKENIZER).read_text())
    if last:
        vocabulary = data["model"]["vocab"]
        order = sorted(vocabulary, key=lambda token: (token in SPECIAL, vocabulary[token]))
        data["model"]["vocab"] = {token: i for i, token in enumerate(order)}
        for token in data["added_tokens"]:
            token["id"] = data["model"]["vocab"][token["content"]]
    return data


def split(folder: Path, data: dict, places: tuple[str, ...]) -> None:
    """Write a tokenizer as transformers' slower classes do: vocab.json without the special tokens, which stand in
    `places`."""
    folder.mkdir(exist_ok=True)
    vocabulary = {token: i for token, i in data["model"]["vocab"].items() if token not in SPECIAL}
    (folder / VOCABULARY).write_text(json.dumps(vocabulary))
    (folder / MERGES).write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in data["model"]["merges"]))
    if ADDED in places:
        (folder / ADDED).write_text(json.dumps({token["content"]: token["id"] for token in data["added_tokens"]}))
    if CONFIG in places:
        described = {str(token["id"]): {k: v for k, v in token.items() if k != "id"} for token in data["added_tokens"]}
        text = json.dumps({"added_tokens_decoder": described, "tokenizer_class": "Qwen2Tokenizer"})
        (folder / CONFIG).write_text(text)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("places", [(ADDED,), (CONFIG,), (ADDED, CONFIG)])
def test_the_same_ids_from_either_form(places: tuple[str, ...], last: bool, tmp_path: Path):
    """Every official question, with the special tokens that Qwen's vocab.json does not hold."""
    data = whole(last)
    (tmp_path / TOKENIZER).write_text(json.dumps(data))
    reference = load_tokenizer(tmp_path / TOKENIZER)
    split(tmp_path / "parts", data, places)
    parts = read_tokenizer(tmp_path / "parts")
    for text in [*QUESTIONS.values(), *VIDEO_QUESTIONS.values()]:
        assert prompt_ids(parts, Question(text)) == prompt_ids(reference, Question(text))
    turn = data["model"]["vocab"]["<|im_start|>"]
    assert prompt_ids(parts, Question(QUESTIONS["recognize_en"]))[0][0] == turn
    assert parts.get_vocab() == reference.get_vocab()
    assert (parts.eos_token_id, parts.pad_token_id) == (reference.eos_token_id, reference.pad_token_id)
    ids = reference.encode("a red ball<|im_end|>", add_special_tokens=False)
    assert parts.decode(ids, skip_special_tokens=True) == "a red ball"


def test_a_model_with_the_parts(tmp_path: Path):
    """It loads from a folder, and converted it has the same prompts in one file."""
    folder = write(tmp_path / "PAM", "safetensors", published.tensors())
    (folder / TOKENIZER).unlink()
    split(folder, whole(False), (ADDED, CONFIG))
    ids = prompt_ids(model.load(folder).tokenizer, Question(QUESTIONS["explain_en"]))
    assert ids == prompt_ids(load_tokenizer(NANO / TOKENIZER), Question(QUESTIONS["explain_en"]))
    result = CliRunner().invoke(cli.app, ["weights", "convert", str(folder), str(tmp_path / "own")])
    assert result.exit_code == 0, result.exception
    converted = load_tokenizer(tmp_path / "own" / TOKENIZER)
    assert prompt_ids(converted, Question(QUESTIONS["explain_en"])) == ids


def put(name: str, content: object) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / ADDED).unlink(), r"'<\|endoftext\|>' is in none of vocab.json, merges.txt, added_to"),
        (put(ADDED, {"<|endoftext|>": 0, "<|im_start|>": 1}), r"'<\|im_end\|>' is in none of"),
        (
            put(ADDED, {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 3}),
            r"'<\|im_end\|>' the id 3; .* belongs to",
        ),
        (
            put(ADDED, {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 1}),
            r"'<\|im_end\|>' the id 1; .* belongs to",
        ),
        (put(CONFIG, {"added_tokens_decoder": {"5": {"content": "<|im_end|>"}}}), "the id 5; .* belongs to"),
        (
            put(CONFIG, {"added_tokens_decoder": {"700": {"content": "<|im_end|>"}}}),
            "added_tokens.json gives .*has id 700",
        ),
        (put(CONFIG, {"added_tokens_decoder": {"-1": {"content": "x"}}}), "'-1' is no token id"),
        (put(CONFIG, {"added_tokens_decoder": {"700": {"content": 7}}}), "7 with .* is no token"),
        (put(CONFIG, {"added_tokens_decoder": {"700": "x"}}), "is no token"),
        (put(CONFIG, {"added_tokens_decoder": []}), "added_tokens_decoder is no object"),
        (put(CONFIG, "{"), "tokenizer_config.json cannot be read"),
        (put(ADDED, []), "added_tokens.json is no list of tokens"),
        (put(ADDED, {"<|im_end|>": True}), "True is no token id"),
        (put(VOCABULARY, "{"), "vocab.json or .*merges.txt is damaged"),
        (put(MERGES, "a b c d\ne"), "vocab.json or .*merges.txt is damaged"),
        (lambda folder: (folder / MERGES).unlink(), "it has no tokenizer.json, nor vocab.json and merges.txt"),
    ],
)
def test_parts_that_do_not_fit_together(damage: Callable[[Path], object], says: str, tmp_path: Path):
    """A special token that is missing, or an id that two files give to different tokens, is no tokenizer."""
    split(tmp_path, whole(False), (ADDED,))
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=says):
        read_tokenizer(tmp_path)


def change(folder: Path, edit: Callable[[dict], object]) -> None:
    data = json.loads((folder / TOKENIZER).read_text())
    edit(data)
    (folder / TOKENIZER).unlink()
    (folder / TOKENIZER).write_text(json.dumps(data))


def without(token: str) -> Callable[[dict], object]:
    def edit(data: dict) -> None:
        del data["model"]["vocab"][token]
        data["added_tokens"] = [added for added in data["added_tokens"] if added["content"] != token]

    return edit


def as_words(token: str) -> Callable[[dict], object]:
    """The token is in the vocabulary, and text is never cut so that it is found there."""
    return lambda data: data.update(added_tokens=[a for a in data["added_tokens"] if a["content"] != token])


def one_more(data: dict) -> None:
    data["added_tokens"].append(data["added_tokens"][0] | {"id": 692, "content": "<|more|>"})


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        *[(without(token), f"tokenizer.json: '{token}' is missing".replace("|", r"\|")) for token in SPECIAL],
        (as_words("<|im_start|>"), r"tokenizer.json: '<\|im_start\|>' is \d+ tokens \[.*\], it must be one"),
        (one_more, "tokenizer.json: the largest token id is 692, the embedding has 692 rows"),
    ],
)
def test_a_tokenizer_of_another_model(edit: Callable[[dict], object], says: str, tmp_path: Path):
    """Nothing of it would fail later, only every answer would be nonsense: it is neither loaded, nor converted, nor
    found in order."""
    folder = Path(shutil.copytree(NANO, tmp_path / "nano"))
    change(folder, edit)
    with pytest.raises(CheckpointError, match=says):
        model.load(folder)
    for command in (["verify", folder], ["convert", folder, tmp_path / "out"]):
        result = CliRunner().invoke(cli.app, ["weights", *map(str, command)])
        assert result.exit_code == 1
    assert not (tmp_path / "out").exists()


def test_verify_lists_it_with_the_rest(tmp_path: Path):
    """A tokenizer too large is one problem among others, and its file is named."""
    folder = Path(shutil.copytree(NANO, tmp_path / "nano"))
    change(folder, one_more)
    (problem,) = verify(read(folder), lambda count: None).problems
    assert problem.startswith(f"{folder / TOKENIZER}: the largest token id is 692")
