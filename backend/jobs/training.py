"""The job that trains: exports the data set, runs `pam-studio train` on it, and has the new model considered."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import durable
from backend.dataset import every
from backend.dataset.store import is_locked, latest, version_name, versions
from backend.errors import JobError
from backend.jobs.job import Progress
from backend.jobs.work import Work
from backend.settings import Settings

COMMAND = (sys.executable, "-m", "backend", "train")
RUN = "training"
"""The folder, in the job's, that `pam-studio train` writes and goes on from."""

_TRAINED_FROM, _TRAINED_TO = 0.05, 0.95
_LOOK_SECONDS = 1.0
_ALL = "all"
"""What a data set of all projects says that it is of."""

Consider = Callable[[Settings, Path], str]
"""Has a finished run considered for use, and says what was decided, and why."""


@dataclass(frozen=True)
class _Plan:
    """What a training began with, and goes on with after an interruption, whatever the settings are by then.

    data: a version. base: the model before. options: of `pam-studio train`, those that decide the result.
    """

    data: str
    base: str
    options: list[str]


def train(work: Work, command: Sequence[str] = COMMAND, consider: Consider | None = None) -> str:
    """Train on all corrections that there are, and say what became of the new model.

    command: stands for `pam-studio train`. consider: stands for `backend.models`. Raises JobError with the reason where
    there can be no new model.
    """
    decided = work.folder / "decision.txt"
    if decided.is_file():  # it was killed between the decision and the end
        return decided.read_text()
    _remove_older(work)
    plan, run = _plan(work), work.folder / RUN
    if not Path(plan.data).is_dir():
        raise JobError(f"the data set {plan.data}, which this training began with, is gone: start a new training")
    words = [*command, "--data", plan.data, "--base", plan.base, "--out", str(run), *plan.options]
    words += ["--threads", str(work.settings.train_threads)]
    words += ["--device", "cpu" if work.settings.device == "cpu" else "auto"]
    ended = work.run(words, lambda: _report(work, run), OMP_NUM_THREADS=str(work.settings.train_threads))
    if ended.status != 0:
        raise JobError(f"the training failed: {ended.reason}")
    work.report("deciding whether the new model is used", _TRAINED_TO)
    message = (consider or _consider)(work.settings, run)
    durable.replace(decided, message.encode())
    shutil.rmtree(run, ignore_errors=True)
    return message


def _plan(work: Work) -> _Plan:
    path = work.folder / "plan.json"
    if path.is_file():
        return _Plan(**json.loads(path.read_text()))
    plan = _Plan(str(_export(work, every.COMMAND)), _base(work.settings), _options(work.settings))
    durable.replace(path, json.dumps(vars(plan)).encode())
    return plan


def _export(work: Work, command: Sequence[str]) -> Path:
    """The newest version of the data set, made where something has changed; other exports are waited for."""
    settings = work.settings
    project = _project(work)
    words = [*command, *([] if project is None else ["--project", str(project)])]
    while True:
        while is_locked(settings.out):
            work.report("waiting for another export", 0.0)
            time.sleep(_LOOK_SECONDS)
        work.report("exporting the data set", 0.0)
        ended = work.run(words, nice=False, secrets=True)
        newest = latest(settings.out)
        if ended.status == 0 and newest is not None:
            return newest.resolve()
        if not is_locked(settings.out):
            raise JobError(f"the export failed: {ended.reason}")


def _project(work: Work) -> str | None:
    """Which project is trained on: None for all, as one model serves all; or the one that the data set is of."""
    out, asked = work.settings.out, work.job.project_id
    newest = max(versions(out), default=None)  # whatever `latest` leads to: the export puts that right
    # Not by `backend.dataset.version`: it brings in PyTorch, and this process stays for as long as the training does.
    held = _ALL
    if newest is not None:
        held = json.loads((out / version_name(newest) / "manifest.json").read_text())["settings"]["projects"]
    if held == _ALL:
        return None
    if asked is not None and held != str(asked):
        raise JobError(
            f"{out} is a data set of project {held} alone, and project {asked} asked for training: choose another "
            "folder with PAM_STUDIO_OUT"
        )
    return held


def _options(settings: Settings) -> list[str]:
    options = [] if settings.train_steps is None else ["--steps", str(settings.train_steps)]
    return [*options, "--masks"] if settings.train_masks else options


def _report(work: Work, run: Path) -> None:
    """Hand on what the training says of itself."""
    try:
        said: Any = json.loads((run / "progress.json").read_bytes())
        part = min(max(float(said["step"]) / max(float(said["steps"]), 1.0), 0.0), 1.0)
        stage = f"{said['stage']}: step {said['step']} of {said['steps']}"
    except (OSError, ValueError, KeyError, TypeError):  # not there yet
        return
    fraction = _TRAINED_FROM + (_TRAINED_TO - _TRAINED_FROM) * part
    read = Progress.from_json({"stage": stage, "fraction": fraction, "seconds_left": said.get("seconds_left")})
    work.report(read.stage, read.fraction, read.seconds_left)


def _remove_older(work: Work) -> None:
    """Only the newest training is gone on with; what others left may be gigabytes."""
    for run in work.folder.parent.glob(f"*/{RUN}"):
        if run.parent != work.folder:
            shutil.rmtree(run, ignore_errors=True)


def _base(settings: Settings) -> str:
    """The model that answers now: what comes of it is compared with it."""
    from backend.models import registry_of

    registry = registry_of(settings)
    version = registry.active().version
    return settings.model if version is None else str(registry.folder / version)


def _consider(settings: Settings, run: Path) -> str:
    from backend.models import consider, registry_of

    decision = consider(registry_of(settings), run)
    return f"{decision.version} {'answers now' if decision.promoted else 'is kept aside'}: {decision.reason}"
