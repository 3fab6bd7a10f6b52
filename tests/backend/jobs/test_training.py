"""The training job: export, training, decision; each with its faults."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.dataset.store import opened, versions
from backend.jobs import Job, JobQueue
from backend.jobs.log import tail
from backend.jobs.runner import Runner
from backend.ledger import Ledger, Project
from tests.backend.dataset.small import CONFIG, picture, project
from tests.backend.jobs.conftest import ended, until
from tests.backend.label_studio_double import LEGACY, Double, Reply, label_studio_double

Run = Callable[..., Runner]


@pytest.fixture
def studio() -> Iterator[Double]:
    """A Label Studio with a small annotated project and its pictures."""
    with label_studio_double() as double:
        double.label_config = CONFIG
        double.tasks = project(4)
        double.rule(
            lambda asked: (
                Reply(body=picture(int(asked.path.split("/")[-1].split(".")[0].split("-")[0])))
                if asked.path.endswith(".jpg")
                else None
            )
        )
        yield double


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """What the backend's `/setup` left: it knows project 1."""
    with Ledger(tmp_path / "data" / "ledger.sqlite") as opened_ledger:
        opened_ledger.remember_project(Project(1, CONFIG))
        yield opened_ledger


@pytest.fixture
def train(queue: JobQueue, run: Run, studio: Double, ledger: Ledger) -> Callable[..., Job]:
    """Asks for a training with these options of the stand-in for `pam-studio train`, and starts a server."""

    def start(*options: str, project_id: int | None = 1, **settings: Any) -> Job:
        job, _ = queue.submit("train", project_id, {"options": options}, cause="a test", key="train")
        own = {"label_studio_url": studio.url, "label_studio_api_key": LEGACY, "formats": "coco"}
        run(**(own | settings))
        return job

    return start


def test_from_corrections_to_a_decision(train: Callable[..., Job], queue: JobQueue, tmp_path: Path):
    """The data set is made, trained on, and what was decided is the message; the run's own files are gone."""
    job = train("--steps", "10")
    found = ended(queue, job.id)
    assert (found.state, found.message.split(" ", 1)[1]) == ("done", "was promoted")
    assert versions(tmp_path / "regions") == [1]
    assert json.loads((queue.folder(job.id) / "plan.json").read_text()) == {
        "data": str(tmp_path / "regions" / "v0001"),
        "base": "nano",
        "options": [],
    }
    assert found.progress.fraction == 0.95 and not (queue.folder(job.id) / "training").exists()
    log = "\n".join(tail(queue.folder(job.id), 100))
    assert "trained" in log and LEGACY not in log


def exported(queue: JobQueue, tmp_path: Path) -> None:
    """The first job has had its data set made, and was interrupted then."""
    (tmp_path / "v0001").mkdir()
    queue.folder(1).mkdir(parents=True)
    (queue.folder(1) / "plan.json").write_text(
        json.dumps({"data": str(tmp_path / "v0001"), "base": "nano", "options": []})
    )


def test_progress_is_the_trainings(train: Callable[..., Job], queue: JobQueue, tmp_path: Path):
    """Whoever looks sees the step and how long it will take."""
    exported(queue, tmp_path)
    job = train("--steps", "2000")
    until(lambda: (queue.job(job.id).progress.fraction or 0) > 0.051)
    progress = queue.job(job.id).progress
    assert progress.stage.startswith("training: step ") and progress.stage.endswith(" of 2000")
    assert progress.seconds_left == 1.5
    queue.cancel(job.id)
    assert ended(queue, job.id).state == "cancelled"
    state = json.loads((queue.folder(job.id) / "training" / "state.json").read_text())
    assert 0 < state["step"] < 2000


def test_refused_with_the_trainings_words(train: Callable[..., Job], queue: JobQueue, tmp_path: Path):
    """There is too little to learn from: the person who pressed the button reads why."""
    exported(queue, tmp_path)
    job = train("--refuse", "v0001 has 4 regions: at least 20 are needed")
    found = ended(queue, job.id)
    assert (found.state, found.message) == (
        "failed",
        "the training failed: v0001 has 4 regions: at least 20 are needed",
    )


