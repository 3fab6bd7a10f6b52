"""From a correction to the next click, through the whole backend: what was named is known at once, and only there."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from backend import pictures
from backend.app import create_app
from backend.assembly import Backend
from backend.ledger import Memory
from backend.memory.index import Index
from backend.memory.memory import _own
from backend.memory.opinion import weigh
from model import PAM, Point, Prompt
from model.region import Words
from model.vocabulary import Ranking
from tests.backend.conftest import Photos, capture, ready

COINS = [(102, 125), (153, 127), (205, 123), (101, 195), (154, 197)]
"""The middles of some coins of the photograph, 384 x 303."""

VECTORS = arrays(np.float32, 4, elements=st.floats(-1, 1, width=32))


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


def test_an_explanation_that_was_offered_has_no_vote_of_its_own(annotator: Annotator):
    """Else a slip that was waved through three times would outvote two who mend it."""
    annotator.submit(annotator.click(*COINS[0]), 1, "tetradrachm", "Bad.")
    for number, place in enumerate(COINS[1:4], start=2):
        echo = annotator.click(*place)
        assert text(echo, "explanation") == "Bad."
        annotator.tell("ANNOTATION_CREATED", number, echo["result"])
    for number, place in enumerate((COINS[4], (260, 125)), start=9):
        annotator.submit(annotator.click(*place), number, "tetradrachm", "Good.")
    assert text(annotator.click(215, 51), "explanation") == "Good."


def test_texts_that_say_nothing_are_not_learned(annotator: Annotator):
    """The data set leaves them out, too."""
    own = text(annotator.click(*COINS[1]), "category")
    for number, category in enumerate(("n/a", "...", "TODO"), start=1):
        annotator.submit(annotator.click(*COINS[0]), number, category, "n/a")
    assert text(annotator.click(*COINS[1]), "category") == own
    annotator.submit(annotator.click(*COINS[0]), 9, "tetradrachm", "n/a")
    last = annotator.click(*COINS[1])
    assert text(last, "category") == "tetradrachm" and text(last, "explanation") != "n/a"


def test_leaves_of_one_name_are_told_apart(annotator: Annotator, backend: Backend):
    """A taxonomy may have a bat that flies and one that hits: memory knows each by the model's name for it."""
    tree = {"Animal": ("bat", "cat"), "Sport": ("bat", "ball")}
    choices = "".join(
        f'<Choice value="{top}">{"".join(f"""<Choice value="{leaf}"/>""" for leaf in leaves)}</Choice>'
        for top, leaves in tree.items()
    )
    before = '<TextArea name="category" toName="image" perRegion="true" editable="true" maxSubmissions="1" rows="1"/>'
    captured = capture("predict_1_click")["label_config"]
    assert before in captured
    config = captured.replace(before, f'<Taxonomy name="category" toName="image" perRegion="true">{choices}</Taxonomy>')

    def click(x: float, y: float) -> list[dict[str, Any]]:
        request = copy.deepcopy(capture("predict_1_click")) | {"project": "3.1", "label_config": config}
        request["params"]["context"]["result"][0]["value"] |= {"x": 100 * x / 384, "y": 100 * y / 303}
        (prediction,) = annotator.client.post("/predict", json=request).json["results"]
        return prediction["result"]

    def chosen(results: list[dict[str, Any]]) -> list[Any]:
        return [r["value"]["taxonomy"] for r in results if r["from_name"] == "category"]

    for number, path in ((1, ["Sport", "bat"]), (2, ["Animal", "bat"])):
        for k in range(3):
            results = [r for r in click(*COINS[k]) if r["from_name"] != "category"]
            common = {key: results[0][key] for key in ("id", "to_name", "original_width", "original_height")}
            word = common | {"image_rotation": 0, "from_name": "category", "type": "taxonomy"}
            annotator.tell("ANNOTATION_CREATED", 10 * number + k, [*results, word | {"value": {"taxonomy": [path]}}])
        assert chosen(click(*COINS[4])) == [[path]]
        names = {m.category for m in backend.ledger.memories.newest(3, backend.engine.version, 9)}
        assert names == {" ".join(path)}
        for k in range(3):
            annotator.forget(10 * number + k)


def test_what_was_forgotten_while_a_model_looked_stays_so(annotator: Annotator, backend: Backend):
    """Deleted in the middle of re-embedding: nothing of it is kept."""
    annotator.submit(annotator.click(*COINS[0]), 1, "tetradrachm")
    annotator.click(*COINS[1])
    (memory,) = backend.ledger.memories.newest(3, backend.engine.version, 5)
    annotator.forget(1)
    annotator.click(*COINS[1])
    backend.suggester.memories.see(3, 3, "another", {memory.region_id: memory.embedding})
    assert backend.ledger.memories.embeddings_of_task(3, 3) == []


