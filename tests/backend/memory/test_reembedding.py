"""A model has taken over: what annotators named is seen by it, too, while clicks go first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from backend import pictures
from backend.app import create_app
from backend.assembly import Backend
from backend.engine import Engine
from backend.ledger import Ledger, Memory, Project, Suggestion
from backend.masks import from_coco_rle
from backend.memory.reembedding import Reembedding
from backend.suggestion import from_text
from model import PAM, Point, Prompt, PromptError, WordOptions, load
from tests.backend.annotated_project import results
from tests.backend.conftest import Photos, capture, ready
from tests.backend.memory.test_memory import COINS, Annotator, text
from tests.backend.models.runs import BASE, trained

SAVED = "/a"
"""Where the image lies, by the tasks that the annotator's webhooks tell of."""


@pytest.fixture
def other() -> PAM:
    """A model with slightly other weights."""
    return load(trained(1)[0], threads=1)


@pytest.fixture
def annotator(backend: Backend, photos: Photos, coins: bytes, monkeypatch: pytest.MonkeyPatch) -> Annotator:
    """Who has corrected two coins, which nano suggested; what goes on in the background waits to be called."""
    monkeypatch.setattr(Reembedding, "start", lambda self: None)
    backend.ledger.remember_project(Project(3, capture("predict_1_click")["label_config"]))
    annotator = Annotator(create_app(backend).test_client(), photos, coins)
    photos.files[SAVED] = coins
    for number, place in enumerate(COINS[:2], 1):
        annotator.submit(annotator.click(*place), number, "tetradrachm")
    assert text(annotator.click(*COINS[2]), "category") == "tetradrachm"
    return annotator


def test_the_new_model_knows_what_was_named_before_it(annotator: Annotator, backend: Backend, other: PAM):
    """Until it has seen the regions it speaks for itself; then memory does, and a rollback has lost nothing."""
    backend.engine.swap(other)
    own = annotator.click(*COINS[2])
    assert text(own, "category") != "tetradrachm" and own["model_version"] == other.version
    assert backend.reembedding.run() == 1
    told = annotator.click(*COINS[2])
    assert (text(told, "category"), told["sources"]["category"]) == ("tetradrachm", "memory")
    assert backend.reembedding.run() == 0
    backend.engine.swap(load(threads=1))
    assert text(annotator.click(*COINS[3]), "category") == "tetradrachm"


def test_an_embedding_is_that_of_a_click_on_the_mask(annotator: Annotator, backend: Backend, nano: PAM, coins: bytes):
    """What was left as suggested is seen as the click saw it: one kind of embedding, whichever way it came about."""
    image = nano.encode(pictures.decode(coins, 10**8))
    for place in COINS:
        prompt = Prompt((Point(*place),))
        clicked = nano.perceive(image, prompt)
        (adopted,) = nano.adopt(image, [Prompt(prompt.points, mask=clicked.mask)])
        assert (adopted.mask == clicked.mask).all() and clicked.embedding is not None
        assert nano.embed([adopted])[0] @ clicked.embedding == pytest.approx(1, abs=1e-3)
    with pytest.raises(PromptError, match="needs a mask"):
        nano.adopt(image, [Prompt((Point(1, 1),))])


def test_what_changes_later_keeps_both_views(annotator: Annotator, backend: Backend, other: PAM):
    """A correction of a correction, and one that is taken back, count for the new model, too."""
    backend.engine.swap(other)
    backend.reembedding.run()
    told = annotator.click(*COINS[2])
    annotator.submit(told, 3, "obol")
    annotator.submit(annotator.click(*COINS[2]), 1, "obol")
    versions = [memory.model_version for memory in of_task(backend.ledger)]
    assert versions.count(other.version) >= 2
    for number in (1, 2, 3):
        annotator.forget(number)
    assert text(annotator.click(*COINS[2]), "category") not in ("tetradrachm", "obol")
    assert of_task(backend.ledger) == []


def of_task(ledger: Ledger) -> list[Memory]:
    return [m for v in (BASE, trained(1)[1]) for m in ledger.memories.of_task(3, 3, v)]


def drawn(category: str, place: tuple[int, int], radius: int = 17) -> list[dict[str, Any]]:
    """A coin that somebody outlined with the brush, and named."""
    rows, columns = np.ogrid[:303, :384]
    mask = (rows - place[1]) ** 2 + (columns - place[0]) ** 2 < radius**2
    return results("by hand", mask, (category, "Made of metal.", ""))


