"""Checkpoints looked at, checked and converted, without ever being in memory as a whole."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from model.checkpoints import native
from model.checkpoints.files import CONFIG, TOKENIZER, WEIGHTS
from model.checkpoints.hashing import Fingerprint
from model.checkpoints.loading import HASHERS, build, misfits
from model.checkpoints.reading import Checkpoint
from model.checkpoints.tensors import windows
from model.errors import CheckpointError

OnBytes = Callable[[int], None]
"""Told how many more bytes of the checkpoint were read."""

HUB_BLOB = re.compile("[0-9a-f]{64}")
"""The Hugging Face cache names large files by their SHA-256."""


@dataclass(frozen=True)
class Part:
    """One part of a PAM: its tensors, weights, bytes, and the dtypes that these are stored in."""

    name: str
    tensors: int
    parameters: int
    nbytes: int
    dtypes: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What `verify` found; `problems` is empty for a checkpoint in order."""

    problems: tuple[str, ...]
    fingerprint: str


def parts(checkpoint: Checkpoint) -> list[Part]:
    """SAM 2.1, the perceiver, the projectors and the rest, by the first part of their tensors' names."""
    groups = defaultdict(list)
    for name, entry in checkpoint.tensors.items():
        groups[name.split(".")[0]].append(entry)
    return [
        Part(
            name,
            len(group),
            sum(entry.elements for entry in group),
            sum(entry.nbytes for entry in group),
            tuple(sorted({str(entry.dtype).removeprefix("torch.") for entry in group})),
        )
        for name, group in sorted(groups.items(), key=lambda item: -sum(entry.nbytes for entry in item[1]))
    ]


def fingerprint(checkpoint: Checkpoint, on_bytes: OnBytes) -> str:
    """The hash of all weights, 64 hex digits; the model's version ends in its first eight."""
    return _check_values(checkpoint, on_bytes, lambda name, tensor: None)[1]


def verify(checkpoint: Checkpoint, on_bytes: OnBytes) -> Verdict:
    """Hold a checkpoint against the model of its configuration, its values against NaN and infinity, and its hashes
    against those that it came with, if it came with any."""
    problems = misfits(checkpoint, build(checkpoint))

    def finite(name: str, tensor: Tensor) -> str | None:
        if bool(torch.isfinite(tensor).all()):
            return None
        entry = checkpoint.tensors[name]
        bad = int((~torch.isfinite(tensor)).sum())
        return f"{entry.file}: tensor {entry.key!r} holds {bad} values that are not finite"

    unsound, found = _check_values(checkpoint, on_bytes, finite)
    problems += unsound
    if checkpoint.recorded is not None and checkpoint.recorded != found:
        problems.append(
            f"{checkpoint.folder / CONFIG} records the hash {checkpoint.recorded}, the weights have {found}"
        )
    for file in checkpoint.files:
        blob = file.resolve()
        if HUB_BLOB.fullmatch(blob.name) and (digest := _sha256(blob)) != blob.name:
            problems.append(f"{file}: its SHA-256 is {digest}, the hub's {blob.name}: delete {blob} and fetch it anew")
    return Verdict(tuple(problems), found)


def convert(checkpoint: Checkpoint, out: Path, dtype: torch.dtype, replace: bool, on_bytes: OnBytes) -> None:
    """Write a checkpoint in our own format, weights in `dtype`.

    replace: whether a checkpoint in our format may already be there; nothing else is ever replaced.
    Raises CheckpointError when the checkpoint does not fit its model, or `out` cannot be written.
    """
    _check_free(out, replace)
    pam = build(checkpoint)
    if problems := misfits(checkpoint, pam):
        raise CheckpointError(problems[0])
    needed = sum(entry.elements for entry in checkpoint.tensors.values()) * dtype.itemsize
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if (free := shutil.disk_usage(parent).free) < needed:
        raise CheckpointError(f"{out} needs {needed / 1e9:.2f} GB, and its disk has {free / 1e9:.2f} GB free")

    def stream() -> Iterator[tuple[str, Tensor]]:
        for window in windows(checkpoint.tensors):
            for name, tensor in window:
                yield name, tensor
                on_bytes(tensor.nbytes)

    native.write(
        out,
        checkpoint.config,
        pam.tokenizer.backend_tokenizer.to_str(pretty=True),
        {name: entry.shape for name, entry in checkpoint.tensors.items()},
        stream(),
        dtype,
        {"converted_from": checkpoint.source},
    )


def _check_free(out: Path, replace: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir() or {file.name for file in out.iterdir()} - {CONFIG, WEIGHTS, TOKENIZER}:
        raise CheckpointError(f"{out} is there, and is no checkpoint in PAM Studio's format: choose another place")
    if not replace and any(out.iterdir()):
        raise CheckpointError(f"{out} is there already: choose another place, or --force to replace it")


def _check_values(
    checkpoint: Checkpoint, on_bytes: OnBytes, check: Callable[[str, Tensor], str | None]
) -> tuple[list[str], str]:
    """Read every value once: what `check` says of the tensors, and the fingerprint."""
    said, total = [], Fingerprint()
    with ThreadPoolExecutor(HASHERS) as pool:
        for window in windows(checkpoint.tensors):
            hashed = [pool.submit(total.add, name, tensor) for name, tensor in window]
            said += [check(name, tensor) for name, tensor in window]
            for future, (_, tensor) in zip(hashed, window, strict=True):
                future.result()
                on_bytes(tensor.nbytes)
    return [text for text in said if text], total.hex()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
