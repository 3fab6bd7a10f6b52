"""The ledger loses nothing that it acknowledged, and the order in which webhooks arrive never shows."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import resource
import signal
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import LedgerError, RequestError
from backend.ledger import Ledger, Project, Suggestion, TaskPage
from backend.webhook_event import Annotation, annotations_of_task
from model.prompt import Box, Point

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SUGGESTION = Suggestion(
    region_id="795a45ab5c",
    project_id=3,
    task_id=3,
    points=(Point(180.4, 45.25), Point(12.0, 30.0, positive=False)),
    box=Box(150.0, 20.0, 210.0, 80.0),
    mask_rle="PPYo1",
    height=303,
    width=384,
    category="coin",
    explanation="A coin is money \ud83e of metal.",
    caption="一枚硬币",
    score=0.93,
    word_scores={"category": 0.8},
    model_version="nano-1",
    image_address="/data/upload/3/26cbde61-coins.jpg",
    image_sha256="00" * 32,
    seconds=0.25,
    created_at=NOON,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "data" / "ledger.sqlite") as opened:
        yield opened


def task(*annotations: dict, id: int = 1) -> dict:
    return {"id": id, "data": {"image": "/data/upload/1/coins.jpg"}, "annotations": list(annotations)}


def annotation(id: int, updated_at: str = "2026-11-22T12:00:00Z", result: list | None = None) -> dict:
    return {
        "id": id,
        "task": 1,
        "project": 1,
        "result": result or [],
        "was_cancelled": False,
        "created_at": "2026-11-22T11:00:00Z",
        "updated_at": updated_at,
    }


def changed(*arguments, **named) -> tuple[str, dict]:
    state = annotation(*arguments, **named)
    return "ANNOTATION_UPDATED", {"action": "ANNOTATION_UPDATED", "annotation": state, "task": task()}


def deleted(*ids: int) -> tuple[str, dict]:
    return "ANNOTATIONS_DELETED", {"annotations": [{"id": id} for id in ids], "project": {"id": 1}}


def listed(*tasks: dict, project_id: int = 1) -> TaskPage:
    """These tasks, as all that the project has."""
    annotations = [a for task in tasks for a in annotations_of_task(task, project_id)]
    return TaskPage(project_id, annotations, [task["id"] for task in tasks], (0, None))


def living(ledger: Ledger, project_id: int = 1) -> dict[int, Annotation]:
    return {a.id: a for of_task in ledger.annotations_by_task(project_id) for a in of_task}


def events(path: Path) -> list[dict]:
    with sqlite3.connect(path) as db:
        return [json.loads(body) for (body,) in db.execute("SELECT body FROM events ORDER BY id")]


def test_a_suggestion_comes_back_as_it_was_given(ledger: Ledger) -> None:
    """The way back starts here: clicks, box and words of a region must not change on the way through the file."""
    ledger.record_suggestion(SUGGESTION)
    assert ledger.suggestion(SUGGESTION.region_id) == SUGGESTION
    assert ledger.suggestion("never given") is None
    without_box = replace(SUGGESTION, region_id="b", box=None)
    ledger.record_suggestion(without_box)
    assert ledger.suggestion("b") == without_box


def test_a_project_is_remembered_and_its_token_shows_nowhere(ledger: Ledger) -> None:
    """`/setup` may hand over a token: it is kept for the owner of the file, and never printed."""
    project = Project(3, "<View/>", url="http://localhost:8080", token="0123456789abcdef")
    ledger.remember_project(project)
    assert ledger.project(3) == project
    assert ledger.project(4) is None
    assert "0123456789abcdef" not in repr(project)
    for file in ledger.path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(ledger.path.parent.stat().st_mode) == 0o700


def test_captured_webhooks_become_the_latest_state(ledger: Ledger) -> None:
    """What a real Label Studio 1.23.2 sent: created, corrected, deleted."""
    files = (CAPTURES / f"webhook_annotation_{name}.json" for name in ("created", "updated"))
    captured = [json.loads(file.read_text()) for file in files]
    for payload in captured:
        ledger.journal(payload["action"], payload)
    (state,) = living(ledger, 3).values()
    assert state.result == captured[1]["annotation"]["result"]
    assert state.task_data == {"image": "/data/upload/3/26cbde61-coins.jpg"}
    assert (state.task_id, state.was_cancelled) == (3, False)
    assert state.updated_at == datetime(2026, 11, 22, 12, 48, 9, 609475, tzinfo=UTC)

    payload = json.loads((CAPTURES / "webhook_annotations_deleted.json").read_text())
    ledger.journal(payload["action"], payload)
    assert living(ledger, 3) == {}


def test_every_captured_webhook_is_kept_without_the_projects_secrets(ledger: Ledger) -> None:
    """The journal is the raw truth to go back to, but the project's invitation token has no business in it."""
    captured = [json.loads(file.read_text()) for file in sorted(CAPTURES.glob("webhook_*.json"))]
    assert len(captured) == 5
    for payload in captured:
        ledger.journal(payload["action"], payload)
    for payload in captured:
        for secret in ("token", "task_data_login", "task_data_password"):
            payload["project"].pop(secret)
    assert events(ledger.path) == [{"action": payload["action"], "payload": payload} for payload in captured]


