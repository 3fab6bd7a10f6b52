"""What a shard leaves behind for the files of the whole version, so that these are cheap to put together.

Fragments lie in a version's folder under `.shards/`, one file for each format and shard. They are hard-linked from
version to version like every other file of a shard, and are no part of what is published.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

FOLDER = ".shards"
SPLITS = ("train", "validation")


def dumps(value: object) -> str:
    """One line of JSON; the same value gives the same text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def write(folder: Path, part: str, shard: str, lines: Sequence[str]) -> list[str]:
    """Write the fragment `part` of `shard`, unless it has no lines; its path, relative to `folder`, in a list."""
    return [write_lines(folder, _name(part, shard), lines)] if lines else []


def read(folder: Path, part: str, shards: Sequence[str]) -> Iterator[str]:
    """All lines of the fragments `part`, in the order of the shards' names; one fragment is in memory."""
    for shard in sorted(shards):
        yield from _text(folder, part, shard).split("\n")[:-1]


def first_lines(folder: Path, part: str, shards: Sequence[str]) -> Iterator[str]:
    """The first line of each of the fragments `part`, in the order of the shards' names."""
    for shard in sorted(shards):
        if text := _text(folder, part, shard):
            yield text[: text.index("\n")]


def pairs(folder: Path, part: str, shards: Sequence[str]) -> Iterator[tuple[str, str]]:
    """First and second line of each of the fragments `part`, which have two lines each."""
    lines = read(folder, part, shards)
    return zip(lines, lines, strict=True)


def path(folder: Path, part: str, shard: str) -> Path:
    """Where the fragment `part` of `shard` lies, if there is one."""
    return folder / _name(part, shard)


def write_lines(folder: Path, name: str, lines: Iterable[str]) -> str:
    """Write the text file `name` below `folder`, UTF-8 with line feeds; `name`."""
    with created(folder, name) as file:
        file.writelines(line + "\n" for line in lines)
    return name


def created(folder: Path, name: str) -> TextIO:
    """A new text file `name` below `folder`; one that was there may be a link to an older version, and is let go."""
    target = f"{folder}/{name}"
    try:
        return open(target, "x", encoding="utf-8", newline="\n")
    except FileExistsError:
        os.unlink(target)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
    return open(target, "x", encoding="utf-8", newline="\n")


def distribute(folder: Path, lines: Iterable[tuple[str, str]]) -> list[str]:
    """Write each line to the file below `folder` that stands beside it; the files written, sorted."""
    files: dict[str, TextIO] = {}
    with ExitStack() as stack:
        for name, line in lines:
            if name not in files:
                files[name] = stack.enter_context(created(folder, name))
            files[name].write(line + "\n")
    return sorted(files)


def write_listing(folder: Path, name: str, files: Sequence[str]) -> str:
    """Write the YAML by which PAM's trainer finds its JSON Lines, whose paths start at `folder`; `name`."""
    entries = [line for file in files for line in (f"  - json_path: {file}", "    sampling_strategy: all")]
    return write_lines(folder, name, ["datasets:", *entries] if entries else ["datasets: []"])


def _text(folder: Path, part: str, shard: str) -> str:
    """All of a fragment, "" where there is none. Every version reads all of its fragments: hence no path, no buffer."""
    try:
        with open(f"{folder}/{_name(part, shard)}", "rb", buffering=0) as file:
            return file.read().decode("utf-8")
    except FileNotFoundError:
        return ""


def _name(part: str, shard: str) -> str:
    return f"{FOLDER}/{part}/{shard}.jsonl"
