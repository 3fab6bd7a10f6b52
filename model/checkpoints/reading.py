"""What a checkpoint holds, wherever it comes from and whatever its layout: known before a single weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer

from model.checkpoints import files, hub, official
from model.checkpoints.files import TOKENIZER, Files
from model.checkpoints.tensors import Entry, entries
from model.config import PAMConfig
from model.errors import CheckpointError

NANO = Path(__file__).parents[1] / "nano"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, described.

    source:   as it was named. folder: where it lies. own_format: or the official one.
    tensors:  by our names; a head that is the embedding is left out.
    recorded: the fingerprint that it says it has, if it says so.
    """

    source: str
    folder: Path
    own_format: bool
    config: PAMConfig
    tensors: Mapping[str, Entry]
    recorded: str | None

    @property
    def files(self) -> list[Path]:
        """The files of weights."""
        return sorted({entry.file for entry in self.tensors.values()})

    @property
    def nbytes(self) -> int:
        """Bytes of its weights, as they are stored."""
        return sum(entry.nbytes for entry in self.tensors.values())

    def version(self, fingerprint: str) -> str:
        """The model's name, with the beginning of the hash of its weights."""
        return f"pam-{self.config.name}-{fingerprint[:8]}"

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer. Raises CheckpointError."""
        if (self.folder / TOKENIZER).is_file():
            return load_tokenizer(self.folder / TOKENIZER)
        vocabulary, merges = self.folder / "vocab.json", self.folder / "merges.txt"
        if not (vocabulary.is_file() and merges.is_file()):
            raise CheckpointError(f"{self.folder} is no checkpoint: it has no {TOKENIZER}")
        try:
            return Qwen2Tokenizer(str(vocabulary), str(merges), eos_token="<|im_end|>", pad_token="<|endoftext|>")
        except Exception as error:  # the tokenizers library raises bare Exception
            raise CheckpointError(f"{vocabulary} or {merges} is damaged: {error}") from error


def read(source: str | Path) -> Checkpoint:
    """Find a checkpoint and read the headers of its files.

    source: "nano"; a folder; or a Hugging Face id, "organisation/name" or "organisation/name/folder", which is fetched.
    A folder that exists counts before an id. Raises CheckpointError.
    """
    fetch_sam = None
    if str(source) == "nano":
        root = NANO
    elif Path(source).is_dir():
        root = Path(source)
    elif Path(source).exists() or isinstance(source, Path):
        raise CheckpointError(f"{source} is no checkpoint: there is no such folder")
    else:
        root, fetch_sam = hub.fetch(source), hub.fetch_sam
    try:
        found = files.find(root)
    except OSError as error:
        raise CheckpointError(f"{root} cannot be read: {error}") from error
    data = files.read_json(found.config)
    if not isinstance(data, dict):
        raise CheckpointError(f"{found.config} is no configuration: it holds no object")
    tensors = _tensors(found)
    if "model" in data:
        config = PAMConfig.from_dict(data)
        tensors, _ = official.with_head(tensors, bool(config.language.get("tie_word_embeddings")))
    else:
        config, tensors = _official(found, data, tensors, fetch_sam)
    _check_sizes(found.config, config, tensors)
    recorded = data.get("fingerprint")
    return Checkpoint(str(source), found.folder, "model" in data, config, tensors, recorded)


def _official(
    found: Files, data: Mapping[str, Any], theirs: dict[str, Entry], fetch_sam: official.Fetch | None
) -> tuple[PAMConfig, dict[str, Entry]]:
    tensors, tied = official.with_head(official.renamed(theirs), bool(data.get("tie_word_embeddings")))
    tensors, tower = official.with_sam(found, tensors, data, fetch_sam)
    embedding = tensors.get(official.EMBEDDING)
    if embedding is None or len(embedding.shape) != 2:
        raise CheckpointError(f"{found.weights[0]}: tensor 'model.embed_tokens.weight' is missing or no table")
    return official.to_config(found, data, tower, tied, embedding.shape[0]), tensors


def _tensors(found: Files) -> dict[str, Entry]:
    """All tensors of a checkpoint's files. Raises CheckpointError where they are not what the index says."""
    tensors: dict[str, Entry] = {}
    for file in found.weights:
        for key, entry in entries(file).items():
            if key in tensors:
                raise CheckpointError(f"{file}: tensor {key!r} stands in {tensors[key].file.name} too")
            tensors[key] = entry
    for key, name in (found.index or {}).items():
        if key not in tensors or tensors[key].file.name != name:
            raise CheckpointError(f"{found.folder / name} lacks tensor {key!r}, which the index places there")
    return tensors


def _check_sizes(path: Path, config: PAMConfig, tensors: Mapping[str, Entry]) -> None:
    """Raise CheckpointError for a configuration that its own tensors refute, before a model is built from it."""
    prefix = "language.model.layers."
    layers = {name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)}
    claimed = config.language.get("num_hidden_layers")
    if claimed != len(layers):
        raise CheckpointError(f"{path} says num_hidden_layers is {claimed}, its weights have {len(layers)}")
    embedding = tensors.get(official.EMBEDDING)
    shape = (config.language.get("vocab_size"), config.language.get("hidden_size"))
    if embedding is not None and embedding.shape != shape:
        raise CheckpointError(
            f"{embedding.file}: tensor {embedding.key!r} is {embedding.shape}, {path} says it is {shape}"
        )


def load_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """A tokenizer from its JSON file. Raises CheckpointError."""
    try:
        return PreTrainedTokenizerFast(tokenizer_file=str(path), pad_token="<|endoftext|>", eos_token="<|im_end|>")
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(f"{path} is damaged: {error}") from error