MOMENTS = st.integers(-3, 3).map(lambda second: NOON + timedelta(seconds=second / 2))
ZONES = st.integers(-12, 12).map(lambda hours: timezone(timedelta(hours=hours)))
WRITTEN = st.builds(lambda moment, zone: moment.astimezone(zone).isoformat(), MOMENTS, ZONES) | MOMENTS.map(
    lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ")
)
RESULTS = st.lists(st.fixed_dictionaries({"id": st.text(max_size=2)}), max_size=1)
CHANGES = st.builds(changed, st.integers(1, 3), WRITTEN, RESULTS)
HISTORIES = st.lists(CHANGES | st.integers(1, 4).map(deleted), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), history=HISTORIES)
def test_order_and_repetition_of_webhooks_do_not_matter(data: st.DataObject, history: list) -> None:
    """Webhooks are sent from several workers and may be repeated: any order of one history must end the same."""
    shuffled = data.draw(st.permutations(history + data.draw(st.lists(st.sampled_from(history), max_size=4))))
    with tempfile.TemporaryDirectory() as folder:
        with Ledger(Path(folder) / "a") as straight, Ledger(Path(folder) / "b") as mixed:
            for action, payload in history:
                straight.journal(action, payload)
            for action, payload in shuffled:
                mixed.journal(action, payload)
            assert living(mixed) == living(straight)


def test_the_later_moment_wins_however_it_is_written(ledger: Ledger) -> None:
    """As strings, "...00Z" sorts after "...00.5Z" and a zone hides the hour: times are compared as times."""
    ledger.journal(*changed(1, "2026-11-22T12:00:00.500000Z", [{"id": "late"}]))
    ledger.journal(*changed(1, "2026-11-22T12:00:00Z", [{"id": "early"}]))
    ledger.journal(*changed(1, "2026-11-22T13:59:00+02:00", [{"id": "early, in Paris"}]))
    assert living(ledger)[1].result == [{"id": "late"}]


def test_a_deleted_annotation_stays_deleted(ledger: Ledger) -> None:
    """An update that was sent before the deletion but arrives after it must not bring the annotation back."""
    ledger.journal(*changed(1))
    ledger.journal(*deleted(1, 2))
    ledger.journal(*changed(1, "2026-11-23T12:00:00Z"))
    ledger.journal(*changed(2))
    assert living(ledger) == {}


