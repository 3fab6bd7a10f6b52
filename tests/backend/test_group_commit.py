"""Threads that write at once share a transaction, and nobody is told that something is written which is not."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from backend.errors import LedgerError
from backend.ledger.group_commit import GroupCommit


class Disk:
    """Takes batches, one of them only when `gate` is open; refuses what is negative."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()

    def write(self, items: Sequence[int]) -> None:
        self.gate.wait(20)
        if 13 in items:
            raise ZeroDivisionError("a mistake in the program")
        if any(item < 0 for item in items):
            raise LedgerError(f"{min(items)} cannot be written")
        self.batches.append(list(items))


def write_at_once(commit: GroupCommit[int], disk: Disk, items: Sequence[int]) -> dict[int, BaseException | None]:
    """Each item from a thread of its own; the first is on its way to the disk while the others come."""
    said: dict[int, BaseException | None] = {}

    def write(item: int) -> None:
        try:
            commit(item)
            said[item] = None
        except Exception as error:
            said[item] = error

    threads = [threading.Thread(target=write, args=(item,)) for item in items]
    threads[0].start()
    while commit._gathered or not commit._writing.locked():
        pass
    for thread in threads[1:]:
        thread.start()
    while len(commit._gathered) < len(items) - 1:
        pass
    disk.gate.set()
    for thread in threads:
        thread.join()
    return said


def test_what_gathers_is_written_together_and_each_once() -> None:
    disk = Disk()
    said = write_at_once(GroupCommit(disk.write), disk, range(1, 9))
    assert [len(batch) for batch in disk.batches] == [1, 7]
    assert sorted(sum(disk.batches, [])) == list(range(1, 9))
    assert set(said.values()) == {None}


def test_one_that_cannot_be_written_costs_no_other() -> None:
    disk = Disk()
    said = write_at_once(GroupCommit(disk.write), disk, [1, 2, -3, 4, -5])
    assert sorted(sum(disk.batches, [])) == [1, 2, 4]
    assert {item for item, error in said.items() if error is None} == {1, 2, 4}
    for item in (-3, -5):
        with pytest.raises(LedgerError, match=f"{item} cannot be written"):
            raise said[item]


def test_a_mistake_is_told_to_all_whom_it_concerns() -> None:
    """None of them may answer that it is on the disk; the next batch works."""
    disk = Disk()
    commit = GroupCommit(disk.write)
    said = write_at_once(commit, disk, [1, 2, 13])
    assert said[1] is None
    assert all(isinstance(said[item], ZeroDivisionError) for item in (2, 13))
    commit(5)
    assert disk.batches == [[1], [5]]
