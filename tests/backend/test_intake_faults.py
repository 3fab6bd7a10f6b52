"""Webhook intake and reconciliation are killed at random moments, and the data set is that of an undisturbed run."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import random
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

from backend import label_studio, reconcile
from backend.app import create_app
from backend.assembly import assemble
from backend.label_studio import LabelStudio
from backend.ledger import Ledger
from backend.settings import Settings
from tests.backend.dataset.conftest import no_pictures  # noqa: F401
from tests.backend.dataset.small import annotation, contents, project, region, run
from tests.backend.kills import INTAKE_KILLS, RECONCILE_KILLS
from tests.backend.label_studio_double import LEGACY, Asked, Double, Reply, json_reply, label_studio_double

SENDERS = 4
TASKS = 24

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class World:
    """What Label Studio holds, and the webhooks that it sends as annotators work."""

    def __init__(self, seed: int):
        self.chance = random.Random(seed)
        self.tasks = {task["id"]: task | {"updated_at": now()} for task in project(TASKS)}
        self.age = 0

    def listed(self) -> list[dict[str, Any]]:
        return [self.tasks[id] for id in sorted(self.tasks)]

    def act(self) -> dict[str, Any]:
        """Something that an annotator does; the webhook that tells of it."""
        self.age += 1
        task = self.tasks[self.chance.choice(sorted(self.tasks))]
        kind = self.chance.choices(["update", "create", "cancel", "delete", "delete task"], [8, 3, 2, 2, 1])[0]
        if kind == "delete task" and len(self.tasks) > TASKS // 2:
            del self.tasks[task["id"]]
            return event("TASKS_DELETED", tasks=[{"id": task["id"]}])
        annotations = task["annotations"] = list(task["annotations"])
        task["updated_at"] = now()
        if kind == "delete" and annotations:
            gone = annotations.pop(self.chance.randrange(len(annotations)))
            return event("ANNOTATIONS_DELETED", annotations=[{"id": gone["id"]}])
        if kind == "create" or not annotations:
            annotations.append(self._state(5000 + self.age, task, kind))
        else:
            at = self.chance.randrange(len(annotations))
            annotations[at] = self._state(annotations[at]["id"], task, kind)
        changed = annotations[-1] if kind == "create" else max(annotations, key=lambda a: a["updated_at"])
        told = changed | {"task": task["id"], "project": 1}
        return event("ANNOTATION_UPDATED", annotation=told, task={"id": task["id"], "data": task["data"]})

    def _state(self, id: int, task: dict[str, Any], kind: str) -> dict[str, Any]:
        x = self.chance.randrange(30)
        words = ("thing", "", f"Thing {task['id']} as of {self.age}.")
        drawn = region(f"r{id}", (x, 3, x + 9, 15), words)
        return annotation(id, drawn, age=self.age, was_cancelled=kind == "cancel")


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def event(action: str, **payload: Any) -> dict[str, Any]:
    return {"action": action, "project": {"id": 1}} | payload


def forked(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A fork of this process, which has imported everything: nothing of a kill's time is spent on that."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    return process


def killed(process: BaseProcess, after: float) -> bool:
    """Whether it was still running when it was killed, `after` so many seconds."""
    process.join(after)
    if process.exitcode is None and process.pid is not None:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), "it ended by itself, with an error"
    return process.exitcode == -signal.SIGKILL


def state_of(path: Path) -> list[list[tuple]]:
    """What a ledger says of project 1."""
    with Ledger(path) as ledger:
        return [
            [(a.id, a.task_id, a.result, a.was_cancelled, a.updated_at) for a in of_task]
            for of_task in ledger.annotations_by_task(1)
        ]


def assert_same_data_set(path: Path, tasks: list[dict[str, Any]], folder: Path) -> None:
    """The data set of the ledger at `path` is the one of a ledger that was never disturbed."""
    other = folder / "undisturbed.sqlite"
    Ledger(other).close()
    with Ledger(path) as ledger, sqlite3.connect(other) as db:
        # Annotators and addresses are hashed with a key of the ledger's own.
        db.execute("UPDATE about SET id = ?", (ledger.id,))
    with Ledger(other) as ledger:
        expected = contents(run(ledger, folder / "expected", *tasks).version)
    assert state_of(path) == state_of(other)
    with Ledger(path) as ledger:
        assert contents(run(ledger, folder / "out", *tasks).version) == expected


def take_webhooks(path: Path, listening: socket.socket) -> None:
    """The backend over the ledger, on a socket that outlives this process; its model is never there."""
    backend = assemble(Settings(data_dir=path.parent), load=threading.Event().wait)  # type: ignore[arg-type]
    make_server("127.0.0.1", 0, create_app(backend), threaded=True, fd=listening.fileno()).serve_forever()


class Sender(threading.Thread):
    """Posts webhooks one after the other and, as Label Studio, never again what was not answered."""

    def __init__(self, port: int, events: list[dict[str, Any]], pause: float):
        super().__init__(daemon=True)
        self.port, self.events, self.pause = port, events, pause
        self.acknowledged: list[dict[str, Any]] = []

    def run(self) -> None:
        for each in self.events:
            time.sleep(self.pause)
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                connection.request("POST", "/webhook", json.dumps(each), {"Content-Type": "application/json"})
                response = connection.getresponse()
                assert response.status == 201, response.read()
                self.acknowledged.append(each)
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()


@pytest.mark.usefixtures("no_pictures")
def test_intake_killed_anywhere_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """What was answered is in the ledger, what was not is found by a reconciliation, and nothing is there twice."""
    path = tmp_path / "data" / "ledger.sqlite"
    world, chance = World(seed=1), random.Random(1)
    events = [world.act() for _ in range(600)]
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        port = listening.getsockname()[1]
        senders = [Sender(port, events[start::SENDERS], pause=0.03) for start in range(SENDERS)]
        for sender in senders:
            sender.start()
        kills = sum(
            killed(forked(take_webhooks, path, listening), chance.uniform(0.01, 0.12)) for _ in range(INTAKE_KILLS)
        )
        last = forked(take_webhooks, path, listening)
        for sender in senders:
            sender.join()
        assert killed(last, 0)
    assert kills == INTAKE_KILLS
    acknowledged = [each for sender in senders for each in sender.acknowledged]
    assert 0 < len(acknowledged) < len(events), "kills that cost no webhook its answer prove little"
    assert_all_kept(path, acknowledged)
    with Ledger(path) as ledger:
        reconcile.reconcile(1, ledger, FromWorld(world))
    assert_same_data_set(path, world.listed(), tmp_path)


def assert_all_kept(path: Path, acknowledged: list[dict[str, Any]]) -> None:
    """The acknowledged webhooks are in the journal, and the annotations say what the journal says."""
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        kept = [json.loads(body) for (body,) in db.execute("SELECT body FROM events ORDER BY id")]
    told = {json.dumps(each["payload"], sort_keys=True) for each in kept}
    assert {json.dumps(each, sort_keys=True) for each in acknowledged} <= told
    with Ledger(path.with_name("replayed.sqlite")) as replayed:
        for each in kept:
            replayed.journal(each["action"], each["payload"])
    assert state_of(path) == state_of(path.with_name("replayed.sqlite"))


class FromWorld:
    """Label Studio's API over a world, less the wire."""

    clock = None

    def __init__(self, world: World):
        self.world = world

    def project(self, project_id: int) -> dict[str, Any]:
        return {"id": project_id}

    def pages(self, project_id: int, after: int = -1, changed_from: Any = None) -> Iterator[list[dict[str, Any]]]:
        yield from ([task] for task in self.world.listed() if task["id"] > after)