@pytest.mark.parametrize(
    "payload, complaint",
    [
        ({}, "`task` must be an object, got nothing"),
        ({"annotation": annotation(1)}, "`task` must be an object, got nothing"),
        ({"annotation": {**annotation(1), "task": 9}, "task": task()}, "belongs to task 9, which did not come along"),
        ({"annotation": {**annotation(1), "id": "1"}, "task": task()}, "`annotation.id` must be a whole number"),
        ({"annotation": {**annotation(1), "id": 1 << 70}, "task": task()}, "`annotation.id` must be a whole number"),
        ({"annotation": {**annotation(1), "result": "x"}, "task": task()}, "`annotation.result` must be a list"),
        ({"annotation": annotation(1, "yesterday"), "task": task()}, "`annotation.updated_at` must be a time in ISO"),
        ({"annotation": {**annotation(1), "created_at": None}, "task": task()}, "`annotation.created_at` must be"),
        ({"annotation": [annotation(1), 7], "task": task()}, r"`annotation\[1\]` must be an object"),
    ],
)
def test_a_malformed_webhook_is_refused_and_leaves_no_trace(ledger: Ledger, payload: dict, complaint: str) -> None:
    """Whoever sends rubbish is told what is wrong with it, and the next webhook works."""
    with pytest.raises(RequestError, match=complaint):
        ledger.journal("ANNOTATION_CREATED", payload)
    assert events(ledger.path) == []
    ledger.journal(*changed(1))
    assert list(living(ledger)) == [1]


def test_webhooks_about_other_things_are_only_kept(ledger: Ledger) -> None:
    """New kinds of webhooks appear with new Label Studio versions; none is lost and none is an error."""
    ledger.journal("LABEL_LINK_\ud800CREATED", {"anything": ["\ud800", None]})
    assert events(ledger.path) == [{"action": "LABEL_LINK_\ud800CREATED", "payload": {"anything": ["\ud800", None]}}]


def test_reconciliation_finds_what_was_missed_and_drops_what_is_gone(ledger: Ledger) -> None:
    """Nobody repeats a webhook that found the backend down: Label Studio's own list has the last word."""
    for id in (1, 2, 3):
        ledger.journal(*changed(id, "2026-11-22T12:00:00Z"))
    ledger.journal(*deleted(3))
    ledger.journal("ANNOTATION_CREATED", {"annotation": {**annotation(9), "project": 2}, "task": task()})

    since = ledger.number
    restored_from_backup = annotation(1, "2026-11-21T12:00:00Z", [{"id": "older"}])
    assert ledger.confirm(listed(task(restored_from_backup, annotation(3), annotation(4))), since) == 4

    assert list(living(ledger)) == [1, 3, 4]
    assert living(ledger)[1].result == [{"id": "older"}]
    assert list(living(ledger, 2)) == [9]


def test_a_webhook_during_reconciliation_is_newer_than_it(ledger: Ledger) -> None:
    """The API's page was read before the webhook came in: a deletion, a correction and a new annotation must stand."""
    for id in (1, 2):
        ledger.journal(*changed(id))
    since = ledger.number
    page = listed(task(annotation(1), annotation(2)))
    ledger.journal(*deleted(1))
    ledger.journal(*changed(2, "2026-11-22T12:00:01Z", [{"id": "corrected"}]))
    ledger.journal(*changed(3))
    assert ledger.confirm(page, since) == 0
    assert list(living(ledger)) == [2, 3]
    assert living(ledger)[2].result == [{"id": "corrected"}]


def test_annotations_come_task_by_task(ledger: Ledger) -> None:
    """An export holds one task in memory, so all annotations of a task must come together."""
    tasks = [task(*map(annotation, ids), id=task_id) for task_id, ids in ((7, (1, 4)), (5, (2, 3)))]
    ledger.confirm(listed(*tasks), ledger.number)
    assert [[(a.task_id, a.id) for a in of_task] for of_task in ledger.annotations_by_task(1)] == [
        [(5, 2), (5, 3)],
        [(7, 1), (7, 4)],
    ]


