"""Which tasks come first: the uncertain, the new, each once, and near-duplicates late."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.rank.order import REGIONS, Asked, order


def asked(task_id: int, *regions: tuple[float, tuple[float, ...]]) -> Asked:
    """A task with regions that are as unsure, and look into these directions."""
    vectors = np.array([vector for _, vector in regions], np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if len(regions) else np.zeros((0, 0))
    return Asked(task_id, np.array([unsure for unsure, _ in regions]), unit)


EAST, NORTH, WEST = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)
NOTHING = np.zeros((0, 0))


@pytest.mark.parametrize(
    ("tasks", "known", "expected"),
    [
        ([asked(1, (0.2, EAST)), asked(2, (0.8, EAST)), asked(3, (0.5, EAST))], NOTHING, [2, 3, 1]),
        ([asked(1, (0.5, EAST)), asked(2, (0.5, WEST))], np.array([EAST]), [2, 1]),
        ([asked(1, (0.9, EAST)), asked(2, (0.9, EAST)), asked(3, (0.3, NORTH))], NOTHING, [1, 3, 2]),
        ([asked(1), asked(2, (0.0, EAST))], NOTHING, [2, 1]),
        ([asked(1, (0.5, NORTH), (0.5, NORTH)), asked(2, (0.5, NORTH), (0.5, WEST))], np.array([EAST]), [2, 1]),
        ([], NOTHING, []),
        ([asked(1), asked(2)], NOTHING, [1, 2]),
    ],
    ids=["unsure", "unlike what is labelled", "duplicates wait", "nothing to see", "all regions", "none", "all blank"],
)
def test_what_comes_first(tasks: list[Asked], known: np.ndarray, expected: list[int]):
    """Each reason alone decides where the others are equal."""
    assert [place.task_id for place in order(tasks, known)] == expected


@given(
    st.lists(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 99)), max_size=12), max_size=25),
    st.integers(0, 30),
    st.integers(0, 5),
)
def test_every_task_comes_once(tasks: list[list[tuple[float, int]]], greedy: int, labelled: int):
    """However many are taken one by one; what it says of them is from 0 to 1, and the same again."""
    directions = np.random.default_rng(0).normal(size=(100, 6))
    every = [
        asked(number, *((unsure, tuple(directions[k])) for unsure, k in regions))
        for number, regions in enumerate(tasks)
    ]
    known = directions[:labelled] / np.linalg.norm(directions[:labelled], axis=1, keepdims=True)
    places = order(every, known, greedy)
    assert sorted(place.task_id for place in places) == list(range(len(tasks)))
    assert all(0 <= place.unsure <= 1 and -1e-6 <= place.new <= 1 + 1e-6 for place in places)
    assert order(every, known, greedy) == places


def test_rare_kinds_are_among_the_first():
    """Of a common kind one is enough for a while: six kinds, the rarest 2 of 100, all come up in the first ten."""
    rng = np.random.default_rng(0)
    kinds = rng.choice(6, 300, p=(0.5, 0.25, 0.12, 0.07, 0.04, 0.02))
    centres = rng.normal(size=(6, 32)) * 3
    tasks = [asked(k, (0.5, tuple(centres[kind] + rng.normal(size=32)))) for k, kind in enumerate(kinds)]
    first = [kinds[place.task_id] for place in order(tasks, NOTHING)[:10]]
    assert set(first) == set(range(6))


def test_ten_thousand_tasks_of_many_regions():
    """The most uncertain regions of each count; the order is complete."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(64, 2 * REGIONS, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    tasks = [Asked(k, rng.random(2 * REGIONS), vectors[k % 64]) for k in range(10_000)]
    places = order(tasks, vectors[0], greedy=50)
    assert len({place.task_id for place in places}) == 10_000
    (first,) = (task for task in tasks if task.task_id == places[0].task_id)
    assert places[0].unsure == pytest.approx(np.sort(first.unsure)[-REGIONS:].mean())