def reconcile_once(path: Path, url: str) -> None:
    with Ledger(path) as ledger:
        try:
            reconcile.reconcile(1, ledger, LabelStudio(url, LEGACY, 5.0, backoff=0.001))
        except label_studio.LabelStudioError:
            pass  # the double fails now and then; the next run goes on


@contextmanager
def failing_now_and_then(double: Double, chance: random.Random) -> Iterator[None]:
    """Lists that fail, are refused, or come again."""
    pages: list[Reply] = []

    def fail(asked: Asked) -> Reply | None:
        if asked.path != "/api/tasks/" or chance.random() > 0.15:
            return None
        again = [pages[-1]] if pages else []
        return chance.choice([Reply(429), Reply(500), json_reply(401, {"detail": "Invalid token."}), *again])

    answer = double.answer

    def remember(asked: Asked) -> Reply:
        reply = answer(asked)
        if asked.path == "/api/tasks/" and reply.status == 200:
            pages.append(reply)
        return reply

    double.rule(fail)
    double.answer = remember  # type: ignore[method-assign]
    yield
    double.rules.remove(fail)


@pytest.mark.usefixtures("no_pictures")
def test_reconciliation_killed_anywhere_ends_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Label Studio changes between the kills, fails in the middle and repeats pages; no webhook comes through."""
    monkeypatch.setattr(label_studio, "PAGE", 3)
    monkeypatch.setattr(reconcile, "MARGIN", timedelta(seconds=2))
    path = tmp_path / "ledger.sqlite"
    world, chance = World(seed=2), random.Random(2)
    kills, longest = 0, 0.3
    with label_studio_double() as double:
        double.tasks = world.listed()
        with failing_now_and_then(double, chance):
            for attempt in range(4 * RECONCILE_KILLS):
                if kills == RECONCILE_KILLS:
                    break
                was_killed = killed(forked(reconcile_once, path, double.url), chance.uniform(0.0, longest))
                kills += was_killed
                longest *= 1.05 if was_killed else 0.8
                if attempt % 5 == 0:
                    world.act()
                    double.tasks = world.listed()
        reconcile_once(path, double.url)
    assert kills == RECONCILE_KILLS
    assert_same_data_set(path, world.listed(), tmp_path)
