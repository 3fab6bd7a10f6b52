"""What an export must write anew is what changed; what was deleted stays away; what is kept verbatim has a bound."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.errors import RequestError
from backend.ledger import Ledger, Memory, Project
from tests.backend.test_ledger import (
    SUGGESTION,
    annotation,
    annotations_of_task,
    changed,
    deleted,
    events,
    listed,
    living,
    task,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


def changed_in(task_id: int, id: int, updated_at: str = "2026-11-22T12:00:00Z") -> tuple[str, dict]:
    state = annotation(id, updated_at) | {"task": task_id}
    return "ANNOTATION_UPDATED", {"annotation": state, "task": task(id=task_id)}


def tasks_deleted(*ids: int) -> tuple[str, dict]:
    return "TASKS_DELETED", {"tasks": [{"id": id} for id in ids], "project": {"id": 1}}


def test_only_tasks_that_changed_are_named(ledger: Ledger) -> None:
    """The cost of an incremental export follows from this list: an event that changes nothing must not be in it."""
    assert (ledger.change_number(1), list(ledger.changed_since(1, 0))) == (0, [])
    for task_id in (7, 5, 6):
        ledger.journal(*changed_in(task_id, 10 * task_id))
    assert list(ledger.changed_since(1, 0)) == [5, 6, 7]
    number = ledger.change_number(1)
    ledger.journal(*changed_in(7, 70))
    ledger.journal(*changed_in(7, 70, "2026-11-21T12:00:00Z"))
    ledger.journal(*deleted(99))
    ledger.record_suggestion(SUGGESTION)
    ledger.journal("ANNOTATION_CREATED", {"annotation": {**annotation(9), "project": 2}, "task": task()})
    ledger.confirm(listed(*(task(annotation(10 * id), id=id) for id in (5, 6, 7))), ledger.number)
    assert (ledger.change_number(1), list(ledger.changed_since(1, number))) == (number, [])
    ledger.journal(*deleted(50))
    ledger.journal(*changed_in(6, 60, "2026-11-23T12:00:00Z"))
    assert list(ledger.changed_since(1, number)) == [5, 6]
    assert ledger.annotations_of_task(1, 5) == []
    ledger.confirm(listed(task(annotation(70), id=7)), ledger.number)
    assert list(ledger.changed_since(1, number)) == [5, 6], "what is gone from the list has changed"
    assert list(ledger.changed_since(1, ledger.change_number(1))) == []


def test_many_changes_come_in_order_while_more_come(ledger: Ledger) -> None:
    """An export reads for minutes while annotators work: no task is left out, and none comes twice."""
    page = listed(*(task(annotation(id), id=id) for id in range(2500)))
    ledger.confirm(page, ledger.number)
    seen = []
    for task_id in ledger.changed_since(1, 0):
        seen.append(task_id)
        if task_id % 500 == 0:
            ledger.journal(*changed_in(task_id, task_id, "2026-11-23T12:00:00Z"))
    assert seen == list(range(2500))


def test_annotations_go_with_their_task(ledger: Ledger) -> None:
    """Label Studio tells of a deleted task alone; a late webhook about one of its annotations brings nothing back."""
    for task_id, id in ((1, 1), (1, 2), (2, 3)):
        ledger.journal(*changed_in(task_id, id))
    number = ledger.change_number(1)
    ledger.journal(*tasks_deleted(1, 9))
    ledger.journal(*changed_in(1, 1, "2026-11-23T12:00:00Z"))
    ledger.journal(*changed_in(9, 90))
    assert list(living(ledger)) == [3]
    assert list(ledger.changed_since(1, number)) == [1]
    with pytest.raises(RequestError, match=r"`tasks\[0\].id` must be a whole number"):
        ledger.journal("TASKS_DELETED", {"tasks": [{"id": "1"}]})


def test_label_studios_list_has_the_last_word_on_a_deleted_task(ledger: Ledger) -> None:
    """Restored from a backup, the task is there again; deleted after the page was asked for, it is not."""
    ledger.journal(*changed_in(1, 1))
    before = ledger.number
    ledger.journal(*tasks_deleted(1))
    page = listed(task(annotation(1), annotation(2)))
    ledger.confirm(page, before)
    assert living(ledger) == {}
    ledger.confirm(page, ledger.number)
    assert list(living(ledger)) == [1, 2]
    ledger.journal(*changed_in(1, 1, "2026-11-23T12:00:00Z"))
    assert living(ledger)[1].updated_at.day == 23


def test_a_page_of_some_tasks_says_nothing_of_others(ledger: Ledger) -> None:
    for task_id in (1, 2, 3):
        ledger.journal(*changed_in(task_id, task_id))
    some = replace(listed(task(id=2)), complete=None)
    assert ledger.confirm(some, ledger.number) == 1
    assert list(living(ledger)) == [1, 3]
    middle = replace(listed(task(id=2)), complete=(2, 3))
    assert ledger.confirm(middle, ledger.number) == 1
    assert list(living(ledger)) == [1]


def test_who_and_how_long_are_kept_and_nobody_is_refused_for_them(ledger: Ledger) -> None:
    """Label Studio names a user by id or describes one; no annotation is lost for what a consensus merely likes."""
    told = {"completed_by": {"id": 4, "email": "a@b.c"}, "ground_truth": True, "lead_time": 12.5}
    odd = {"completed_by": "somebody", "ground_truth": "yes", "lead_time": -1}
    (first,) = annotations_of_task(task(annotation(1) | told), 1)
    (second,) = annotations_of_task(task(annotation(2) | odd), 1)
    assert (first.annotator, first.ground_truth, first.lead_time) == (4, True, 12.5)
    assert (second.annotator, second.ground_truth, second.lead_time) == (None, False, None)
    ledger.confirm(listed(task(annotation(1) | told)), ledger.number)
    assert living(ledger)[1] == first
    assert "a@b.c" not in "".join(map(str, sqlite3.connect(ledger.path).execute("SELECT * FROM annotations")))


@pytest.mark.parametrize("bound", [0, 20_000, 100_000])
def test_the_journal_has_a_bound_and_annotations_have_none(tmp_path: Path, bound: int) -> None:
    """The oldest events go first; what follows from them stays, and numbers go on rising."""
    path = tmp_path / "ledger.sqlite"
    random.seed(bound)
    with Ledger(path, journal_bytes=bound) as ledger:
        for id in range(1, 101):
            ledger.journal(*changed(id, result=[{"text": "é" * random.randrange(2000)}]))
            kept = [json.dumps(event) for event in events(path)]
            assert sum(map(len, kept)) <= bound or len(kept) == 1
            assert f'"id": {id}' in kept[-1]
        assert list(living(ledger)) == list(range(1, 101))
        assert ledger.number == 100
    with Ledger(path, journal_bytes=bound) as ledger:
        ledger.journal(*deleted(1))
        assert (ledger.number, ledger.change_number(1)) == (101, 101)
        (counted,) = sqlite3.connect(path).execute("SELECT journal_bytes FROM about").fetchone()
        assert counted == sum(len(json.dumps(event)) for event in events(path))


FORMAT_1 = """
CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, received_at TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE annotations (
    id INTEGER PRIMARY KEY, project_id INTEGER, task_id INTEGER, updated_at INTEGER, deleted INTEGER NOT NULL,
    confirmed INTEGER NOT NULL, body TEXT
);
CREATE INDEX annotations_of_project ON annotations (project_id, task_id);
CREATE TABLE suggestions (region_id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE projects (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
PRAGMA user_version = 1;
"""


def ledger_of_format_1(path: Path) -> None:
    """A ledger as PAM Studio 0.1.0 left it: one annotation, one that was deleted, a suggestion and a project."""
    body = {
        "id": 4, "project_id": 3, "task_id": 5, "result": [{"id": "795a45ab5c"}], "task_data": {"image": "/a.jpg"},
        "was_cancelled": False, "created_at": "2026-11-22T11:00:00+00:00", "updated_at": "2026-11-22T12:00:00+00:00",
    }  # fmt: skip
    suggestion = json.loads(SUGGESTION.to_json())
    del suggestion["offered"], suggestion["offered_rle"]
    with sqlite3.connect(path) as db:
        db.executescript(FORMAT_1)
        db.execute("INSERT INTO events VALUES (1, '2026-11-22T12:00:00+00:00', ?)", (json.dumps({"action": "é"}),))
        db.execute("INSERT INTO events VALUES (2, '2026-11-22T12:00:00+00:00', ?)", (json.dumps({"action": "b"}),))
        values = (4, 3, 5, 1_795_348_800_000_000, 0, 1, json.dumps(body, sort_keys=True))
        db.execute("INSERT INTO annotations VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        db.execute("INSERT INTO annotations (id, deleted, confirmed) VALUES (6, 1, 2)")
        db.execute("INSERT INTO suggestions VALUES (?, ?)", (SUGGESTION.region_id, json.dumps(suggestion)))
        known = {"id": 3, "label_config": "<View/>", "url": None, "token": None}
        db.execute("INSERT INTO projects VALUES (3, ?)", (json.dumps(known),))


def test_a_ledger_of_the_first_format_keeps_its_work(tmp_path: Path) -> None:
    """People have corrected regions with the first release: opening their ledger with this one must lose none."""
    path = tmp_path / "ledger.sqlite"
    ledger_of_format_1(path)
    for _ in range(2):
        with Ledger(path) as ledger:
            (state,) = living(ledger, 3).values()
            assert (state.id, state.task_id, state.result) == (4, 5, [{"id": "795a45ab5c"}])
            assert (state.annotator, state.ground_truth) == (None, False)
            assert ledger.suggestion(SUGGESTION.region_id) == SUGGESTION
            assert ledger.suggestions_of_task(3, 3) == [SUGGESTION]
            assert ledger.project(3) == Project(3, "<View/>")
            assert list(ledger.changed_since(3, 0)) == [5]
            assert (ledger.change_number(3), ledger.number) == (1, 2)
            assert not ledger.reconciliation(3).watermark
            ids = ledger.id
    with Ledger(path) as ledger:
        assert ledger.id == ids
        update = annotation(6) | {"task": 5, "project": 3}
        ledger.journal("ANNOTATION_UPDATED", {"annotation": update, "task": task(id=5)})
        assert list(living(ledger, 3)) == [4], "what was deleted stays deleted"
        ledger.journal("ANNOTATIONS_DELETED", {"annotations": [{"id": 4}]})
        assert list(ledger.changed_since(3, 1)) == [5]


def test_two_ledgers_have_two_names(tmp_path: Path) -> None:
    """Numbers of two files cannot be compared: an export must see that the ledger was moved away."""
    with Ledger(tmp_path / "a") as one, Ledger(tmp_path / "b") as other:
        assert one.id != other.id


@pytest.mark.parametrize("has_memories", [True, False])
def test_a_ledger_of_format_2_is_brought_to_the_newest(tmp_path: Path, has_memories: bool):
    """Some of that format remember regions, some were made before there was a memory."""
    path = tmp_path / "ledger.sqlite"
    vector = np.ones(4, np.float16)
    memory = Memory(7, "r", "nano-1", "coin", "", "", vector)
    with Ledger(path) as ledger:
        ledger.memories.replace(1, {7: [memory]})
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE embeddings")
        if not has_memories:
            db.executescript("DROP TABLE memories; DROP TABLE remembered")
        db.execute("PRAGMA user_version = 2")
        db.commit()
    with Ledger(path) as ledger:
        assert [m.category for m in ledger.memories.of_task(1, 7, "nano-1")] == ["coin"] * has_memories
        ledger.memories.replace(1, {7: [memory]})
        ledger.memories.see(1, 7, "nano-2", {"r": vector})
        assert len(ledger.memories.of_task(1, 7, "nano-2")) == 1