def test_what_is_drawn_by_hand_is_remembered(annotator: Annotator, backend: Backend):
    """Nobody clicked it: its mask is seen, the next of its kind has its name, and none when it is deleted."""
    for number in (1, 2):
        annotator.forget(number)
    own = text(annotator.click(*COINS[1]), "category")
    annotator.tell("ANNOTATION_CREATED", 3, drawn("obol", COINS[0]))
    assert text(annotator.click(*COINS[1]), "category") == own, "no model has seen it yet"
    assert backend.reembedding.run(everything=False) == 1
    told = annotator.click(*COINS[1])
    assert (text(told, "category"), told["sources"]["category"]) == ("obol", "memory")
    assert backend.reembedding.run(everything=False) == 0
    annotator.forget(3)
    assert text(annotator.click(*COINS[1]), "category") == own
    assert backend.ledger.memories.embeddings_of_task(3, 3) == []


def test_a_click_on_it_would_have_seen_the_same(annotator: Annotator, backend: Backend):
    """What is seen of a mask alone can be compared with what clicks see."""
    backend.ledger.record_suggestion(replace(suggested(backend, annotator.click(*COINS[3])), region_id="clicked"))
    clicked = backend.ledger.suggestion("clicked")
    assert clicked is not None and clicked.embedding is not None
    mask = from_coco_rle(clicked.mask_rle, clicked.height, clicked.width)
    annotator.tell("ANNOTATION_CREATED", 3, results("by hand", mask, ("obol", "", "")))
    backend.reembedding.run()
    ((_, _, seen),) = backend.ledger.memories.embeddings_of_task(3, 3)
    assert seen.astype(np.float32) @ from_text(clicked.embedding).astype(np.float32) > 0.9


def suggested(backend: Backend, prediction: dict[str, Any]) -> Suggestion:
    suggestion = backend.ledger.suggestion(prediction["result"][0]["id"])
    assert suggestion is not None
    return suggestion


def test_a_mask_that_is_mended_is_seen_again(annotator: Annotator, backend: Backend):
    """By its id it is the same region: what was seen of the old mask must not stay."""
    annotator.tell("ANNOTATION_CREATED", 3, drawn("obol", COINS[0]))
    backend.reembedding.run()
    ((_, _, before),) = backend.ledger.memories.embeddings_of_task(3, 3)
    annotator.tell("ANNOTATION_UPDATED", 3, drawn("obol", (300, 50), 30))
    backend.reembedding.run()
    ((_, _, after),) = backend.ledger.memories.embeddings_of_task(3, 3)
    assert not np.allclose(before, after, atol=0.01)


def damaged(category: str) -> list[dict[str, Any]]:
    region = drawn(category, COINS[0])
    region[0]["value"]["rle"] = [1, 2, 3]
    return region


def test_a_drawing_that_cannot_be_seen_disturbs_nothing(annotator: Annotator, backend: Backend):
    """A damaged mask, and one of another picture's size: they are taken in, and the good one beside them is seen."""
    annotator.tell("ANNOTATION_CREATED", 3, damaged("cup"))
    small = results("small", np.ones((20, 20), bool), ("cup", "", ""))
    annotator.tell("ANNOTATION_CREATED", 4, small)
    good = [result | {"id": "good"} for result in drawn("obol", COINS[0])]
    annotator.tell("ANNOTATION_CREATED", 5, good)
    assert backend.reembedding.run() == 1
    assert [seen for seen, _, _ in backend.ledger.memories.embeddings_of_task(3, 3)] == ["good"]
    assert backend.reembedding.run() == 0, "the others are not tried without end"


def test_an_image_that_is_gone_is_left_for_later(
    annotator: Annotator, backend: Backend, other: PAM, photos: Photos, coins: bytes, monkeypatch: pytest.MonkeyPatch
):
    """It neither stops the others nor is asked for without end."""
    content = photos.files.pop(SAVED)
    backend.engine.swap(other)
    asked = len(photos.fetched)
    assert backend.reembedding.run() == 1 and backend.reembedding.run() == 0
    photos.files[SAVED] = content
    monkeypatch.setattr("backend.memory.reembedding.RETRY_SECONDS", -1.0)
    assert backend.reembedding.run() == 1 and len(photos.fetched) == asked + 1
    assert len(backend.ledger.memories.of_task(3, 3, other.version)) == 2


