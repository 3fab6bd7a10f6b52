"""Label Studio's own list is read to its end before anything is dropped, some tasks at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.errors import LabelStudioError
from backend.ledger import Ledger
from backend.reconcile import reconcile

MOMENT = "2026-11-22T12:00:00Z"


class Listing:
    """A project of `count` tasks with one annotation each, which cannot be read beyond task `reachable`."""

    def __init__(self, count: int, reachable: int | None = None):
        self.count, self.reachable = count, reachable

    def project(self, project_id: int) -> dict:
        return {"id": project_id}

    def tasks(self, project_id: int) -> Iterator[dict]:
        for id in range(self.count):
            if id == self.reachable:
                raise LabelStudioError("Label Studio answered 502")
            annotation = {"id": id, "result": [], "created_at": MOMENT, "updated_at": MOMENT}
            yield {"id": id, "data": {}, "annotations": [annotation]}


def ids(ledger: Ledger) -> list[int]:
    return [annotation.id for of_task in ledger.annotations_by_task(1) for annotation in of_task]


def test_all_pages_are_taken_over_and_the_rest_dropped(tmp_path: Path) -> None:
    """A project longer than one transaction, then a shorter one."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        told: list[tuple[str, int]] = []
        reconcile(1, ledger, Listing(45), lambda what, done: told.append((what, done)))
        assert ids(ledger) == list(range(45))
        assert told == [("reading Label Studio", 20), ("reading Label Studio", 40), ("reading Label Studio", 45)]
        reconcile(1, ledger, Listing(30))
        assert ids(ledger) == list(range(30))


def test_an_interrupted_list_drops_nothing(tmp_path: Path) -> None:
    """Label Studio restarting in the middle must not look like thirty deleted annotations."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        reconcile(1, ledger, Listing(45))
        with pytest.raises(LabelStudioError, match="502"):
            reconcile(1, ledger, Listing(45, reachable=25))
        assert ids(ledger) == list(range(45))
