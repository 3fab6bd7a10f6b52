"""A project's tasks in order: what annotators said counts, the order is written, and Label Studio goes by it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from backend import labeling_config
from backend.errors import LabelStudioError
from backend.label_studio import LabelStudio
from backend.ledger import Ledger
from backend.memory import ProjectMemories
from backend.rank.project import ProjectRanking
from backend.studio_tasks import UNCERTAINTY, StudioTasks
from backend.suggestion import Suggestion, to_text
from model import Point
from tests.backend.label_studio_double import LEGACY, Asked, Double, Reply, json_reply, label_studio_double

XML = (Path(__file__).parents[3] / "label_config" / "image.xml").read_text()
CONFIG = labeling_config.parse(XML)
VERSION = "pam-test-1"
DIRECTIONS = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 64)))[0]


@pytest.fixture
def studio() -> Iterator[Double]:
    """A Label Studio with three predicted tasks, one that is labelled, and one that no model has seen."""
    with label_studio_double() as double:
        double.label_config = XML
        double.tasks = [{"id": k, "data": {}, "annotations": []} for k in range(1, 6)]
        double.tasks[3]["annotations"] = [{"id": 1}]
        double.predictions = [
            {"id": 100 + k, "task": k, "model_version": VERSION, "score": 0.9, "result": []} for k in range(1, 5)
        ]
        double.predictions.append({"id": 200, "task": 1, "model_version": "older", "score": 0.7, "result": []})
        yield double


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """What was suggested for the tasks: one region each, of which the model is less and less sure."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        for task in range(1, 5):
            ledger.record_unasked(1, task, VERSION, [suggestion(task, DIRECTIONS[task])])
        yield ledger


def suggestion(task: int, looks: np.ndarray) -> Suggestion:
    return Suggestion(
        region_id=f"region{task}",
        project_id=1,
        task_id=task,
        points=(Point(1, 1),),
        box=None,
        mask_rle="04",
        height=2,
        width=2,
        category=f"thing {task}",
        explanation="",
        caption="",
        score=1.0,
        word_scores={"category": 1 - task / 10},
        model_version=VERSION,
        image_address="a",
        image_sha256="0",
        seconds=0.1,
        created_at=datetime(2026, 11, 22, tzinfo=UTC),
        embedding=to_text(looks),
        own={f"thing {task}": 1 - task / 10},
        unasked=True,
    )


def ranking_of(studio: Double, ledger: Ledger) -> ProjectRanking:
    tasks = StudioTasks(LabelStudio(studio.url, LEGACY, 20, backoff=0.01), 1, pause=0.01)
    return ProjectRanking(tasks, ledger, ProjectMemories(ledger), CONFIG, VERSION)


def correct(ledger: Ledger, task: int, category: str) -> None:
    """An annotator submits the suggestion of a task under another name."""
    moment = "2026-11-22T12:00:00Z"
    result = {"id": f"region{task}", "from_name": "category", "type": "textarea", "value": {"text": [category]}}
    annotation = {
        "id": task, "task": task, "project": 1, "result": [result], "created_at": moment, "updated_at": moment,
    }  # fmt: skip
    payload = {"action": "ANNOTATION_CREATED", "annotation": annotation, "task": {"id": task, "data": {"image": "a"}}}
    ledger.journal("ANNOTATION_CREATED", payload)


def test_the_least_sure_unlabelled_task_comes_first(studio: Double, ledger: Ledger):
    """Labelled tasks and tasks without a prediction of this version are left out; it says what the regions are."""
    ranking = ranking_of(studio, ledger).order()
    assert [ranked.place.task_id for ranked in ranking] == [3, 2, 1]
    assert [ranked.says for ranked in ranking] == ["thing 3", "thing 2", "thing 1"]
    assert ranking[0].place.unsure == pytest.approx(0.3)


def test_what_looks_like_what_is_labelled_waits(studio: Double, ledger: Ledger):
    """An annotator named a thing that looks like the least sure one: the others are asked about first."""
    ledger.record_unasked(1, 4, VERSION, [suggestion(4, DIRECTIONS[3])])
    correct(ledger, 4, "gear")
    ranking = ranking_of(studio, ledger).order()
    assert [ranked.place.task_id for ranked in ranking] == [2, 1, 3]
    assert ranking[-1].place.new == pytest.approx(0, abs=1e-3)
    assert ranking[-1].says == "gear"


def test_regions_of_other_models_do_not_count(studio: Double, ledger: Ledger):
    """Their embeddings mean something else."""
    ledger.record_unasked(1, 3, "older", [replace(suggestion(3, DIRECTIONS[5]), region_id="x", model_version="older")])
    assert [ranked.place.task_id for ranked in ranking_of(studio, ledger).order()] == [3, 2, 1]


def test_places_become_scores_and_label_studio_goes_by_them(studio: Double, ledger: Ledger):
    """Uncertainty sampling takes the lowest score of the project's model version first; other versions keep theirs."""
    ranking = ranking_of(studio, ledger)
    assert ranking.write(ranking.order()) == 3
    scores = {(p["task"], p["model_version"]): p["score"] for p in studio.predictions}
    assert scores == {
        (3, VERSION): pytest.approx(1 / 3, abs=1e-5),
        (2, VERSION): pytest.approx(2 / 3, abs=1e-5),
        (1, VERSION): 1.0,
        (4, VERSION): 0.9,
        (1, "older"): 0.7,
    }
    StudioTasks(LabelStudio(studio.url, LEGACY, 20), 1).follow(VERSION)
    assert studio.settings == {"model_version": VERSION, "sampling": UNCERTAINTY}


def test_writing_goes_on_after_label_studio_was_away(studio: Double, ledger: Ledger):
    """What is written is not written again, and a task that is gone is no reason to stop."""
    ranking = ranking_of(studio, ledger)
    ordered = ranking.order()
    patched: list[str] = []

    def fail_at_the_second(asked: Asked) -> Reply | None:
        if asked.method == "PATCH":
            patched.append(asked.path)
            return json_reply(503, {}) if len(set(patched)) == 2 else None
        return None

    studio.rule(fail_at_the_second)
    with pytest.raises(LabelStudioError):
        ranking.write(ordered)
    studio.rules.clear()
    studio.tasks = [task for task in studio.tasks if task["id"] != 1]
    studio.asked.clear()
    assert ranking.write(ordered) == 2
    assert [json.loads(asked.body) for asked in studio.asked if asked.method == "PATCH"] == [
        {"score": pytest.approx(2 / 3, abs=1e-5)}
    ]


def test_a_project_without_predictions_has_no_order(studio: Double, ledger: Ledger):
    """Nothing is written, and nothing fails."""
    studio.predictions.clear()
    ranking = ranking_of(studio, ledger)
    assert ranking.order() == []
    assert ranking.write([]) == 0
