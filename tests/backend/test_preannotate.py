"""Answers before anybody asks: what Retrieve Predictions gets, what the command writes, what goes wrong with them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend import masks, preannotate
from backend.app import create_app
from backend.assembly import Backend
from backend.errors import ConfigError, LabelStudioError
from backend.label_studio import LabelStudio
from backend.outcome import is_refined
from backend.preannotate import Progress
from backend.studio_tasks import StudioTasks
from tests.backend.conftest import Photos, capture, ready
from tests.backend.label_studio_double import LEGACY, Asked, Double, Reply, json_reply, label_studio_double

CONFIG = (Path(__file__).parents[2] / "label_config" / "image.xml").read_text()
ADDRESS = "/data/upload/2/e550e346-coins.jpg"
REGIONS = 3


def retrieve(*addresses: str, config: str = CONFIG) -> dict[str, Any]:
    """What Label Studio sends for several tasks: as when one is opened, which was captured."""
    request = copy.deepcopy(capture("predict_on_task_open"))
    (task,) = request["tasks"]
    tasks = [task | {"id": 10 + k, "data": {"image": address}} for k, address in enumerate(addresses)]
    return request | {"tasks": tasks, "label_config": config}


@pytest.fixture
def few(make_backend: Callable[..., Backend], photos: Photos, coins: bytes) -> Backend:
    """A backend that finds few regions, so that tests are short."""
    photos.files[ADDRESS] = coins
    return ready(make_backend(most_regions=REGIONS))


def ids(prediction: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(result["id"] for result in prediction["result"]))


def test_retrieving_predictions_answers_every_task(few: Backend):
    """Each task gets one prediction of several regions with masks and words, and the ledger knows each under its id."""
    response = create_app(few).test_client().post("/predict", json=retrieve(ADDRESS, ADDRESS))
    first, second = response.json["results"]
    for (prediction,), task in ((first, 10), (second, 11)):
        assert prediction["model_version"] == few.engine.version
        assert 0 < prediction["score"] <= 1
        assert 0 < len(ids(prediction)) <= REGIONS
        kept = {s.region_id: s for s in few.ledger.suggestions_of_task(2, task)}
        assert list(kept) == ids(prediction)
        for result in prediction["result"]:
            suggestion = kept[result["id"]]
            assert suggestion.unasked and suggestion.embedding and suggestion.own
            if result["type"] == "brushlabels":
                mask = masks.from_brush_rle(result["value"]["rle"], 303, 384)
                assert np.array_equal(mask, masks.from_coco_rle(suggestion.mask_rle, 303, 384))
                (point,) = suggestion.points
                assert mask[int(point.y), int(point.x)]
            else:
                assert result["value"]["text"] == [(suggestion.offered or {})[result["from_name"]]]
    assert not set(ids(first[0])) & set(ids(second[0]))


def test_an_opened_task_is_only_looked_at(few: Backend):
    """Whoever opens a task should not wait for regions that nobody asked for, unless the settings say so."""
    response = create_app(few).test_client().post("/predict", json=retrieve(ADDRESS))
    assert response.json["results"] == []
    assert few.ledger.suggestions_of_task(2, 10) == []


def test_an_opened_task_gets_regions_where_that_is_wished(
    make_backend: Callable[..., Backend], photos: Photos, coins: bytes
):
    """The setting for teams that want to see regions first."""
    photos.files[ADDRESS] = coins
    backend = ready(make_backend(most_regions=1, preannotate_opened=True))
    ((prediction,),) = create_app(backend).test_client().post("/predict", json=retrieve(ADDRESS)).json["results"]
    assert len(ids(prediction)) == 1


def test_a_task_without_its_image_costs_only_itself(few: Backend):
    """Label Studio matches answers with tasks by their order, so that one that fails needs a place, too."""
    addresses = ("/data/upload/2/gone.jpg", ADDRESS, "")
    none, (prediction,), neither = (
        create_app(few).test_client().post("/predict", json=retrieve(*addresses)).json["results"]
    )
    assert none == neither == []
    assert ids(prediction)


def test_where_no_task_can_be_answered_it_is_said_why(few: Backend):
    """An empty list would look as if there were nothing to see on any image."""
    response = create_app(few).test_client().post("/predict", json=retrieve("/data/gone.jpg", "/data/gone2.jpg"))
    assert response.status_code == 422
    assert response.json["error"]["code"] == "image_unavailable"


def test_a_config_without_masks_is_refused(few: Backend):
    """With the line to add, before any image is fetched."""
    config = '<View><Image name="image" value="$image"/></View>'
    response = create_app(few).test_client().post("/predict", json=retrieve(ADDRESS, ADDRESS, config=config))
    assert response.status_code == 422
    assert response.json["error"]["code"] == "no_prompt_tag"


def test_videos_are_not_looked_through(make_backend: Callable[..., Backend]):
    """They are followed from a box. Opened, a video's task is prepared for that, whatever is set for pictures."""
    config = (Path(__file__).parents[2] / "label_config" / "video.xml").read_text()
    backend = ready(make_backend(preannotate_opened=True))
    client = create_app(backend).test_client()
    response = client.post("/predict", json=retrieve("/data/a.mp4", "/data/b.mp4", config=config))
    assert (response.status_code, response.json["error"]["code"]) == (422, "no_preannotation")
    opened = retrieve("/data/a.mp4", config=config)
    opened["tasks"][0]["data"] = {"video": "/data/a.mp4"}
    assert client.post("/predict", json=opened).json["results"] == []


