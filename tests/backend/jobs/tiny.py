"""Jobs of seconds, done by the real worker in a process of its own: `python -m tests.backend.jobs.tiny HOW JOB LOCK`.

HOW: "nice" as jobs are; or "fast", as other tests may keep the machine busy.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from backend.errors import JobError
from backend.jobs.work import Handler, Work, work
from backend.options import read_settings
from backend.settings import Settings

COMMAND = (sys.executable, "-m", "tests.backend.jobs.tiny", "fast")
NICE = (*COMMAND[:-1], "nice")
TRAINER = (sys.executable, "-m", "tests.backend.jobs.trainer")


def count(todo: Work) -> str:
    """Count to `to`, one state on the disk for each step, alone in the data folder; a digest of all steps."""
    path, to = todo.folder / "count.json", todo.job.parameters["to"]
    note(todo)
    state = json.loads(path.read_text()) if path.is_file() else {"step": 0, "digest": ""}
    with open(todo.settings.data_dir / "alone", "a") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError fails the job
        while state["step"] < to:
            time.sleep(todo.job.parameters.get("pause", 0.01))
            step = state["step"] + 1
            state = {"step": step, "digest": hashlib.sha256(f"{state['digest']} {step}".encode()).hexdigest()}
            draft = path.with_suffix(".draft")
            draft.write_text(json.dumps(state))
            os.replace(draft, path)
            todo.report("counting", step / to)
    return state["digest"]


def fail(todo: Work) -> str:
    raise JobError("there is nothing to count: annotate something")


def stumble(todo: Work) -> str:
    raise ValueError(f"unexpected {todo.job.parameters['words']}")


def die(todo: Work) -> str:
    note(todo)
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def chat(todo: Work) -> str:
    ended = todo.run([sys.executable, "-c", todo.job.parameters["code"]])
    return f"status {ended.status}"


def nothing(todo: Work) -> str:
    todo.report("idling", 0.5)
    logging.getLogger(__name__).info("nice %d", os.nice(0))
    return "done nothing"


def wait(todo: Work) -> str:
    note(todo)
    while True:
        time.sleep(0.05)
        todo.report("waiting", 0.25)


def train(todo: Work) -> str:
    from backend.jobs import training

    note(todo)
    return training.train(todo, [*TRAINER, *todo.job.parameters.get("options", ())], considered)


def considered(settings: Settings, run: Path) -> str:
    return f"{json.loads((run / 'report.json').read_text())['digest']} was promoted"


def note(todo: Work) -> None:
    with open(todo.folder / "pids", "a") as file:
        file.write(f"{os.getpid()}\n")


KINDS: Mapping[str, Callable[[], Handler]] = {
    handler.__name__: lambda handler=handler: handler  # type: ignore[misc]
    for handler in (count, fail, stumble, die, chat, nothing, wait, train)
}


if __name__ == "__main__":
    work(read_settings({}), int(sys.argv[2]), int(sys.argv[3]), KINDS, nice=sys.argv[1] == "nice")
