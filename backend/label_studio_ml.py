"""PAM Studio as a model of label-studio-ml 2.x, for people who run their backends with that.

from label_studio_ml.api import init_app
from backend.label_studio_ml import PAMStudio
app = init_app(model_class=PAMStudio)
"""

from __future__ import annotations

import json
import threading
from functools import cache
from typing import Any

from label_studio_ml.model import LabelStudioMLBase
from label_studio_ml.response import ModelResponse
from label_studio_sdk.label_interface.objects import PredictionValue

from backend import predict_request
from backend.assembly import Backend, assemble
from backend.jobs.runner import Runner
from backend.jobs.start import said, start_training
from backend.json_node import Node
from backend.settings import Settings
from backend.suggest import Prediction

_assembling = threading.Lock()


@cache
def _assembled() -> tuple[Backend, Runner]:
    backend = assemble(Settings())
    runner = Runner(backend.settings, backend.jobs)
    runner.start()
    return backend, runner


def _backend() -> Backend:
    # label-studio-ml makes an object of the class below for every request: the model must not be theirs. The cache
    # alone would let two first requests make two.
    with _assembling:
        return _assembled()[0]


class PAMStudio(LabelStudioMLBase):
    """The same answers as `pam-studio serve` gives, and the same ledger; configured by the same environment."""

    def setup(self) -> None:
        """Say which model answers."""
        self.set("model_version", _backend().engine.version)

    def predict(self, tasks: list[dict], context: dict | None = None, **kwargs: Any) -> ModelResponse:
        """A prediction for a click or a box, or one for each of several tasks. Raises BackendError."""
        asked = {
            "tasks": tasks,
            "project": self.project_id,
            "label_config": self.label_config,
            "params": {"context": context},
        }
        request = predict_request.parse(json.dumps(asked).encode())
        backend = _backend()
        if backend.preannotator.is_asked(request):
            return ModelResponse(
                predictions=[list(map(_value, each)) for each in backend.preannotator.retrieve(request)]
            )
        return ModelResponse(predictions=list(map(_value, backend.suggester.suggest(request))))

    def fit(self, event: str, data: dict, **kwargs: Any) -> dict[str, str]:
        """Journal an annotation, or start a training for the button. Raises BackendError."""
        backend = _backend()
        backend.ledger.journal(event, data)
        if event == "START_TRAINING":
            job, is_new = start_training(backend.jobs, backend.ledger, Node(data)["project"]["id"].whole(0), event)
            return {"status": job.state, "job": str(job.id), "message": said(job, is_new)}
        return {"status": "journalled"}


def _value(prediction: Prediction) -> PredictionValue:
    return PredictionValue(result=prediction.results, score=prediction.score, model_version=prediction.model_version)