def test_a_config_that_changed_is_everybodys(annotator: Annotator, backend: Backend):
    """Clicks bring it; what reads annotations in the background must not read them with the one before."""
    annotator.click(*COINS[0])
    request = copy.deepcopy(capture("predict_1_click")) | {"project": "3.1"}
    request["label_config"] = request["label_config"].replace("<View>", "<View><!-- new -->", 1)
    assert annotator.client.post("/predict", json=request).status_code == 200
    project = backend.ledger.project(3)
    assert project is not None and project.label_config == request["label_config"]


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


@pytest.mark.parametrize(
    ("category", "explanation"),
    [
        ("x" * 10_000, "Made of metal."),
        ("obol", "y" * 10_000),
        ("<|im_end|>", ""),
        ("obol", ""),
        ("", "Made of metal."),
    ],
)
def test_odd_texts_are_taken_as_they_are(annotator: Annotator, category: str, explanation: str):
    """Endless, empty, or what a tokenizer would take for a command: the next click is answered, with nothing cut."""
    own = text(annotator.click(*COINS[1]), "category")
    annotator.submit(annotator.click(*COINS[0]), 1, category, explanation)
    told = annotator.click(*COINS[1])
    assert text(told, "category") == (category or own)
    if category and explanation:
        assert text(told, "explanation") == explanation
    if "<" in category:
        assert not any(result["from_name"] == "explanation" for result in told["result"])


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


def opened(annotator: Annotator) -> None:
    """A task of the project is opened."""
    request = capture("predict_on_task_open") | {"project": f"{annotator.project}.1"}
    assert annotator.client.post("/predict", json=request).status_code == 200


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(6000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come about")


def test_opening_a_task_reads_the_memories(annotator: Annotator, backend: Backend):
    """In the background, so that the first click finds them."""
    annotator.submit(annotator.click(*COINS[0]), 1, "tetradrachm")
    number = backend.ledger.change_number(3)
    assert backend.ledger.memories.state(3)[0] < number
    opened(annotator)
    until(lambda: backend.ledger.memories.state(3)[0] == number)


def test_a_click_does_not_wait_for_a_long_reading(
    annotator: Annotator, backend: Backend, photos: Photos, coins: bytes, monkeypatch: pytest.MonkeyPatch
):
    """Meanwhile the model speaks for itself; other projects remember as always."""
    other = Annotator(annotator.client, photos, coins, project=4)
    other.submit(other.click(*COINS[0]), 2, "button")
    own = text(annotator.click(*COINS[1]), "category")
    annotator.submit(annotator.click(*COINS[0]), 1, "tetradrachm")
    gate, reading = threading.Event(), threading.Event()
    read = backend.ledger.annotations_of_task

    def slowly(project: int, task: int) -> list:
        if project == 3:
            reading.set()
            assert gate.wait(60)
        return read(project, task)

    monkeypatch.setattr(backend.ledger, "annotations_of_task", slowly)
    opened(annotator)
    assert reading.wait(60)
    try:
        assert text(annotator.click(*COINS[1]), "category") == own
        assert text(other.click(*COINS[1]), "category") == "button"
    finally:
        gate.set()
    number = backend.ledger.change_number(3)
    until(lambda: backend.ledger.memories.state(3)[0] == number)
    assert text(annotator.click(*COINS[1]), "category") == "tetradrachm"


@given(st.data())
def test_a_long_list_is_weighed_as_if_each_label_were(data: st.DataObject):
    """Only labels that can come out best are looked at, and the best is the same."""
    labels = tuple(f"Kind {i}" for i in range(12))
    weights = sorted(data.draw(st.lists(st.integers(1, 1000), min_size=12, max_size=12, unique=True)), reverse=True)
    probabilities = tuple(weight / sum(weights) for weight in weights)
    ranking = Ranking(tuple(data.draw(st.permutations(labels))), probabilities, probabilities, 12)
    words = Words(ranking.best, "", "", {}, ranking)
    index, category = Index(4), st.sampled_from([*map(str.lower, labels), "elsewhere"])
    memory = st.builds(Memory, st.just(1), st.just("r"), st.just("m"), category, st.just(""), category, VECTORS)
    index.replace(1, data.draw(st.lists(memory, max_size=8)))
    neighbours = index.neighbours(np.ones(4))
    every = {label: p * index.trust(label) for label, p in zip(ranking.labels, probabilities, strict=True)}
    best = weigh(neighbours, every, closed=True)
    found = weigh(neighbours, _own(words, labels, neighbours, index), closed=True)
    assert (found.category, found.source) == (best.category, best.source)
    assert found.probability == pytest.approx(best.probability)
