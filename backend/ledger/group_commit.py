"""Several threads' writes in one transaction, so that the disk is waited for once for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from backend.errors import LedgerError

T = TypeVar("T")


@dataclass(eq=False)
class _Entry(Generic[T]):
    item: T
    is_done: bool = False
    error: BaseException | None = None


class GroupCommit(Generic[T]):
    """Hands what threads bring to `write`, all that has gathered at a time; a call returns when its own is written.

    write: writes all of it or, raising LedgerError, nothing.
    """

    def __init__(self, write: Callable[[Sequence[T]], None]):
        self._write = write
        self._gathered: list[_Entry[T]] = []
        self._gathering = threading.Lock()
        self._writing = threading.Lock()

    def __call__(self, item: T) -> None:
        """Write `item`, together with what others bring meanwhile. Raises LedgerError when it could not be written."""
        entry = _Entry(item)
        with self._gathering:
            self._gathered.append(entry)
        with self._writing:
            if not entry.is_done:  # nobody took it along while this thread waited for its turn
                with self._gathering:
                    batch, self._gathered = self._gathered, []
                self._write_all(batch)
        if isinstance(entry.error, LedgerError):
            # Each thread raises its own: a traceback belongs to one.
            raise LedgerError(entry.error.message) from entry.error
        if entry.error is not None:
            raise entry.error

    def _write_all(self, batch: Sequence[_Entry[T]]) -> None:
        try:
            self._write([entry.item for entry in batch])
        except LedgerError as error:
            if len(batch) == 1:
                batch[0].error = error
            else:  # one that cannot be written must not cost the others
                for entry in batch:
                    self._write_all([entry])
        except BaseException as error:
            for entry in batch:
                entry.error = error
        for entry in batch:
            entry.is_done = True
