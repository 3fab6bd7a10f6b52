"""Sides of near-duplicates: a function of the set of images, however it came about."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.dataset.images import StoredImage
from backend.dataset.records import SHARD_IMAGES, settle, shards
from backend.dataset.splits import NEAR
from backend.dataset.state import RegionRow, State, TaskRows
from backend.dataset.texts import CategoryNames

BODY = {
    "id": "", "rle": "", "bbox": [0, 0, 1, 1], "area": 1, "points": [], "box": None, "category_as_written": "",
    "explanation": "", "caption": "", "languages": {}, "project_id": 1, "task_id": 1, "annotation_id": 1,
    "region_id": "", "annotator": None, "model_version": None, "outcome": "drawn", "mask_iou": None, "updated_at": "",
}  # fmt: skip


def give(state: State, task: int, phash: int | None) -> None:
    """Put a task with one image of this perceptual hash into the state, or take its image out."""
    sha256 = hashlib.sha256(f"{task} {phash}".encode()).hexdigest()
    image = StoredImage(sha256, f"{sha256[:16]}.png", 4, 4, phash or 0)
    rows = (RegionRow(task, 0, sha256, f"source {task}", BODY),) if phash is not None else ()
    with state.writing():
        state.replace(TaskRows(1, task, rows, pictures={"a": image} if rows else {}))


def sides(state: State) -> dict[str, str]:
    settle(state, CategoryNames(), 0.5)
    return dict(state.db.execute("SELECT sha256, split FROM images WHERE split IS NOT NULL"))


BASES = [0, 0xFFFF_FFFF_FFFF_FFFF, 0x0F0F_0F0F_0F0F_0F0F, 0x1234_5678_9ABC_DEF0]
hashes = st.builds(
    lambda base, bits: base ^ sum(1 << bit for bit in bits),
    st.sampled_from(BASES),
    st.sets(st.integers(0, 63), max_size=5),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.none() | hashes), min_size=1, max_size=40), st.data())
def test_the_sides_follow_from_the_set_alone(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int | None]], drawn: st.DataObject
) -> None:
    """Images come, change and go, and the splits are settled now and then: in the end they are those of one settling
    of what is left, near ones share a side, and every cut into shards is the same too."""
    folder = tmp_path_factory.mktemp("state")
    with State(folder / "a", "ledger") as state, State(folder / "b", "ledger") as fresh:
        for task, phash in steps:
            give(state, task, phash)
            if drawn.draw(st.booleans()):
                settle(state, CategoryNames(), 0.5)
        final = dict(steps)
        for task, phash in sorted(final.items()):
            give(fresh, task, phash)
        found = sides(state)
        assert found == sides(fresh)
        assert list(shards(state, "")) == list(shards(fresh, ""))
        there = [(p, hashlib.sha256(f"{t} {p}".encode()).hexdigest()) for t, p in final.items() if p is not None]
        assert set(found) == {sha256 for _, sha256 in there}
        for one, its in there:
            assert all(found[its] == found[other] for p, other in there if (one ^ p).bit_count() <= NEAR)


def test_a_thousand_equal_pictures_are_no_burden(tmp_path: Path) -> None:
    """A camera that looks at a white wall: one group, found in a time that grows with it, not with its square."""
    with State(tmp_path / "state", "ledger") as state:
        statements = 0

        def count(sql: str) -> None:
            nonlocal statements
            statements += 1

        for task in range(1000):
            give(state, task, 5)
        state.db.set_trace_callback(count)
        assert len(set(sides(state).values())) == 1
        assert statements < 30 * 1000


def test_shards_are_small_and_hold_everything(tmp_path: Path) -> None:
    """Each is of one side, none has more than it may, and together they have all images, once."""
    with State(tmp_path / "state", "ledger") as state:
        for task in range(200):
            give(state, task, int.from_bytes(hashlib.sha256(b"%d" % task).digest()[:8], "big"))
        found = sides(state)
        cut = list(shards(state, ""))
        names = [shard.name for shard in cut]
        assert names == sorted(names) and len(set(names)) == len(names)
        held = [[sha for sha in found if found[sha] == s.split and s.first <= sha <= s.last] for s in cut]
        assert sorted(sha for part in held for sha in part) == sorted(found)
        assert max(map(len, held)) <= SHARD_IMAGES


def test_it_stays_quick(tmp_path: Path) -> None:
    """One image more among many costs a handful of look-ups."""
    with State(tmp_path / "state", "ledger") as state:
        for task in range(300):
            give(state, task, int.from_bytes(hashlib.sha256(b"%d" % task).digest()[:8], "big"))
        settle(state, CategoryNames(), 0.5)
        statements: list[str] = []
        give(state, 1000, 77)
        state.db.set_trace_callback(statements.append)
        settle(state, CategoryNames(), 0.5)
        assert len(statements) < 60
