"""Which files of a folder, or of a repository's listing, make up a checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from model.errors import CheckpointError

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
INDEX = ".index.json"
WEIGHT_FILES = (WEIGHTS, WEIGHTS + INDEX, "pytorch_model.bin", "pytorch_model.bin" + INDEX)
"""Where weights may stand, the first of these that is there (the order of transformers)."""
SHARD = re.compile(r"(model|pytorch_model)-\d+-of-\d+\.(safetensors|bin)")
VOCABULARY, MERGES, ADDED, TOKENIZER_CONFIG = "vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"
PARTS = (VOCABULARY, MERGES, ADDED, TOKENIZER_CONFIG)
"""What stands in for tokenizer.json where a tokenizer was saved by transformers' slower classes, as LLaVA's training
does; Qwen's special tokens are in the latter two alone."""
TOKENIZER_FILES = (TOKENIZER, *PARTS)
SAM = re.compile(r"sam2\.1_hiera_(tiny|small|base_plus|large)\.pt")
"""SAM 2.1's own checkpoints, under the names they are published with."""


@dataclass(frozen=True)
class Files:
    """The parts of one checkpoint on disk.

    weights: all files of weights. index: which tensor stands in which of them, when an index says so.
    sam:     SAM 2.1 checkpoints beside it, by file name.
    """

    folder: Path
    weights: tuple[Path, ...]
    index: dict[str, str] | None
    sam: dict[str, Path]

    @property
    def config(self) -> Path:
        """Its sizes."""
        return self.folder / CONFIG


def find(root: Path) -> Files:
    """The checkpoint in a folder, or in its only sub-folder that has one.

    Raises CheckpointError when there is none, or more than one, or a part of it is missing.
    """
    names = [p.name for p in root.iterdir()] + [f"{p.parent.name}/{p.name}" for p in root.glob("*/*")]
    folder = root / place(names, str(root))
    main = next(name for name in WEIGHT_FILES if (folder / name).is_file())
    index = read_index(folder / main) if main.endswith(INDEX) else None
    weights = tuple(folder / name for name in sorted(set(index.values()) if index else {main}))
    for file in weights:
        if not file.is_file():
            raise CheckpointError(f"{file} is missing: {folder / main} names it; fetch it anew")
    nearby = [
        *root.parent.glob("sam2.1_hiera_*.pt"),
        *root.glob("sam2.1_hiera_*.pt"),
        *folder.glob("sam2.1_hiera_*.pt"),
    ]
    return Files(folder, weights, index, {file.name: file for file in nearby if SAM.fullmatch(file.name)})


def place(names: Collection[str], source: str) -> str:
    """The sub-folder, "" for none, of a listing of relative names that holds the checkpoint."""
    folders = {_folder(name) for name in names if PurePosixPath(name).name in WEIGHT_FILES}
    folders = {folder for folder in folders if _inside(folder, CONFIG) in names}
    if "" in folders:
        return ""
    if len(folders) > 1:
        choices = ", ".join(f"{source}/{folder}" for folder in sorted(folders))
        raise CheckpointError(f"{source} holds several checkpoints, name one: {choices}")
    if folders:
        return folders.pop()
    at_top = {name for name in names if "/" not in name}
    if CONFIG not in at_top:
        raise CheckpointError(f"{source} is no checkpoint: it has no {CONFIG}")
    if any(SHARD.fullmatch(name) for name in at_top):
        raise CheckpointError(
            f"{source} is no checkpoint: it has shards, but no {WEIGHTS}{INDEX} to say what they hold"
        )
    raise CheckpointError(f"{source} is no checkpoint: it has no {WEIGHTS}, nor {', '.join(WEIGHT_FILES[1:])}")


def needed(names: Collection[str], folder: str) -> list[str]:
    """Which names of a repository's listing a checkpoint in that sub-folder is made of."""
    main = next(name for name in WEIGHT_FILES if _inside(folder, name) in names)
    wanted = {CONFIG, main, *TOKENIZER_FILES}
    if main.endswith(INDEX):
        suffix = PurePosixPath(main.removesuffix(INDEX)).suffix
        wanted |= {n.name for n in map(PurePosixPath, names) if SHARD.fullmatch(n.name) and n.suffix == suffix}
    parts = [name for name in names if _folder(name) == folder and PurePosixPath(name).name in wanted]
    return parts + [n for n in names if _folder(n) in ("", folder) and SAM.fullmatch(PurePosixPath(n).name)]


def read_index(path: Path) -> dict[str, str]:
    """Which tensor stands in which file. Raises CheckpointError for an index that is none, or leaves its folder."""
    data = read_json(path)
    index = data.get("weight_map") if isinstance(data, dict) else None
    if not isinstance(index, dict) or not index:
        raise CheckpointError(f"{path} is no index: it has no weight_map")
    suffix = Path(path.name.removesuffix(INDEX)).suffix
    for key, name in index.items():
        if not isinstance(name, str) or PurePosixPath(name).name != name or "\\" in name or not name.endswith(suffix):
            raise CheckpointError(f"{path} places tensor {key!r} in {name!r}, which is no {suffix} file beside it")
    return index


def read_json(path: Path) -> Any:
    """The JSON in a file. Raises CheckpointError when it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _folder(name: str) -> str:
    parent = str(PurePosixPath(name).parent)
    return "" if parent == "." else parent


def _inside(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
