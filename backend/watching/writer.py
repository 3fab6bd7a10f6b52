"""What all writers of a watched video have in common."""

from __future__ import annotations

from typing import Protocol, Self

from model.narration import Step


class Writer(Protocol):
    """Takes steps as they come; a context manager, which finishes what it wrote."""

    def write(self, step: Step) -> None:
        """The next step."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
