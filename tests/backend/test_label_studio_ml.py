"""The class for label-studio-ml 2.x.

That package is on no index, so its two base classes are played here, as far as the class uses them (seen with the real
ones at commit d02cedf of HumanSignal/label-studio-ml-backend).
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from tests.backend.conftest import capture, ready


class LabelStudioMLBase:
    """Keeps what is set for a project, and calls `setup` when it is made, once for each request."""

    kept: dict[str, str] = {}

    def __init__(self, project_id: str, label_config: str):
        self.project_id, self.label_config = project_id, label_config
        self.setup()

    def setup(self) -> None: ...

    def set(self, key: str, value: str) -> None:
        self.kept[key] = value


class ModelResponse(BaseModel):
    """A list of predictions."""

    predictions: list[Any]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """`backend.label_studio_ml`, imported beside the two base classes, with its data in a folder of the test's."""
    for name, thing in (("model", LabelStudioMLBase), ("response", ModelResponse)):
        stand_in = ModuleType(f"label_studio_ml.{name}")
        setattr(stand_in, thing.__name__, thing)
        monkeypatch.setitem(sys.modules, f"label_studio_ml.{name}", stand_in)
    monkeypatch.setitem(sys.modules, "label_studio_ml", ModuleType("label_studio_ml"))
    monkeypatch.setenv("PAM_STUDIO_DATA_DIR", str(tmp_path))
    monkeypatch.delitem(sys.modules, "backend.label_studio_ml", raising=False)
    import backend.label_studio_ml as imported

    yield imported
    backend, runner = imported._assembled()
    runner.stop()
    backend.close()
    sys.modules.pop("backend.label_studio_ml")


def test_it_answers_and_journals_like_the_server(module: ModuleType, coins: bytes):
    """Objects come and go with requests; model and ledger are one for the process."""
    request = capture("predict_1_click")
    task = request["tasks"][0]
    task["data"]["image"] = "data:image/jpeg;base64," + base64.b64encode(coins).decode()

    def model() -> Any:
        return module.PAMStudio(project_id="3", label_config=request["label_config"])

    ready(module._backend())
    response = model().predict([task], context=request["params"]["context"])
    (prediction,) = response.predictions
    assert LabelStudioMLBase.kept["model_version"] == prediction.model_version
    assert {result["type"] for result in prediction.result} == {"brushlabels", "textarea"}
    region_id = prediction.result[0]["id"]
    assert module._backend().ledger.suggestion(region_id) is not None
    assert model().predict([task], context=None).predictions == []

    event = capture("webhook_annotation_created")
    assert model().fit(event.pop("action"), event) == {"status": "journalled"}
    assert [a.id for rows in module._backend().ledger.annotations_by_task(3) for a in rows] == [1]


def test_the_server_does_not_need_it():
    """Nothing that `pam-studio serve` imports needs label-studio-ml."""
    import backend.serve  # noqa: F401

    assert "label_studio_ml" not in sys.modules


def test_start_training_queues_a_job(module: ModuleType):
    """The button works here, too; a second press is answered with the job of the first."""
    studio = module.PAMStudio("3.1795350775", "<View/>")
    answers = [studio.fit("START_TRAINING", capture("webhook_start_training")) for _ in range(2)]
    assert [answer["job"] for answer in answers] == ["1", "1"]
    job = module._backend().jobs.job(1)
    assert (job.kind, job.project_id) == ("train", 3)
    module._backend().jobs.cancel(1)