def test_a_picture_is_not_waited_for_longer_than_label_studio_waits(
    few: Backend, photos: Photos, coins: bytes, monkeypatch: pytest.MonkeyPatch
):
    """What is left of its time is handed on, or the answers before it would be lost, too."""
    left: list[float] = []
    picture = few.suggester.picture

    def told(project_id: Any, task: Any, config: Any, timeout: float) -> Any:
        left.append(timeout)
        return picture(project_id, task, config, timeout)

    monkeypatch.setattr(few.suggester, "picture", told)
    create_app(few).test_client().post("/predict", json=retrieve(ADDRESS, ADDRESS))
    assert 80 >= left[0] > left[1] > 0


def test_what_there_is_no_time_for_waits(few: Backend, monkeypatch: pytest.MonkeyPatch):
    """Label Studio gives all tasks together 100 s: better some answers than none."""
    clock = iter(range(0, 10_000, 50))
    monkeypatch.setattr(preannotate.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(few.preannotator, "predict", lambda *_: preannotate.Prediction([], 0.5, "v", {}))
    response = create_app(few).test_client().post("/predict", json=retrieve(*[ADDRESS] * 5))
    results = response.json["results"]
    assert len(results) == 5
    assert results[0] and not results[-1]


def test_a_closed_list_is_never_left(make_backend: Callable[..., Backend], photos: Photos, coins: bytes):
    """Regions of a project with choices are named from them."""
    photos.files[ADDRESS] = coins
    config = (Path(__file__).parents[2] / "label_config" / "image_closed.xml").read_text()
    backend = ready(make_backend(most_regions=2))
    response = create_app(backend).test_client().post("/predict", json=retrieve(ADDRESS, ADDRESS, config=config))
    ((prediction,), _) = response.json["results"]
    chosen = [r["value"]["choices"] for r in prediction["result"] if r["type"] == "choices"]
    assert len(chosen) == 2
    assert all(f'"{choice}"' in config for (choice,) in chosen)


def test_an_answer_that_was_lost_leaves_no_trace(few: Backend):
    """Asked again, because Label Studio gave up waiting, the ledger holds only what was answered last."""
    client = create_app(few).test_client()
    client.post("/predict", json=retrieve(ADDRESS, ADDRESS))
    ((prediction,), _) = client.post("/predict", json=retrieve(ADDRESS, ADDRESS)).json["results"]
    assert [s.region_id for s in few.ledger.suggestions_of_task(2, 10)] == ids(prediction)


def test_what_an_annotator_saved_is_kept(few: Backend):
    """Predicting a task again takes nothing away from its annotations: their regions keep their suggestions."""
    client = create_app(few).test_client()
    ((prediction,), _) = client.post("/predict", json=retrieve(ADDRESS, ADDRESS)).json["results"]
    saved = ids(prediction)[0]
    result = [each for each in prediction["result"] if each["id"] == saved]
    moment = "2026-11-22T12:00:00Z"
    annotation = {"id": 5, "task": 10, "project": 2, "result": result, "created_at": moment, "updated_at": moment}
    few.ledger.journal(
        "ANNOTATION_CREATED",
        {"action": "ANNOTATION_CREATED", "annotation": annotation, "task": {"id": 10, "data": {"image": ADDRESS}}},
    )
    ((again,), _) = client.post("/predict", json=retrieve(ADDRESS, ADDRESS)).json["results"]
    assert [s.region_id for s in few.ledger.suggestions_of_task(2, 10)] == [saved, *ids(again)]


@pytest.fixture
def studio() -> Iterator[Double]:
    """A Label Studio whose project 1 has five tasks."""
    with label_studio_double() as double:
        double.label_config = CONFIG
        double.tasks = [{"id": k, "data": {"image": ADDRESS}, "annotations": []} for k in range(1, 6)]
        yield double


def tasks_of(studio: Double) -> StudioTasks:
    return StudioTasks(LabelStudio(studio.url, LEGACY, 20, backoff=0.01), 1, pause=0.01)


@pytest.fixture
def backend_of(
    make_backend: Callable[..., Backend], studio: Double, coins: bytes
) -> Callable[..., tuple[Backend, StudioTasks]]:
    """A backend that fetches images from that Label Studio."""
    studio.rule(lambda asked: Reply(body=coins) if asked.path == ADDRESS else None)

    def make(**settings: Any) -> tuple[Backend, StudioTasks]:
        return ready(make_backend(most_regions=1, label_studio_url=studio.url, **settings)), tasks_of(studio)

    return make


def test_a_project_is_predicted_once(backend_of: Callable[..., tuple[Backend, StudioTasks]], studio: Double):
    """Every unlabelled task gets one prediction with version and score; a second run finds nothing to do."""
    studio.tasks[1]["annotations"] = [{"id": 1}]
    backend, tasks = backend_of()
    seen: list[Progress] = []
    done = backend.preannotator.project(tasks, seen.append)
    assert (done.total, done.tasks, done.regions, done.failures) == (4, 4, 4, {})
    assert [progress.tasks for progress in seen] == [0, 1, 2, 3, 4]
    assert [p["task"] for p in studio.predictions] == [1, 3, 4, 5]
    assert {p["model_version"] for p in studio.predictions} == {backend.engine.version}
    assert all(0 < p["score"] <= 1 and p["result"] for p in studio.predictions)
    assert backend.preannotator.project(tasks).total == 0
    assert backend.preannotator.project(tasks, labelled=True).tasks == 1
    assert [p["task"] for p in studio.predictions] == [1, 3, 4, 5, 2]


def test_a_limit_is_kept_and_the_rest_follows(backend_of: Callable[..., tuple[Backend, StudioTasks]], studio: Double):
    """As for a first look."""
    backend, tasks = backend_of()
    assert backend.preannotator.project(tasks, limit=2).tasks == 2
    assert backend.preannotator.project(tasks).tasks == 3
    assert sorted(p["task"] for p in studio.predictions) == [1, 2, 3, 4, 5]


def test_tasks_that_fail_are_reported_and_left(backend_of: Callable[..., tuple[Backend, StudioTasks]], studio: Double):
    """An image that is gone, one that is none, a task without an address, and one deleted while it was predicted."""
    studio.tasks[0]["data"] = {"image": "/data/upload/2/gone.jpg"}
    studio.tasks[1]["data"] = {"image": "data:image/png;base64,AAAA"}
    studio.tasks[2]["data"] = {}

    def delete(asked: Asked) -> None:
        if asked.path == "/api/predictions/" and asked.method == "POST" and json.loads(asked.body)["task"] == 4:
            studio.tasks[:] = [task for task in studio.tasks if task["id"] != 4]

    studio.rule(delete)
    backend, tasks = backend_of()
    done = backend.preannotator.project(tasks)
    assert set(done.failures) == {1, 2, 3, 4}
    assert "404" in done.failures[1]
    assert "deleted" in done.failures[4]
    assert [p["task"] for p in studio.predictions] == [5]


def test_an_image_without_regions_is_not_asked_about_for_ever(
    backend_of: Callable[..., tuple[Backend, StudioTasks]], studio: Double
):
    """It gets an empty prediction, which says that this model has looked."""
    white = "data:image/gif;base64,R0lGODdhAQABAIABAAAAAP///ywAAAAAAQABAAACAkwBADs="
    studio.tasks = [{"id": 1, "data": {"image": white}, "annotations": []}]
    backend, tasks = backend_of()
    assert backend.preannotator.project(tasks) == Progress(total=1, tasks=1)
    (prediction,) = studio.predictions
    assert (prediction["result"], prediction["score"]) == ([], 0.0)
    assert backend.preannotator.project(tasks).total == 0


@pytest.mark.parametrize("stored", [False, True], ids=["never arrived", "arrived"])
def test_an_answer_that_does_not_come_is_no_second_prediction(
    backend_of: Callable[..., tuple[Backend, StudioTasks]], studio: Double, stored: bool
):
    """What was sent and not confirmed is looked for before it is sent again."""
    lost = [True]

    def lose(asked: Asked) -> Reply | None:
        if asked.path == "/api/predictions/" and asked.method == "POST" and lost:
            lost.clear()
            if stored:
                studio.predictions.append(json.loads(asked.body) | {"id": 99})
            return json_reply(502, {})
        return None

    studio.rule(lose)
    backend, tasks = backend_of()
    assert backend.preannotator.project(tasks).tasks == 5
    assert sorted(p["task"] for p in studio.predictions) == [1, 2, 3, 4, 5]


def test_several_answers_that_do_not_come_are_no_second_prediction(
    backend_of: Callable[..., tuple[Backend, StudioTasks]], studio: Double
):
    """The first never arrived, the next was stored and its answer lost: it is looked for before every repetition."""
    sent: list[int] = []

    def lose(asked: Asked) -> Reply | None:
        if asked.path == "/api/predictions/" and asked.method == "POST" and json.loads(asked.body)["task"] == 1:
            sent.append(1)
            if len(sent) == 2:
                studio.predictions.append(json.loads(asked.body) | {"id": 99})
            return json_reply(502, {})
        return None

    studio.rule(lose)
    backend, tasks = backend_of()
    assert backend.preannotator.project(tasks).tasks == 5
    assert len(sent) == 2 and sorted(p["task"] for p in studio.predictions) == [1, 2, 3, 4, 5]


def test_two_at_a_time_predict_no_task_twice(backend_of: Callable[..., tuple[Backend, StudioTasks]], studio: Double):
    """Somebody retrieves predictions while the command runs: what is there by then is left as it is."""
    backend, tasks = backend_of()

    def other(asked: Asked) -> None:
        if asked.path == "/api/predictions/" and asked.method == "POST" and json.loads(asked.body)["task"] == 1:
            theirs = {"id": 77, "task": 3, "model_version": backend.engine.version, "score": 0.5, "result": []}
            studio.predictions.append(theirs)

    studio.rule(other)
    assert backend.preannotator.project(tasks).failures == {}
    assert sorted(p["task"] for p in studio.predictions) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("status", [400, 413])
def test_a_prediction_that_is_not_taken_costs_its_own_task(
    backend_of: Callable[..., tuple[Backend, StudioTasks]], studio: Double, status: int
):
    """Masks too large for a proxy: it is said, and those behind it get theirs."""

    def refuse(asked: Asked) -> Reply | None:
        if asked.path == "/api/predictions/" and asked.method == "POST" and json.loads(asked.body)["task"] == 2:
            return json_reply(status, {"detail": "no"})
        return None

    studio.rule(refuse)
    backend, tasks = backend_of()
    done = backend.preannotator.project(tasks)
    assert list(done.failures) == [2] and str(status) in done.failures[2]
    assert [p["task"] for p in studio.predictions] == [1, 3, 4, 5]


def test_what_nobody_foresaw_costs_one_task(
    backend_of: Callable[..., tuple[Backend, StudioTasks]], studio: Double, monkeypatch: pytest.MonkeyPatch
):
    """Be it the command or the button; where every task fails so, it is not the tasks, and the command ends with it."""
    backend, tasks = backend_of()
    everything, failing = backend.engine.everything, [False, True, *[False] * 5, True]

    def fail(*arguments: Any) -> Any:
        if not failing or failing.pop(0):
            raise RuntimeError("out of memory")
        return everything(*arguments)

    monkeypatch.setattr(backend.engine, "everything", fail)
    assert backend.preannotator.project(tasks).failures == {2: "RuntimeError: out of memory"}
    asked = retrieve(ADDRESS, ADDRESS, ADDRESS)
    answers = create_app(backend).test_client().post("/predict", json=asked | {"project": "1.2"}).json["results"]
    assert [len(each) for each in answers] == [1, 1, 0]
    studio.tasks = [{"id": k, "data": {"image": ADDRESS}, "annotations": []} for k in range(10, 40)]
    with pytest.raises(RuntimeError, match="out of memory"):
        backend.preannotator.project(tasks)


def test_a_limit_counts_tasks_that_got_something(
    backend_of: Callable[..., tuple[Backend, StudioTasks]], studio: Double
):
    """Else tasks without an image at the front would keep it from ever doing anything."""
    studio.tasks[0]["data"] = studio.tasks[1]["data"] = {}
    backend, tasks = backend_of()
    assert backend.preannotator.project(tasks, limit=2).tasks == 2
    assert [p["task"] for p in studio.predictions] == [3, 4]


def test_label_studio_goes_away_and_comes_back(backend_of: Callable[..., tuple[Backend, StudioTasks]], studio: Double):
    """What is written stays written, and the next run does the rest; the ledger holds one set of regions for a task."""
    down: list[bool] = []

    def fail(asked: Asked) -> Reply | None:
        if len(studio.predictions) == 2 and not down:
            return json_reply(503, {})
        return None

    studio.rule(fail)
    backend, tasks = backend_of()
    with pytest.raises(LabelStudioError, match="503"):
        backend.preannotator.project(tasks)
    assert len(studio.predictions) == 2
    down.append(False)
    assert backend.preannotator.project(tasks).tasks == 3
    for task in range(1, 6):
        (prediction,) = (p for p in studio.predictions if p["task"] == task)
        assert [s.region_id for s in backend.ledger.suggestions_of_task(1, task)] == ids(prediction)


def test_a_project_that_takes_no_masks_is_refused(
    backend_of: Callable[..., tuple[Backend, StudioTasks]], studio: Double
):
    """Before the first image."""
    studio.label_config = '<View><Text name="text" value="$text"/></View>'
    backend, tasks = backend_of()
    with pytest.raises(ConfigError, match="Image"):
        backend.preannotator.project(tasks)


def test_ten_thousand_tasks_are_listed_a_page_at_a_time(studio: Double):
    """No list of all tasks is ever asked for, and each comes once although others are predicted meanwhile."""
    studio.tasks = [{"id": k, "data": {}, "annotations": []} for k in range(1, 10_001)]
    tasks = tasks_of(studio)
    assert tasks.count(without="v", unlabelled=True) == 10_000
    seen: list[int] = []
    for page in tasks.pages(without="v", unlabelled=True):
        seen += [task["id"] for task in page]
        studio.tasks = [task for task in studio.tasks if task["id"] > seen[-1] or task["id"] % 2]
    assert seen == list(range(1, 10_001))
    assert max(int(asked.query["page_size"]) for asked in studio.asked if asked.path == "/api/tasks/") <= 100


def test_found_again_by_a_newer_model_is_no_rejection(few: Backend):
    """Regions of an older version, which nobody sees any more, gave way; they were not turned down."""
    create_app(few).test_client().post("/predict", json=retrieve(ADDRESS, ADDRESS))
    (older, *_) = few.ledger.suggestions_of_task(2, 10)
    newer = replace(older, model_version="pam-nano-2", created_at=older.created_at.replace(year=2100))
    assert is_refined(older, newer)
    assert not is_refined(newer, older)
    assert not is_refined(older, replace(newer, unasked=False))