def test_threads_share_one_ledger(ledger: Ledger) -> None:
    """gunicorn answers from several threads: their writes neither mix nor get lost, and reads go on beside them."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(25):
                ledger.journal(*changed(number, f"2026-11-22T12:00:{step:02}Z", [{"id": str(step)}]))
                ledger.record_suggestion(replace(SUGGESTION, region_id=f"{number}-{step}"))
                assert ledger.suggestion(f"{number}-{step}") is not None
                living(ledger)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(events(ledger.path)) == 8 * 25
    assert {id: state.result for id, state in living(ledger).items()} == {n: [{"id": "24"}] for n in range(8)}


def journal_forever(path: Path, acknowledge: Connection) -> None:
    with Ledger(path) as ledger:
        for number in itertools.count(1):
            ledger.journal(*changed(number, result=["x" * 20_000]))
            acknowledge.send(number)


@pytest.mark.parametrize("acknowledged_before", [1, 2, 17, 60, 120])
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, acknowledged_before: int) -> None:
    """The webhook is answered after the journal returns: from then on, no crash may lose it."""
    path = tmp_path / "ledger.sqlite"
    receiving, sending = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=journal_forever, args=(path, sending))
    process.start()
    sending.close()
    while (acknowledged := receiving.recv()) < acknowledged_before:
        pass
    process.kill()
    process.join()
    while receiving.poll():  # what it had acknowledged by the time the signal reached it
        try:
            acknowledged = receiving.recv()
        except (EOFError, OSError):  # the kill may cut a message
            break

    with Ledger(path) as ledger:
        ids = list(living(ledger))
        assert ids == list(range(1, len(ids) + 1))
        assert len(ids) >= acknowledged
        ledger.journal(*deleted(1))
    assert len(events(path)) == len(ids) + 1
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_each_commit_reaches_the_disk(ledger: Ledger) -> None:
    """A killed process loses nothing that the kernel has; only a synchronous commit also outlives a power cut."""
    assert ledger._file._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert ledger._file._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path) -> None:
    """The write fails as on a full disk (the kernel refuses to let the file grow); with space again, work goes on."""
    path = tmp_path / "ledger.sqlite"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    acknowledged = 0
    try:
        with Ledger(path) as ledger:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
            try:
                with pytest.raises(LedgerError, match=r"failed: .*disk.*; .*disk") as caught:
                    while acknowledged < 100:
                        ledger.journal(*changed(acknowledged + 1, result=["x" * 20_000]))
                        acknowledged += 1
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert caught.value.status == 503
            assert 0 < acknowledged < 100
            assert list(living(ledger)) == list(range(1, acknowledged + 1))
            ledger.journal(*changed(acknowledged + 1))
        with Ledger(path) as ledger:
            assert list(living(ledger)) == list(range(1, acknowledged + 2))
    finally:
        signal.signal(signal.SIGXFSZ, previous)


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder that others may enter, in a process that has no rights beyond theirs; root could write anywhere."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        with Ledger(Path(folder) / "ledger.sqlite"):
            pass
        user = os.geteuid()
        if user == 0:
            os.chown(Path(folder) / "ledger.sqlite", 65534, 65534)
            os.seteuid(65534)
        else:
            os.chmod(folder, 0o555)
        try:
            yield Path(folder)
        finally:
            os.seteuid(user)
            os.chmod(folder, 0o755)


def test_a_read_only_folder_is_a_clear_error(as_nobody: Path) -> None:
    """The data directory is a setting, and a wrong one must say so at the start rather than at the first webhook."""
    with pytest.raises(LedgerError, match=r"new.sqlite cannot be opened: Permission denied; make its folder writable"):
        Ledger(as_nobody / "new.sqlite")
    with pytest.raises(LedgerError, match=r"cannot be opened: Permission denied"):
        Ledger(as_nobody / "folder" / "ledger.sqlite")
    with pytest.raises(LedgerError, match=r"ledger.sqlite failed: .*; make the file and its folder writable"):
        Ledger(as_nobody / "ledger.sqlite")


def test_a_file_that_is_no_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A wrong path must not cost a stranger's file, nor a newer ledger its content."""
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(LedgerError, match="move it away"):
        Ledger(path)
    assert path.read_bytes() == b"not a database at all" * 100

    path.unlink()
    with Ledger(path):
        pass
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match=r"made by a newer PAM Studio \(format 99\)"):
        Ledger(path)


def test_another_process_may_hold_the_ledger_only_for_a_moment(ledger: Ledger) -> None:
    """`pam-studio export` opens the ledger while the server runs: a short transaction of the one delays the other."""
    other = sqlite3.connect(ledger.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, other.execute, ["COMMIT"])
    timer.start()
    ledger.journal(*changed(1))
    timer.join()
    other.close()
    assert list(living(ledger)) == [1]
