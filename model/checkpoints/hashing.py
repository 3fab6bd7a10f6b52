"""What weights are called: a hash of their content, whatever files they came in."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


class Fingerprint:
    """Grows with every tensor, in any order; different for different names, shapes, dtypes or values.

    SHA-256 of each tensor by itself, so that several threads can share the work (hashing releases the GIL), and then
    of all of these in the order of their names.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, tensor: Tensor) -> None:
        """Take in a tensor on the CPU, as it is stored."""
        raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest = hashlib.sha256(raw).hexdigest()  # type: ignore[arg-type]
        self._lines.append(f"{name} {tensor.dtype} {tuple(tensor.shape)} {digest}")

    def hex(self) -> str:
        """64 hex digits."""
        return hashlib.sha256("\n".join(sorted(self._lines)).encode()).hexdigest()
