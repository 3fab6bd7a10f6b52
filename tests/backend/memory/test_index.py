"""Finding a region's like among those that were named: exact, bounded, and level with what was taken back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.ledger import Memory
from backend.memory import index as module
from backend.memory.index import NEIGHBOURS, Index

WIDTH = 8


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
    """However tasks were added, replaced and emptied: the nearest by the cosine, best first."""
    index, kept, drawn = Index(WIDTH), {}, iter(some(400, seed))
    for task_id, count in changes:
        kept[task_id] = [memory(task_id, f"{task_id}-{i}", next(drawn)) for i in range(count)]
        index.replace(task_id, kept[task_id])
    alive = [m for memories in kept.values() for m in memories]
    assert len(index) == len(alive)
    query = some(1, seed + 1)[0]

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


def test_the_oldest_give_way(monkeypatch: pytest.MonkeyPatch):
    """Memory is bounded, and what is newest stays."""
    monkeypatch.setattr(module, "MOST", 100)
    index = Index(WIDTH)
    for i, vector in enumerate(some(400)):
        index.replace(i, [memory(i, str(i), vector, "An explanation.")])
    assert len(index) == 100
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
    index.replace(3, [memory(3, "coin", vectors[2])])
    assert index.settled("coin") == ("A disc.", 1.0)
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
