"""What a shard leaves behind for the files of the whole version, so that these are cheap concatenations.

Fragments lie in a version's folder under `.shards/`, one file for each format, part and shard. They are hard-linked
from version to version like every other file of a shard, and are no part of what is published.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

FOLDER = ".shards"
SPLITS = ("train", "validation")


def dumps(value: object) -> str:
    """One line of JSON; the same value gives the same text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def write(folder: Path, part: str, shard: str, lines: Iterable[str]) -> list[str]:
    """Write the fragment `part` of `shard`, unless it has no lines; its path, relative to `folder`, in a list."""
    lines = list(lines)
    if not lines:
        return []
    path = _path(folder, part, shard)
    write_lines(path, lines)
    return [path.relative_to(folder).as_posix()]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file, UTF-8 with line feeds, and the folders above it. A hard link that was there stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # never write through a hard link into an older version
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)


def paths(folder: Path, part: str, shards: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """The shards that have the fragment `part`, in the order of their names, each with its file."""
    for shard in sorted(shards):
        path = _path(folder, part, shard)
        if path.exists():
            yield shard, path


def read(folder: Path, part: str, shards: Sequence[str]) -> Iterator[str]:
    """All lines of the fragment `part`, shard by shard; one line is in memory."""
    for _, path in paths(folder, part, shards):
        with open(path, encoding="utf-8", newline="\n") as file:
            yield from (line.rstrip("\n") for line in file)


def concatenate(folder: Path, part: str, shards: Sequence[str], target: str) -> list[str]:
    """Write all fragments `part` to the file `target`, unless there are none; its path in a list."""
    sources = [path for _, path in paths(folder, part, shards)]
    if not sources:
        return []
    path = folder / target
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with open(path, "wb") as file:
        for source in sources:
            with open(source, "rb") as lines:
                shutil.copyfileobj(lines, file, 1 << 20)
    return [target]


def _path(folder: Path, part: str, shard: str) -> Path:
    return folder / FOLDER / part / f"{shard}.jsonl"
