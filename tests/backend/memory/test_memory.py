"""From a correction to the next click, through the whole backend: what was named is known at once, and only there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from backend import pictures
from backend.app import create_app
from backend.assembly import Backend
from model import PAM, Point, Prompt
from tests.backend.conftest import Photos, capture, ready

COINS = [(102, 125), (153, 127), (205, 123), (101, 195), (154, 197)]
"""The middles of some coins of the photograph, 384 x 303."""


class Annotator:
    """Clicks, mends and submits, as Label Studio would tell the backend of it."""

    def __init__(self, client: FlaskClient, photos: Photos, coins: bytes, project: int = 3):
        self.client, self.project, self.tick = client, project, 0
        request = capture("predict_1_click")
        photos.files[request["tasks"][0]["data"]["image"]] = coins

    def click(self, x: float, y: float) -> dict[str, Any]:
        """The prediction for one click at a pixel."""
        request = copy.deepcopy(capture("predict_1_click")) | {"project": f"{self.project}.1763800000"}
        (drawn,) = request["params"]["context"]["result"]
        drawn["value"] |= {"x": 100 * x / 384, "y": 100 * y / 303}
        response = self.client.post("/predict", json=request)
        assert response.status_code == 200, response.json
        (prediction,) = response.json["results"]
        return prediction

    def submit(
        self, prediction: dict[str, Any], number: int, category: str, explanation: str = "Made of metal."
    ) -> None:
        """An annotation with the suggestion, its category and explanation mended."""
        results = copy.deepcopy(prediction["result"])
        for result in results:
            if result["from_name"] == "category":
                result["value"]["text"] = [category]
            if result["from_name"] == "explanation":
                result["value"]["text"] = [explanation]
        self.tell("ANNOTATION_UPDATED", number, results)

    def tell(self, action: str, number: int, results: list[dict[str, Any]]) -> None:
        self.tick += 1
        annotation = {
            "id": number, "task": 3, "project": self.project, "result": results, "was_cancelled": False,
            "created_at": "2026-11-22T11:00:00Z", "updated_at": f"2026-11-22T12:00:{self.tick:02}Z",
        }  # fmt: skip
        payload = {
            "action": action, "annotation": annotation, "project": {"id": self.project},
            "task": {"id": 3, "data": {"image": "a"}},
        }  # fmt: skip
        assert self.client.post("/webhook", json=payload).status_code < 300

    def forget(self, number: int) -> None:
        payload = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": number}], "project": {"id": self.project}}
        assert self.client.post("/webhook", json=payload).status_code < 300


def text(prediction: dict[str, Any], field: str) -> str:
    (said,) = (r["value"]["text"][0] for r in prediction["result"] if r["from_name"] == field)
    return said


@pytest.fixture
def annotator(client: FlaskClient, photos: Photos, coins: bytes) -> Annotator:
    return Annotator(client, photos, coins)


def test_a_corrected_coin_names_the_next(annotator: Annotator, backend: Backend):
    """After one correction the next coin has its name and explanation, and the ledger knows whose words these are."""
    first = annotator.click(*COINS[0])
    assert first["sources"] == {}
    annotator.submit(first, 1, "tetradrachm")
    second = annotator.click(*COINS[1])
    assert (text(second, "category"), text(second, "explanation")) == ("tetradrachm", "Made of metal.")
    assert second["sources"] == {"category": "memory", "explanation": "memory"}
    suggestion = backend.ledger.suggestion(second["result"][0]["id"])
    assert suggestion is not None and suggestion.sources == second["sources"]
    assert 0 < suggestion.word_scores["category"] <= 1
    assert text(second, "caption") and "caption" not in second["sources"]


def test_other_projects_know_nothing_of_it(annotator: Annotator, client: FlaskClient, photos: Photos, coins: bytes):
    """What one team calls a thing is not suggested to another."""
    own = text(annotator.click(*COINS[1]), "category")
    annotator.submit(annotator.click(*COINS[0]), 1, "tetradrachm")
    assert text(Annotator(client, photos, coins, project=4).click(*COINS[1]), "category") == own


def test_what_is_taken_back_is_forgotten(annotator: Annotator):
    """Deleted, cancelled or emptied: the model speaks for itself again."""
    own = text(annotator.click(*COINS[1]), "category")
    first = annotator.click(*COINS[0])
    annotator.submit(first, 1, "tetradrachm")
    assert text(annotator.click(*COINS[1]), "category") == "tetradrachm"
    annotator.tell("ANNOTATION_UPDATED", 1, [])
    assert text(annotator.click(*COINS[1]), "category") == own
    annotator.submit(first, 1, "tetradrachm")
    assert text(annotator.click(*COINS[1]), "category") == "tetradrachm"
    annotator.forget(1)
    assert text(annotator.click(*COINS[1]), "category") == own


def test_a_wrong_correction_is_outvoted(annotator: Annotator):
    """One slip does not name a class."""
    annotator.submit(annotator.click(*COINS[0]), 1, "button")
    for number, place in enumerate(COINS[1:4], 2):
        annotator.submit(annotator.click(*place), number, "tetradrachm")
    assert text(annotator.click(*COINS[4]), "category") == "tetradrachm"


def test_a_restart_forgets_nothing(
    annotator: Annotator, make_backend: Callable[..., Backend], photos: Photos, coins: bytes
):
    """Memories are in the ledger."""
    annotator.submit(annotator.click(*COINS[0]), 1, "tetradrachm")
    assert text(annotator.click(*COINS[1]), "category") == "tetradrachm"
    again = Annotator(create_app(ready(make_backend())).test_client(), photos, coins)
    assert text(again.click(*COINS[1]), "category") == "tetradrachm"


def test_another_model_starts_anew(
    annotator: Annotator, make_backend: Callable[..., Backend], photos: Photos, coins: bytes, nano: PAM, monkeypatch
):
    """Embeddings of two models cannot be compared."""
    own = text(annotator.click(*COINS[1]), "category")
    annotator.submit(annotator.click(*COINS[0]), 1, "tetradrachm")
    monkeypatch.setattr(nano, "version", "pam-nano-another")
    again = Annotator(create_app(ready(make_backend())).test_client(), photos, coins)
    assert text(again.click(*COINS[1]), "category") == own


def test_it_can_be_switched_off(make_backend: Callable[..., Backend], photos: Photos, coins: bytes):
    """`memory=false`: the model alone, and nothing else changes."""
    annotator = Annotator(create_app(ready(make_backend(memory=False))).test_client(), photos, coins)
    annotator.submit(annotator.click(*COINS[0]), 1, "tetradrachm")
    assert text(annotator.click(*COINS[1]), "category") != "tetradrachm"


def test_a_category_without_an_explanation_is_explained(annotator: Annotator):
    """The explanation fits the category that memory gave, not the one that the model would have said."""
    annotator.submit(annotator.click(*COINS[0]), 1, "tetradrachm", explanation="")
    second = annotator.click(*COINS[1])
    assert text(second, "category") == "tetradrachm"
    assert text(second, "explanation") and second["sources"] == {"category": "memory"}


def test_what_explained_another_category_is_not_remembered(annotator: Annotator):
    """An annotator mends the category and overlooks the explanation: it must not follow the category about."""
    first = annotator.click(*COINS[0])
    annotator.submit(first, 1, "tetradrachm", explanation=text(first, "explanation"))
    second = annotator.click(*COINS[1])
    assert text(second, "category") == "tetradrachm" and second["sources"] == {"category": "memory"}


def test_embeddings_are_the_same_alone_and_together(nano: PAM, coins: bytes):
    """One click or many at once: a region's embedding does not depend on its company."""
    image = nano.encode(pictures.decode(coins, 10**8))
    prompts = [Prompt((Point(*place),)) for place in COINS]
    together = nano.perceive_batch(image, prompts)
    for prompt, region in zip(prompts, together, strict=True):
        alone = nano.perceive(image, prompt).embedding
        assert alone is not None and region.embedding is not None
        assert np.allclose(alone, region.embedding, atol=1e-5) and np.linalg.norm(alone) == pytest.approx(1, abs=1e-5)
