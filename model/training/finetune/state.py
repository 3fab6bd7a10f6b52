"""What a run keeps in its folder: each file is whole at any moment, whatever happens while it is written."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from model.errors import CheckpointError, TrainingError

ARGUMENTS, PROGRESS = "arguments.json", "progress.json"
TELL_EVERY = 1.0
"""Seconds between two looks that others get at the progress."""


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside `path`, bring it to the disk and put it in place; the old one stays if that fails.

    Raises CheckpointError where it does.
    """
    half = path.with_name(f".{path.name}.part")
    try:
        with half.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except (OSError, RuntimeError) as error:  # torch says with a RuntimeError that a write failed
        half.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path} cannot be written: {error}; what was there is as it was: make room and start again with the same "
            "--out, training goes on from there"
        ) from error


def write_json(path: Path, value: object) -> None:
    """Raises CheckpointError where that fails."""
    replace_file(path, lambda file: file.write(json.dumps(value, ensure_ascii=False, indent=1).encode()))


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Raises CheckpointError where that fails."""
    replace_file(path, lambda file: torch.save(dict(state), file))


def load_state(path: Path) -> dict[str, Any] | None:
    """What was saved, on the CPU, or None before that. Raises TrainingError where it is damaged."""
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive makes torch, pickle and zipfile raise each their own
        raise TrainingError(f"{path} is damaged ({error}): remove it, that stage begins anew") from error


def claim(out: Path, arguments: Mapping[str, Any]) -> None:
    """Mark a folder as that of a run with these arguments.

    Raises TrainingError where it holds another run: going on from that would give what neither run would.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        path = out / ARGUMENTS
        if path.exists():
            other = json.loads(path.read_text(encoding="utf-8"))
            if different := sorted(key for key in {*other, *arguments} if other.get(key) != arguments.get(key)):
                told = ", ".join(f"{key} {other.get(key)!r}, not {arguments.get(key)!r}" for key in different)
                raise TrainingError(f"{out} holds another run ({told}): choose another --out, or remove it")
    except (OSError, ValueError) as error:
        raise TrainingError(f"{out} cannot be used: {error}") from error
    write_json(path, dict(arguments))


class Progress:
    """Tells others how far a run is, in `progress.json`. Steps count training and evaluation alike."""

    def __init__(self, out: Path, steps: int, show: Callable[[str, int, int], None] = lambda stage, step, steps: None):
        self._path, self._steps, self._show = out / PROGRESS, steps, show
        self._told = self._began = 0.0
        self._stage, self._first = "", 0

    def __call__(self, stage: str, step: int) -> None:
        """stage: what is being done. step: of all steps, so many are done."""
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._began, self._first, self._told = stage, now, step, 0.0
        self._show(stage, step, self._steps)
        if now - self._told >= TELL_EVERY or step >= self._steps:
            done, self._told = step - self._first, now
            rest = (self._steps - step) * (now - self._began)
            left = 0.0 if step >= self._steps else round(rest / done, 1) if done else None
            write_json(self._path, {"step": step, "steps": self._steps, "stage": stage, "seconds_left": left})