def test_killed_it_goes_on(annotator: Annotator, backend: Backend, other: PAM, monkeypatch: pytest.MonkeyPatch):
    """What was seen is in the ledger: it is not done again."""
    monkeypatch.setattr("backend.memory.seeing.REGIONS_A_TURN", 1)
    backend.engine.swap(other)
    seen: list[int] = []
    embed = other.embed

    def dies(found):
        if seen:
            raise KeyboardInterrupt
        seen.append(len(found))
        return embed(found)

    monkeypatch.setattr(other, "embed", dies)
    with pytest.raises(KeyboardInterrupt):
        backend.reembedding.run()
    assert len(backend.ledger.memories.of_task(3, 3, other.version)) == 1
    seen.clear()
    assert backend.reembedding.run() == 1 and seen == [1]
    assert len(backend.ledger.memories.of_task(3, 3, other.version)) == 2


def test_whoever_waits_goes_first(nano: PAM, coins: bytes):
    """Many clicks that wait, and one piece of work that nobody waits for: it comes last."""
    engine = Engine("pam-nano", 60, WordOptions())
    engine.swap(nano)
    image = engine.encode(pictures.decode(coins, 10**8))
    order: list[str] = []
    gate, inside = threading.Event(), threading.Event()

    def hold() -> None:
        with engine._using("encode", 60):
            inside.set()
            gate.wait(60)

    def work(name: str, act: Callable[[], object]) -> None:
        act()
        order.append(name)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(60)
    mask = np.zeros((image.height, image.width), bool)
    mask[100:140, 90:120] = True
    spare = threading.Thread(
        target=work, args=("spare", lambda: engine.embed_in_spare_time(image, [Prompt(mask=mask)]))
    )
    spare.start()
    clicks = [
        threading.Thread(target=work, args=("click", lambda: engine.perceive(image, Prompt((Point(102, 125),)), 60)))
        for _ in range(3)
    ]
    for thread in clicks:
        thread.start()
    pause = threading.Event()
    while engine._waiting < 3:
        pause.wait(0.01)
    gate.set()
    for thread in (holder, *clicks, spare):
        thread.join()
    assert order == ["click"] * 3 + ["spare"]


def test_embeddings_of_few_models_are_kept(tmp_path: Path):
    """Each night's model leaves some: the ledger must not grow with their number."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        vector = np.ones(8, np.float16)
        ledger.memories.replace(1, {7: [Memory(7, "r", "v0", "coin", "Money.", "cup", vector)]})
        for number in range(1, 6):
            assert list(ledger.memories.unseen(f"v{number}")) == [(1, 7)]
            assert ledger.memories.unseen_of_task(1, 7, f"v{number}") == {"r"}
            ledger.memories.see(1, 7, f"v{number}", {"r": vector * number, "gone": vector})
            assert list(ledger.memories.unseen(f"v{number}")) == []
            ledger.memories.forget_models()
        kept = [f"v{number}" for number in range(7) if ledger.memories.of_task(1, 7, f"v{number}")]
        assert kept == ["v0", "v3", "v4", "v5"]
        (memory,) = ledger.memories.of_task(1, 7, "v5")
        assert (memory.category, memory.explanation, memory.suggested) == ("coin", "Money.", "")
        assert memory.embedding.tolist() == [5.0] * 8


@pytest.fixture
def running(make_backend: Callable[..., Backend], photos: Photos, coins: bytes) -> tuple[Backend, Annotator]:
    backend = ready(make_backend())
    backend.ledger.remember_project(Project(3, capture("predict_1_click")["label_config"]))
    photos.files[SAVED] = coins
    return backend, Annotator(create_app(backend).test_client(), photos, coins)


def test_a_drawing_is_seen_when_it_is_submitted(running: tuple[Backend, Annotator]):
    """Without a click, and without the webhook's waiting for it."""
    backend, annotator = running
    pause = threading.Event()
    annotator.tell("ANNOTATION_CREATED", 1, drawn("obol", COINS[0]))
    for _ in range(1200):
        if backend.ledger.memories.of_task(3, 3, BASE):
            break
        pause.wait(0.05)
    (memory,) = backend.ledger.memories.of_task(3, 3, BASE)
    assert (memory.category, memory.suggested) == ("obol", "")


def test_it_begins_by_itself(running: tuple[Backend, Annotator], other: PAM):
    """After a promotion nobody need do anything, and `/metrics` says how far it is."""
    backend, annotator = running
    client: FlaskClient = annotator.client
    annotator.submit(annotator.click(*COINS[0]), 1, "tetradrachm")
    annotator.click(*COINS[1])
    backend.engine.swap(other)
    backend.reembedding.start()
    pause = threading.Event()
    for _ in range(1200):
        if text(annotator.click(*COINS[1]), "category") == "tetradrachm":
            break
        pause.wait(0.05)
    assert text(annotator.click(*COINS[1]), "category") == "tetradrachm"
    assert 'pam_studio_memory_reembedding{state="left"} 0.0' in client.get("/metrics").text
