"""From a checkpoint to a PAM: built without weights, then given them one by one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.transformer import RoPEAttention
from torch import Tensor, nn

from model.checkpoints import native, official
from model.checkpoints.hashing import Fingerprint
from model.checkpoints.reading import Checkpoint, read
from model.checkpoints.tensors import windows
from model.checkpoints.tokenizer import tokenizer_file, unfit
from model.errors import CheckpointError
from model.pam import PAM

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SMALL = 100_000_000
"""Weights up to which a model gains nothing from half precision."""

HASHERS = 2
"""Threads that hash while the weights are copied; on one core of an x86 server, hashing reads some 1.9 GB a second."""

_building = threading.Lock()


def load(source: str | Path = "nano", device: str = "cpu", dtype: str = "auto", threads: int | None = None) -> PAM:
    """A PAM ready to use.

    source:  "nano", the model that comes with the package; a folder, in PAM Studio's format or as the makers of PAM
             publish it; or a Hugging Face id such as "Perceive-Anything/PAM-3B", with a sub-folder or without.
    dtype:   "float32", "bfloat16", "float16", or "auto": float32 on a CPU and for small models, else bfloat16.
    threads: CPU threads of the whole process, or None to leave them as they are.
    Raises CheckpointError when the source is no checkpoint, does not fit its own configuration, or the device cannot
    hold it; the message names the file, the first tensor that is wrong, and the two shapes.
    """
    if threads is not None:
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
    check_device(device)
    checkpoint = read(source)
    pam = build(checkpoint)
    check_fit(checkpoint, pam)
    chosen = choose_dtype(dtype, device, checkpoint)
    exact_float32(device, chosen)
    return fill(pam, checkpoint, device, chosen)


def check_device(device: str) -> None:
    """Raise CheckpointError for a device that this machine, or this build of torch, does not have, or holds nothing."""
    try:
        kind = torch.empty(1, device=device).device.type
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch asserts that it was compiled for it
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"device {device!r} cannot be used: {reason}") from error
    if kind == "meta":
        raise CheckpointError(f"device {device!r} cannot be used: it has shapes alone, no weights")


def choose_dtype(dtype: str, device: str, checkpoint: Checkpoint) -> torch.dtype:
    """The dtype to run in, see `load`. Raises CheckpointError for an unknown name."""
    if dtype != "auto":
        if dtype not in DTYPES:
            raise CheckpointError(f"dtype {dtype!r} is none of auto, {', '.join(DTYPES)}")
        return DTYPES[dtype]
    kind = torch.device(device).type
    if kind == "cpu" or sum(entry.elements for entry in checkpoint.tensors.values()) <= SMALL:
        return torch.float32
    if kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def exact_float32(device: str, dtype: torch.dtype) -> None:
    """Have CUDA compute in float32 where that was asked for; for the whole process, as torch has it."""
    if dtype == torch.float32 and torch.device(device).type == "cuda":
        # By default cuDNN rounds what it convolves to TF32's 10 bits: masks and tokens would leave the limits within
        # which they were held against the official code.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def build(checkpoint: Checkpoint) -> PAM:
    """The model of a checkpoint, its parameters on the meta device. Raises CheckpointError when it cannot be one."""
    tokenizer = checkpoint.tokenizer()
    try:
        with parameters_on_meta():
            return PAM(checkpoint.config, tokenizer)
    except Exception as error:  # Hydra, sam2 and transformers each raise their own kinds for sizes that do not fit
        raise CheckpointError(f"{checkpoint.folder}: no model can be built from its sizes: {error}") from error


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Modules that this thread makes meanwhile have parameters without storage; buffers and tables are real."""
    thread = threading.get_ident()

    def without_storage(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta and threading.get_ident() == thread:
            parameter = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
        register(module, name, parameter)

    with _building:
        register = nn.Module.register_parameter  # only now: another thread's would stay for good
        nn.Module.register_parameter = without_storage  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            nn.Module.register_parameter = register  # type: ignore[method-assign]


def check_fit(checkpoint: Checkpoint, pam: PAM) -> None:
    """Raise CheckpointError unless a checkpoint's tokenizer and tensors fit its model."""
    for problem in tokenizer_misfits(checkpoint, pam):
        raise CheckpointError(problem)
    if problems := misfits(checkpoint, pam):
        more = f" ({len(problems)} such tensors in all)" if len(problems) > 1 else ""
        raise CheckpointError(problems[0] + more)


def tokenizer_misfits(checkpoint: Checkpoint, pam: PAM) -> list[str]:
    """What is wrong with a checkpoint's tokenizer for its model; empty if nothing."""
    return unfit(pam.tokenizer, pam.language.config.vocab_size, tokenizer_file(checkpoint.folder))


def misfits(checkpoint: Checkpoint, pam: PAM) -> list[str]:
    """Every tensor that a checkpoint lacks, has too much, or has in another shape than its model; empty if it fits."""
    expected = {name: tuple(tensor.shape) for name, tensor in pam.state_dict().items()}
    if pam.language.config.tie_word_embeddings:
        del expected[official.HEAD]
    found, name_of = checkpoint.tensors, pam.config.name
    shown = (lambda name: name) if checkpoint.own_format else official.to_official
    where = ", ".join(str(file) for file in checkpoint.files)
    wrong = [
        f"{entry.file}: tensor {entry.key!r} is {entry.shape}, {name_of} needs {expected[name]}"
        for name, entry in found.items()
        if name in expected and entry.shape != expected[name]
    ]
    strange = [
        f"{entry.file}: tensor {entry.key!r}, {entry.shape}, has no place in {name_of}"
        for name, entry in found.items()
        if name not in expected
    ]
    missing = [
        f"{where}: tensor {shown(name)!r}, {shape}, is missing for {name_of}"
        for name, shape in expected.items()
        if name not in found
    ]
    return wrong + missing + strange


def fill(pam: PAM, checkpoint: Checkpoint, device: str, dtype: torch.dtype) -> PAM:
    """Give a model without weights those of a checkpoint that fits it; its version says which they were.

    They go to the device in their dtype as they are read. Raises CheckpointError when the device has no room.
    """
    tensors: dict[str, Tensor] = {}
    fingerprint = Fingerprint()
    try:
        with ThreadPoolExecutor(HASHERS) as pool:
            for window in windows(checkpoint.tensors):
                hashed = [pool.submit(fingerprint.add, name, tensor) for name, tensor in window]
                tensors |= {name: tensor.to(device, dtype, copy=True) for name, tensor in window}
                for future in hashed:
                    future.result()
        if pam.language.config.tie_word_embeddings:
            tensors[official.HEAD] = tensors[official.EMBEDDING]
        pam.load_state_dict(tensors, assign=True)
        pam.language.tie_weights()
        pam.to(device)
        tables_to(pam, device)
    except (RuntimeError, MemoryError) as error:
        raise CheckpointError(f"device {device!r} cannot hold {pam.config.name} in {dtype}: {error}") from error
    pam.version = checkpoint.version(fingerprint.hex())
    return pam.eval().requires_grad_(False)


def tables_to(pam: PAM, device: str) -> None:
    """Move what `Module.to` leaves behind: sam2's tables of positions are plain attributes, and where there is a GPU
    they are made on the first one, whichever device the model is for."""
    for module in pam.modules():
        if isinstance(module, RoPEAttention):
            module.freqs_cis = module.freqs_cis.to(device)
        elif isinstance(module, PositionEmbeddingSine):
            module.cache = {size: table.to(device) for size, table in module.cache.items()}


def save(pam: PAM, folder: Path, about: dict[str, Any]) -> None:
    """Write a PAM in our own format, weights in float16; `about` goes into config.json. Raises CheckpointError."""
    tensors = pam.state_dict()
    if pam.language.config.tie_word_embeddings:
        del tensors[official.HEAD]
    native.write(
        folder,
        pam.config,
        pam.tokenizer.backend_tokenizer.to_str(pretty=True),
        {name: tuple(tensor.shape) for name, tensor in tensors.items()},
        tensors.items(),
        torch.float16,
        about,
    )
