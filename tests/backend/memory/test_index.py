"""Finding a region's like among those that were named: exact, bounded, and level with what was taken back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.ledger import Memory
from backend.memory import index as module
from backend.memory.index import NEIGHBOURS, Index
from model import outline

WIDTH = 8 + outline.LENGTH


def memory(task_id: int, category: str, embedding: np.ndarray, explanation: str = "", suggested: str = "") -> Memory:
    return Memory(task_id, f"r{task_id}", "nano-1", category, explanation, suggested, embedding.astype(np.float16))


def some(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, WIDTH))


def test_nothing_is_remembered_at_first():
    """Then the model speaks alone."""
    index = Index(WIDTH)
    assert index.neighbours(some(1)[0]) == [] and index.settled("coin") is None and len(index) == 0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=120),
    st.integers(0, 10_000),
)
def test_neighbours_are_those_of_a_plain_search(changes: list[tuple[int, int]], seed: int):
    """However tasks were added, replaced and emptied: the nearest by the cosine, best first; outlines are all alike."""
    vectors = some(401, seed)
    vectors[:, -outline.LENGTH :] = 0
    index, kept, drawn = Index(WIDTH), {}, iter(vectors[:400])
    for task_id, count in changes:
        kept[task_id] = [memory(task_id, f"{task_id}-{i}", next(drawn)) for i in range(count)]
        index.replace(task_id, kept[task_id])
    alive = [m for memories in kept.values() for m in memories]
    assert len(index) == len(alive)
    query = vectors[400]

    def cosine(m: Memory) -> float:
        vector = m.embedding.astype(float)
        return float(vector @ query / np.linalg.norm(vector) / np.linalg.norm(query))

    found = index.neighbours(query)
    assert [n.category for n in found] == [m.category for m in sorted(alive, key=lambda m: -cosine(m))[:NEIGHBOURS]]
    assert [n.evidence for n in found] == sorted((n.evidence for n in found), reverse=True)


def test_evidence_is_told_by_how_alike_regions_of_the_project_are():
    """A cosine of .98 is much where things of different categories have .1, and nothing where all have .98."""
    far, near = Index(WIDTH), Index(WIDTH)
    base = some(1, 5)[0] * 10
    for i, vector in enumerate(some(60, 3)):
        far.replace(i, [memory(i, str(i), vector)])
        near.replace(i, [memory(i, str(i), vector + base)])
    assert far.neighbours(some(60, 3)[7])[0].evidence > 2
    assert near.neighbours(base)[0].evidence < 0.5


@pytest.mark.parametrize("telling", ["looks", "outlines"])
def test_what_tells_categories_apart_counts(telling: str):
    """One project sorts by colour, another by shape: its own pairs say which, and there a region finds its like."""
    rng = np.random.default_rng(1)
    looks, outlines = rng.standard_normal((2, 8)), rng.standard_normal((2, outline.LENGTH))

    def one(look: int, shape: int) -> np.ndarray:
        parts = looks[look] / np.linalg.norm(looks[look]), outlines[shape] / np.linalg.norm(outlines[shape])
        return np.concatenate(parts) + rng.normal(0, 0.02, WIDTH)

    index = Index(WIDTH)
    for i in range(40):
        kind, other = i % 2, int(rng.integers(2))
        index.replace(i, [memory(i, f"{kind}", one(kind, other) if telling == "looks" else one(other, kind))])
    for kind in (0, 1):
        query = one(kind, 1 - kind) if telling == "looks" else one(1 - kind, kind)
        assert {n.category for n in index.neighbours(query)} == {f"{kind}"}


def test_the_oldest_give_way(monkeypatch: pytest.MonkeyPatch):
    """Memory is bounded, and what is newest stays."""
    monkeypatch.setattr(module, "MOST", 100)
    index = Index(WIDTH)
    made, clear = [], index._clear
    monkeypatch.setattr(index, "_clear", lambda: (made.append(1), clear()))
    for i, vector in enumerate(some(400)):
        index.replace(i, [memory(i, str(i), vector, "An explanation.")])
    assert 90 <= len(index) <= 100
    assert len(made) < 80, "at the bound it must not be made anew with every task"
    assert index.neighbours(some(400)[399])[0].category == "399"
    assert all(int(n.category) >= 300 for n in index.neighbours(some(400)[0]))


def test_the_explanation_that_was_given_most_often_and_last():
    """One odd text does not stand for the class, and one taken back is gone."""
    index = Index(WIDTH)
    vectors = some(5)
    index.replace(1, [memory(1, "Coin", vectors[0], "Money.")])
    index.replace(2, [memory(2, " coin", vectors[1], "A disc.")])
    assert index.settled("coin") == ("A disc.", 0.5)
    index.replace(3, [memory(3, "coin", vectors[2], "Money.")])
    assert index.settled("COIN") == ("Money.", pytest.approx(2 / 3))
    index.replace(1, [])
    assert index.settled("coin") == ("Money.", 0.5), "the last among equals, as if the first had never been"
    index.replace(3, [memory(3, "coin", vectors[2])])
    assert index.settled("coin") == ("A disc.", 1.0)
    index.replace(2, [])
    assert index.settled("coin") is None
    assert index.settled("cup") is None


def test_a_word_of_the_model_that_annotators_change_is_trusted_less():
    """What it says again and again, and is never left, does not stand against those who know better."""
    index, vectors = Index(WIDTH), some(9)
    assert index.trust("clock") == 1
    for i in range(3):
        index.replace(i, [memory(i, "coin", vectors[i], suggested="clock")])
    assert index.trust("Clock") == 1 / 4 and index.trust("coin") == 1
    index.replace(3, [memory(3, "clock", vectors[3], suggested="clock")])
    assert index.trust("clock") == 2 / 5
    for i in range(3):
        index.replace(i, [])
    assert index.trust("clock") == 1
