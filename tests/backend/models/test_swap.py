"""Another model takes over while clicks go on, in a real server: each answer is wholly of one version, none fails."""

from __future__ import annotations

import copy
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from werkzeug.serving import make_server

from backend.app import create_app
from backend.assembly import Backend
from backend.models import Registry, consider, registry_of
from backend.models.following import RETRY_SECONDS
from tests.backend.conftest import Photos, capture, ready
from tests.backend.models.runs import BASE, run, trained

PLACES = [(102, 125), (153, 127), (205, 123)]
CLICKERS = 3


@pytest.fixture
def served(make_backend: Callable[..., Backend], photos: Photos, coins: bytes) -> Iterator[tuple[Backend, str]]:
    """A backend on a port, whose threads answer at once, and its address."""
    photos.files[capture("predict_1_click")["tasks"][0]["data"]["image"]] = coins
    backend = ready(make_backend(memory=False))
    server = make_server("127.0.0.1", 0, create_app(backend), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield backend, f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()


def click(url: str, place: tuple[int, int]) -> dict[str, Any]:
    """The prediction for a click, without what is new in each."""
    request = copy.deepcopy(capture("predict_1_click"))
    (drawn,) = request["params"]["context"]["result"]
    drawn["value"] |= {"x": 100 * place[0] / 384, "y": 100 * place[1] / 303}
    response = httpx.post(f"{url}/predict", json=request, timeout=120)
    assert response.status_code == 200, response.text
    (prediction,) = response.json()["results"]
    for result in prediction["result"]:
        del result["id"]
    return prediction


def wait_for(url: str, version: str) -> None:
    pause = threading.Event()
    for _ in range(1200):
        if httpx.get(f"{url}/health", timeout=60).json()["model_version"] == version:
            return
        pause.wait(0.1)
    raise AssertionError(f"{version} did not take over")


def test_clicks_go_on_while_models_are_exchanged(served: tuple[Backend, str], tmp_path: Path):
    """Promoted and rolled back elsewhere: `/health` and `/setup` say so, answers are of the one or the other."""
    backend, url = served
    models = registry_of(backend.settings)
    folder, version = run(tmp_path / "run")
    answers: dict[str, dict[tuple[int, int], dict[str, Any]]] = {BASE: {place: click(url, place) for place in PLACES}}
    seen: list[tuple[tuple[int, int], dict[str, Any]]] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def hammer(number: int) -> None:
        try:
            while not stop.is_set():
                place = PLACES[number % len(PLACES)]
                seen.append((place, click(url, place)))
                number += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=hammer, args=(number,)) for number in range(CLICKERS)]
    for thread in threads:
        thread.start()
    assert consider(models, folder).promoted
    wait_for(url, version)
    setup = httpx.post(f"{url}/setup", json=capture("setup"), timeout=60)
    assert setup.json()["model_version"] == version
    models.roll_back()
    wait_for(url, BASE)
    models.promote(version, "again")
    wait_for(url, version)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    answers[version] = {place: click(url, place) for place in PLACES}
    assert answers[version] != answers[BASE], "two models that say the same tell nothing"
    assert {prediction["model_version"] for _, prediction in seen} == {BASE, version}
    for place, prediction in seen:
        assert prediction == answers[prediction["model_version"]][place]
    assert f'pam_studio_model_info{{version="{version}"}} 1.0' in httpx.get(f"{url}/metrics", timeout=60).text


def test_a_restart_loads_what_was_promoted(make_backend: Callable[..., Backend], tmp_path: Path):
    """And the model of the settings where what was promoted is gone, which `/health` says."""
    folder, version = run(tmp_path / "run")
    models = registry_of(ready(make_backend()).settings)
    models.add(folder, version)
    models.promote(version, "")
    assert ready(make_backend()).engine.version == version
    weights = models.folder / version / "model.safetensors"
    # In one step: whoever is just reading the old file goes on with it.
    os.replace(shutil.copyfile(trained(2)[0] / "model.safetensors", tmp_path / "other"), weights)
    backend = ready(make_backend())
    health = create_app(backend).test_client().get("/health").json
    assert health["model_version"] == BASE and health["ready"]
    assert version in health["error"] and "it was changed" in health["error"]


def test_a_model_that_cannot_be_loaded_leaves_the_old_one(make_backend: Callable[..., Backend], tmp_path: Path):
    """Promoted by force, or damaged since: clicks go on, the reason is told, and a good one takes over later."""
    backend = ready(make_backend())
    models = registry_of(backend.settings)
    folder, version = run(tmp_path / "run")
    models.add(folder, version)
    config = models.folder / version / "config.json"
    good = config.read_text()
    config.write_text(json.dumps(json.loads(good) | {"model": {}}))
    models.promote(version, "by hand")
    backend.following.follow()
    assert backend.engine.version == BASE and "config.json" in str(backend.engine.failure)
    config.write_text(good)
    models.roll_back()
    models.promote(version, "by hand")
    backend.following.follow()
    assert (backend.engine.version, backend.engine.failure) == (version, None)


def test_a_load_that_failed_is_tried_again(make_backend: Callable[..., Backend], tmp_path: Path, monkeypatch):
    """There was no memory for two models, and is some time later; nobody has to promote it once more."""
    backend = ready(make_backend())
    models, following = registry_of(backend.settings), backend.following
    folder, version = run(tmp_path / "run")
    models.add(folder, version)
    load, tried = following._load, []

    def fail_once(path: Path) -> Any:
        tried.append(path)
        if len(tried) == 1:
            raise MemoryError
        return load(path)

    monkeypatch.setattr(following, "_load", fail_once)
    models.promote(version, "by hand")
    for _ in range(3):
        following.follow()
    assert len(tried) == 1 and backend.engine.version == BASE and backend.engine.failure
    now = time.monotonic() + RETRY_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for _ in range(3):
        following.follow()
    assert len(tried) == 2 and (backend.engine.version, backend.engine.failure) == (version, None)


def test_a_damaged_list_leaves_the_old_one(make_backend: Callable[..., Backend]):
    """Whatever somebody wrote into the file."""
    backend = ready(make_backend())
    models: Registry = registry_of(backend.settings)
    models.folder.mkdir(parents=True, exist_ok=True)
    (models.folder / "active.json").write_text("{")
    backend.following.follow()
    assert backend.engine.version == BASE and "damaged" in str(backend.engine.failure)