def test_a_data_set_that_vanished(train: Callable[..., Job], queue: JobQueue, tmp_path: Path):
    """Between an interruption and going on: the reason is said, and nothing else is trained on instead."""
    queue.folder(1).mkdir(parents=True)
    (queue.folder(1) / "plan.json").write_text(
        json.dumps({"data": str(tmp_path / "v0007"), "base": "nano", "options": []})
    )
    found = ended(queue, train().id)
    assert found.state == "failed"
    assert found.message == (
        f"the data set {tmp_path / 'v0007'}, which this training began with, is gone: start a new training"
    )


def test_label_studio_is_down(train: Callable[..., Job], queue: JobQueue, studio: Double):
    """No data set, no training, and the reason in the export's own words."""
    studio.rule(lambda asked: Reply(403))
    found = ended(queue, train().id)
    assert found.state == "failed" and found.message.startswith("the export failed: ")
    assert "403" in found.message


def test_another_export_is_waited_for_and_cancelled_meanwhile(
    train: Callable[..., Job], queue: JobQueue, tmp_path: Path
):
    """`pam-studio export` and the training both write the data set: one after the other."""
    with opened(tmp_path / "regions"):
        job = train("--steps", "3")
        until(lambda: queue.job(job.id).progress.stage == "waiting for another export")
        queue.cancel(job.id)
        assert ended(queue, job.id).state == "cancelled"
    queue.retry(job.id)
    assert ended(queue, job.id).state == "done"


def test_cancelled_during_the_export(train: Callable[..., Job], queue: JobQueue, studio: Double, tmp_path: Path):
    """A picture that takes long: the job ends all the same, and no version is made."""
    asked_for: list[str] = []

    def slow(asked: Any) -> Reply | None:
        if asked.path.endswith(".jpg"):
            asked_for.append(asked.path)
            queue.cancel(1)
            until(lambda: not queue.job(1).is_open)
        return None

    studio.rule(slow)
    job = train()
    assert ended(queue, job.id).state == "cancelled"
    assert asked_for and versions(tmp_path / "regions") == []


def test_the_data_set_of_another_project(train: Callable[..., Job], queue: JobQueue, tmp_path: Path, ledger: Ledger):
    """A folder that holds one project's data set is not turned into another's."""
    version = tmp_path / "regions" / "v0001"
    version.mkdir(parents=True)
    (version / "manifest.json").write_text('{"settings": {"projects": "5"}}')
    version.with_name("latest").symlink_to("v0001")
    assert "is a data set of project 5 alone, and project 1 asked" in ended(queue, train().id).message


def test_a_link_to_a_version_that_is_gone(train: Callable[..., Job], queue: JobQueue, tmp_path: Path):
    """Somebody removed the newest: what is there counts, and the export puts the link right."""
    (tmp_path / "regions" / ".store").mkdir(parents=True)
    (tmp_path / "regions" / "latest").symlink_to("v0002")
    found = ended(queue, train("--steps", "2").id)
    assert found.state == "done", found.message
    assert (tmp_path / "regions" / "latest").resolve() == tmp_path / "regions" / "v0001"


def test_settings_that_changed_while_it_was_interrupted(train: Callable[..., Job], queue: JobQueue, tmp_path: Path):
    """It goes on as it began; another number of steps would be another run."""
    exported(queue, tmp_path)
    plan = queue.folder(1) / "plan.json"
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"options": ["--steps", "2"]}))
    job = train(train_steps=2000, train_masks=True)
    found = ended(queue, job.id)
    assert found.state == "done", found.message
    (started,) = (line for line in tail(queue.folder(job.id), 100) if "--base nano" in line)
    assert "--steps 2 " in started and "--masks" not in started and "2000" not in started


def test_a_decision_is_made_once(train: Callable[..., Job], queue: JobQueue):
    """Killed between the decision and the end of the job: it is not trained, or considered, again."""
    queue.folder(1).mkdir(parents=True)
    (queue.folder(1) / "decision.txt").write_text("kept aside: category fell")
    found = ended(queue, train().id)
    assert (found.state, found.message) == ("done", "kept aside: category fell")


def test_what_older_trainings_left_is_removed(train: Callable[..., Job], queue: JobQueue, tmp_path: Path):
    """A failed training keeps its run, to be tried again, until the next one begins: they may be gigabytes."""
    old = queue.folder(77) / "training"
    old.mkdir(parents=True)
    (queue.folder(77) / "log").write_text("why")
    exported(queue, tmp_path)
    assert ended(queue, train("--steps", "2").id).state == "done"
    assert not old.exists() and (queue.folder(77) / "log").exists()
    shutil.rmtree(queue.folder(77))
