"""PAM Studio's own format: config.json, model.safetensors and tokenizer.json in one folder."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from model.checkpoints.files import CONFIG, TOKENIZER, WEIGHTS
from model.checkpoints.hashing import Fingerprint
from model.config import PAMConfig
from model.errors import CheckpointError

CODES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def write(
    folder: Path,
    config: PAMConfig,
    tokenizer: str,
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Iterable[tuple[str, Tensor]],
    dtype: torch.dtype,
    about: Mapping[str, Any],
    on_bytes: Callable[[int], None] = lambda count: None,
) -> None:
    """Write a checkpoint, one tensor at a time; it is there as a whole or not at all, and takes the place of another.

    tokenizer: JSON. shapes: of all that `tensors` will give, whatever its order. about: for config.json.
    on_bytes:  told the bytes written by every tensor.
    Raises CheckpointError when a value does not fit into `dtype`, or the disk is full.
    """
    fingerprint = Fingerprint()
    with _replacing(folder) as fresh:
        with (fresh / WEIGHTS).open("wb") as file:
            places = _header(file, shapes, dtype)
            for name, tensor in tensors:
                value = _as(name, tensor, dtype)
                fingerprint.add(name, value)
                file.seek(places[name])
                file.write(value.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
                on_bytes(value.nbytes)
            file.flush()
            os.fsync(file.fileno())
        (fresh / TOKENIZER).write_text(tokenizer, encoding="utf-8")
        data = {"model": config.to_dict(), "fingerprint": fingerprint.hex(), "about": dict(about)}
        (fresh / CONFIG).write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _header(file: BinaryIO, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> dict[str, int]:
    """Write the head of a safetensors file, and say where in the file each tensor goes.

    By hand (https://github.com/huggingface/safetensors#format), since the library wants all tensors in memory at once.
    """
    described, offset, places = {}, 0, {}
    for name, shape in sorted(shapes.items()):
        end = offset + torch.Size(shape).numel() * dtype.itemsize
        described[name] = {"dtype": CODES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        places[name], offset = offset, end
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    return {name: place + 8 + len(text) for name, place in places.items()}


def _as(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    value = tensor.detach().to("cpu", dtype).contiguous()
    if tensor.dtype != dtype and bool(value.isinf().any()) and not bool(tensor.isinf().any()):
        largest = float(tensor.abs().max())
        raise CheckpointError(f"tensor {name!r} holds {largest:.4g}, which {dtype} cannot: choose another dtype")
    return value


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of another when all went well, and vanishes when not."""
    fresh = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        fresh.chmod(0o777 & ~_umask())
        yield fresh
        if folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
            folder.rename(old / folder.name)
            fresh.rename(folder)
            shutil.rmtree(old)
        else:
            fresh.rename(folder)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
