"""Tensors in files: what there is, from the headers alone, and the values, a window at a time."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.errors import CheckpointError

WINDOW = 128 << 20
"""Bytes of a file that are mapped into memory at once; a larger tensor is a window of its own."""

DTYPES = {torch.float64, torch.float32, torch.float16, torch.bfloat16}
"""What weights may be stored in."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a file, known from the file's header."""

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in the file."""
        return self.elements * self.dtype.itemsize


def entries(file: Path) -> dict[str, Entry]:
    """Every tensor of a .safetensors, .bin or .pt file, by its key; no value is read.

    Raises CheckpointError when the file is damaged, or holds anything but dense floating-point tensors.
    """
    with opened(file) as tensors:
        return {key: Entry(file, key, tuple(tensor.shape), tensor.dtype) for key, tensor in tensors.items()}


def windows(wanted: Mapping[str, Entry]) -> Iterator[list[tuple[str, Tensor]]]:
    """The values of some tensors, in batches of at most WINDOW bytes, on the CPU and as they are stored.

    They look into the mapped file, which is mapped anew for every batch: no more of it ever counts as memory. So a
    consumer copies what it keeps. Raises CheckpointError when a file is not what it was when its header was read.
    """
    for file, group in itertools.groupby(sorted(wanted, key=lambda n: str(wanted[n].file)), lambda n: wanted[n].file):
        for names in _batches(list(group), wanted):
            with opened(file) as tensors:
                for name in names:
                    there = tensors.get(wanted[name].key)
                    if there is None or tuple(there.shape) != wanted[name].shape:
                        raise CheckpointError(f"{file} changed while it was read: load it again")
                yield [(name, tensors[wanted[name].key]) for name in names]


@contextmanager
def values(entry: Entry) -> Iterator[Tensor]:
    """The value of one tensor, as a view of the mapped file."""
    with opened(entry.file) as tensors:
        yield tensors[entry.key]


def _batches(names: list[str], wanted: Mapping[str, Entry]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for name in names:
        if batch and size + wanted[name].nbytes > WINDOW:
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += wanted[name].nbytes
    if batch:
        yield batch


@contextmanager
def opened(file: Path) -> Iterator[dict[str, Tensor]]:
    """The tensors of a file by their keys, as views of the mapped file: nothing is read before it is looked at."""
    tensors = _safetensors(file) if file.suffix == ".safetensors" else _pickled(file)
    for key, tensor in tensors.items():
        if tensor.dtype not in DTYPES or tensor.layout != torch.strided:
            raise CheckpointError(f"{file}: tensor {key!r} is {tensor.dtype}; weights are dense floating point")
    yield tensors


def _safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt", device="cpu") as reader:
            return {key: reader.get_tensor(key) for key in reader.keys()}  # noqa: SIM118 -- it is no mapping
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error


def _pickled(file: Path) -> dict[str, Tensor]:
    try:
        # weights_only: a pickle could otherwise run any code.
        loaded = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{file} is damaged, or holds more than tensors and is not trusted: {error}") from error
    except (RuntimeError, OSError, ValueError, EOFError, KeyError) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error
    if isinstance(loaded, dict) and isinstance(loaded.get("model"), dict):
        loaded = loaded["model"]
    if not isinstance(loaded, dict) or not all(
        isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in loaded.items()
    ):
        raise CheckpointError(f"{file} holds something other than tensors by name")
    return loaded
