"""An export makes a version of what the ledger holds: the same to the byte, however it came about."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from backend import settle
from backend.dataset import harvest, version
from backend.dataset.export import ExportOptions, ProjectSource, export
from backend.dataset.formats import FORMATS, yolo
from backend.dataset.store import latest, versions
from backend.dataset.texts import CategoryNames
from backend.errors import ConfigError, ExportError, LabelStudioError
from backend.ledger import Ledger
from backend.stats.collect import collect
from tests.backend.dataset.small import (
    CONFIG,
    MEGAPIXEL,
    Studio,
    annotation,
    box,
    contents,
    fetch,
    project,
    region,
    run,
    suggest,
    task,
)

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield ledger


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "data" / "regions"


def regions(version: Path) -> dict[str, dict]:
    """The neutral records of a version, by region id."""
    lines = (line for path in version.glob(".shards/records/*") for line in path.read_text().splitlines())
    return {one["id"]: one | {"image": r["image"]} for r in map(json.loads, lines) for one in r["regions"]}


def left_out(version: Path) -> list[tuple[str, int, str]]:
    lines = map(json.loads, (version / "left_out.jsonl").read_text().splitlines())
    return [(line["kind"], line["task_id"], line["reason"]) for line in lines]


def test_the_first_version_holds_every_region_once(ledger: Ledger, out: Path) -> None:
    """Two regions on each of forty images; the manifest counts them, and its sums fit the files."""
    report = run(ledger, out, *project(40), validation=0.3)
    assert report.is_new and report.version == out / "v0001" == latest(out)
    assert len(regions(report.version)) == 80
    assert report.manifest["counts"] == {
        "tasks": 40, "annotations": 40, "regions": 80, "images": 40, "cancelled": 0,
        "validation_images": report.manifest["counts"]["validation_images"], "shards": report.shards,
    }  # fmt: skip
    assert 0 < report.manifest["counts"]["validation_images"] < 20 and report.shards > 2
    checked = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=report.version)
    assert checked.returncode == 0
    sums = {line.split("  ")[1] for line in (report.version / "SHA256SUMS").read_text().splitlines()}
    there = {str(path.relative_to(report.version)) for path in report.version.rglob("*") if path.is_file()}
    assert {path for path in there if not path.startswith(".shards/")} == sums | {
        "SHA256SUMS", "manifest.json", "left_out.jsonl",
    }  # fmt: skip


def test_an_export_leaves_the_outcomes_settled(ledger: Ledger, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger says what became of each suggestion; a task is compared once for each time it changes."""
    compared: list[str] = []
    compare = settle.compare
    monkeypatch.setattr(
        settle, "compare", lambda region, *rest: compared.append(region.region_id) or compare(region, *rest)
    )
    for id in (1, 2, 3):
        suggest(ledger, f"r{id}-0", box(id, 0), (f"kind {id}", "", f"Thing {id} of 0."), task_id=id)
    suggest(ledger, "unwanted", box(3, 1), ("kind", "", ""), task_id=3)
    run(ledger, out, *project(3, regions=1))
    assert {row.region_id: row.outcome for row in ledger.outcomes.all(1)} == {
        "r1-0": "accepted", "r2-0": "accepted", "r3-0": "accepted", "unwanted": "rejected",
    }  # fmt: skip
    compared.clear()
    run(ledger, out, *project(1, regions=1, age=1), *project(3, regions=1)[1:])
    assert compared == ["r1-0"]
    collect(ledger, [1], MEGAPIXEL)
    assert compared == ["r1-0"], "statistics find the work done"
    assert {row.region_id: row.outcome for row in ledger.outcomes.all(1)}["r1-0"] == "corrected"


def test_nothing_changed_makes_no_version(ledger: Ledger, out: Path) -> None:
    """A run every half an hour must not fill the disk with copies."""
    run(ledger, out, *project(5))
    report = run(ledger, out, *project(5))
    assert not report.is_new and report.tasks == 0 and versions(out) == [1]
    assert "nothing has changed since" in report.summary()


def test_an_incremental_version_equals_a_full_one(ledger: Ledger, out: Path, tmp_path: Path) -> None:
    """Corrected, cancelled, deleted and new tasks: only they are read, and the bytes are those of a first run."""
    before = project(40)
    run(ledger, out, *before, formats=tuple(FORMATS))
    after = project(45)
    after[3]["annotations"] = [annotation(1004, region("new", (1, 1, 9, 9), ("thing", "", "")), age=9)]
    after[4]["annotations"][0].update(was_cancelled=True, updated_at="2026-12-01T00:00:00Z")
    del after[5]
    report = run(ledger, out, *after, formats=tuple(FORMATS))
    assert report.tasks == 3 + 5 and report.shards_written < report.shards
    full = run(ledger, tmp_path / "full", *after, formats=tuple(FORMATS))
    assert full.tasks == 45
    assert contents(report.version) == contents(full.version)
    assert report.manifest["parent"] == "v0001" and report.manifest["counts"]["cancelled"] == 1
    assert "1-4-1004-new" in regions(report.version) and not {"1-4-1004-r4-0"} & set(regions(report.version))
    assert {1004, 1005, 1006} & {r["annotation_id"] for r in regions(report.version).values()} == {1004}


def test_what_did_not_change_is_linked(ledger: Ledger, out: Path) -> None:
    """A version costs the disk what is new in it."""
    first = run(ledger, out, *project(40)).version
    changed = project(40)
    changed[0] = project(1, age=5)[0]
    second = run(ledger, out, *changed).version
    shared = [p for p in second.rglob("*") if p.is_file() and _is_same(first / p.relative_to(second), p)]
    there = [p for p in second.rglob("*") if p.is_file()]
    assert {p.name for p in second.glob("images/*")} <= {p.name for p in shared}
    assert len(shared) > 0.7 * len(there)
    assert all(not os.stat(p).st_mode & 0o222 for p in there)


def test_what_other_code_has_found_is_not_taken(ledger: Ledger, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of a newer program may not carry on what an older one made, though nothing else has changed."""
    found: list[int] = []
    ring_of = yolo.ring_of
    monkeypatch.setattr(yolo, "ring_of", lambda mask: found.append(1) or ring_of(mask))
    total = run(ledger, out, *project(40), formats=("yolo",)).manifest["counts"]["regions"]
    assert len(found) == total
    changed = project(40)
    changed[0] = project(1, age=5)[0]
    report = run(ledger, out, *changed, formats=("yolo",))
    assert report.is_new and len(found) - total < total / 2
    found.clear()
    monkeypatch.setattr(version, "_writers", lambda: "another")
    assert run(ledger, out, *changed, formats=("yolo",)).shards_written == report.shards
    assert len(found) == total


def test_a_label_without_its_sum_is_summed_anew(ledger: Ledger, out: Path) -> None:
    """The sums of linked files come from the version before; where that has lost them, from the files."""
    first = run(ledger, out, *project(40), formats=("yolo",)).version
    (first / "SHA256SUMS").unlink()
    changed = project(40)
    changed[0] = project(1, age=5)[0]
    second = run(ledger, out, *changed, formats=("yolo",)).version
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=second, check=True)
    labels = {f"labels/{path.name}" for path in second.glob("labels/*")}
    assert labels and labels <= {line[66:] for line in (second / "SHA256SUMS").read_text().splitlines()}


def _is_same(first: Path, second: Path) -> bool:
    return first.exists() and first.samefile(second)


def test_an_older_version_never_changes(ledger: Ledger, out: Path) -> None:
    """Last month's training set is still there, to the byte."""
    first = run(ledger, out, *project(8)).version
    before = contents(first)
    for age in range(1, 4):
        run(ledger, out, *project(8 + age, age=age))
    assert versions(out) == [1, 2, 3, 4]
    assert contents(first) == before


@pytest.mark.parametrize("damage", ["no state", "no pool and state", "garbage", "another ledger"])
def test_the_state_is_only_a_memory(ledger: Ledger, out: Path, tmp_path: Path, damage: str) -> None:
    """Lost or damaged it is made anew, and what follows is the same: no new version, where nothing changed."""
    first = run(ledger, out, *project(20))
    state = out / ".store" / "state.sqlite"
    other = ledger
    if damage == "no state":
        state.unlink()
    elif damage == "no pool and state":
        subprocess.run(["rm", "-r", out / ".store"], check=True)
    elif damage == "garbage":
        state.write_bytes(b"garbage" * 1000)
    else:
        other = Ledger(tmp_path / "other.sqlite")
    report = run(other, out, *project(20))
    if damage != "another ledger":  # whose key to the hashes is another
        assert not report.is_new
    assert report.tasks == 20
    changed = run(other, out, *project(20, age=1))
    assert changed.shards_written == changed.shards
    assert contents(changed.version) == contents(run(other, tmp_path / "full", *project(20, age=1)).version)
    assert set(regions(first.version)) == set(regions(changed.version))


def test_a_file_taken_out_of_a_version_is_made_anew(ledger: Ledger, out: Path, tmp_path: Path) -> None:
    """Somebody tidied up: the next version is whole again, and the damaged one is not written through."""
    first = run(ledger, out, *project(20)).version
    victim = sorted(first.glob("images/*"))[3]
    victim.unlink()
    sizes = {p: p.stat().st_size for p in first.rglob("*") if p.is_file()}
    changed = [*project(20), *project(21)[20:]]
    second = run(ledger, out, *changed).version
    assert contents(second) == contents(run(ledger, tmp_path / "full", *changed).version)
    assert {p: p.stat().st_size for p in first.rglob("*") if p.is_file()} == sizes


def test_the_same_picture_is_stored_once(ledger: Ledger, out: Path) -> None:
    """Two tasks and two addresses, one file: one image, the regions of both."""
    tasks = [*project(1), task(2, "/data/1-90.jpg", annotation(1002, region("again", (2, 2, 9, 9), ("kind", "", ""))))]
    version = run(ledger, out, *tasks).version
    assert len(list(version.glob("images/*"))) == 1
    assert len(regions(version)) == 3


def test_near_duplicates_are_on_one_side(ledger: Ledger, out: Path) -> None:
    """Encoded again, each picture comes once more: whatever the split says, it says it of both."""
    again = [
        task(100 + id, f"/data/{id}-50.jpg", annotation(2000 + id, region(f"x{id}", box(id, 0), ("kind", "", ""))))
        for id in range(1, 41)
    ]
    version = run(ledger, out, *project(40), *again, validation=0.3).version
    by_task = {r["task_id"]: r["image"] for r in regions(version).values()}
    assert all(by_task[id]["sha256"] != by_task[100 + id]["sha256"] for id in range(1, 41))
    assert all(by_task[id]["split"] == by_task[100 + id]["split"] for id in range(1, 41))
    assert {image["split"] for image in by_task.values()} == {"train", "validation"}


def test_the_split_is_stable(ledger: Ledger, out: Path) -> None:
    """As the set grows, no picture changes sides: a model would be validated on what it was trained on."""
    sides: dict[str, str] = {}
    for size in (10, 25, 60):
        version = run(ledger, out, *project(size)).version
        images = {r["image"]["sha256"]: r["image"]["split"] for r in regions(version).values()}
        assert {sha256: images[sha256] for sha256 in sides} == sides
        sides = images


def test_a_picture_that_cannot_be_had_is_reported_and_tried_again(
    ledger: Ledger, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its regions are missing, and the reason is written down; once it is back they are in, on demand at once."""
    tasks = [*project(2), task(3, "/data/gone.jpg", annotation(1003, region("g", (1, 1, 9, 9), ("kind", "", ""))))]
    first = run(ledger, out, *tasks)
    assert left_out(first.version) == [("picture", 3, "/data/gone.jpg answered 404: the file is gone")]
    assert first.manifest["left_out"] == {"picture": 1} and "1 thing had to be left out" in first.summary()
    monkeypatch.setattr(
        "tests.backend.dataset.small.fetch", lambda address, task: fetch(address.replace("gone", "3"), task)
    )
    again = run(ledger, out, *tasks)
    assert not again.is_new and again.tasks == 0, "it is not asked for at every export"
    assert "after a day, or at once with --retry" in again.summary()
    second = run(ledger, out, *tasks, retry=True)
    assert second.is_new and second.tasks == 1 and "1-3-1003-g" in regions(second.version)
    assert left_out(second.version) == []


def test_a_lost_picture_is_asked_for_after_a_day(ledger: Ledger, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, as exports by the clock have nobody who would ask for it; and then again a day later."""
    tasks = [task(1, "/data/gone.jpg", annotation(1, region("g", (1, 1, 9, 9), ("kind", "", ""))))]
    assert [run(ledger, out, *tasks).tasks for _ in range(2)] == [1, 0]
    now = time.time() + harvest.RETRY_AFTER + 1
    monkeypatch.setattr(harvest.time, "time", lambda: now)
    assert [run(ledger, out, *tasks).tasks for _ in range(2)] == [1, 0]


def test_a_picture_that_is_lost_later_stays(ledger: Ledger, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store has it: a correction of its words costs no region."""
    run(ledger, out, *project(2))
    monkeypatch.setattr("tests.backend.dataset.small.fetch", lambda address, task: fetch("/data/gone.jpg", task))
    report = run(ledger, out, *project(2, age=1))
    assert len(regions(report.version)) == 4
    assert [kind for kind, _, _ in left_out(report.version)] == ["picture", "picture"]
    assert "keep the picture that was stored before" in left_out(report.version)[0][2]


def test_hygiene(ledger: Ledger, out: Path) -> None:
    """What is broken or says nothing is left out, each with its reason; the rest of its region stays."""
    words = {"stale": "A dog.", "finer": "Two dogs.", "mended": "A dog.", "neutral": "It sits on a hotdog."}
    for id, caption in words.items():
        suggest(ledger, id, (1, 1, 9, 9), ("dog", "An animal that barks.", caption))
    tasks = [
        task(
            1,
            "/data/1.jpg",
            annotation(
                1001,
                region("empty", (200, 200, 210, 210), ("kind", "", "")),
                region("size", (1, 1, 9, 9), ("kind", "", ""), side=30),
                region("preset", (1, 1, 9, 9), ("what is it?", "", "Describe it")),
                region("filler", (1, 1, 9, 9), ("N/A", "...", "A real caption")),
                region("stale", (1, 1, 9, 9), ("cat", "An animal that barks.", "A dog.")),
                region("finer", (1, 1, 9, 9), ("guide dog", "An animal that barks.", "Two dogs.")),
                region("mended", (1, 1, 9, 9), ("cat", "An animal that purrs.", "A cat, no dog.")),
                region("neutral", (1, 1, 9, 9), ("cat", "", "It sits on a hotdog.")),
            ),
        )
    ]
    version = run(ledger, out, *tasks).version
    found = regions(version)
    texts = {id.rpartition("-")[2]: [one["category"], one["explanation"], one["caption"]] for id, one in found.items()}
    assert texts == {"preset": ["", "", ""], "filler": ["", "", "A real caption"], "stale": ["cat", "", ""],
        "finer": ["guide dog", "", "Two dogs."], "mended": ["cat", "An animal that purrs.", "A cat, no dog."],
        "neutral": ["cat", "", "It sits on a hotdog."],
    }  # fmt: skip
    kinds = [kind for kind, _, _ in left_out(version)]
    assert sorted(kinds) == ["boilerplate"] * 4 + ["mask"] + ["outdated"] * 3 + ["size"]
    assert any("the caption is still the one of the suggested category" in reason for _, _, reason in left_out(version))


def test_categories_are_mapped(ledger: Ledger, out: Path, tmp_path: Path) -> None:
    """A mapping file gives one name to many; another mapping changes the data set without reading anything again."""
    first = run(ledger, out, *project(5))
    assert {r["category"] for r in regions(first.version).values()} == {f"kind {n}" for n in range(5)}
    file = tmp_path / "categories.yaml"
    file.write_text("thing: [Kind 1, 'KIND 2.']\nother: kind 3\n")
    second = run(ledger, out, *project(5), names=CategoryNames.read(file))
    assert second.is_new and second.tasks == 0
    assert {(r["category_as_written"], r["category"]) for r in regions(second.version).values()} == {
        ("kind 0", "kind 0"), ("kind 1", "thing"), ("kind 2", "thing"), ("kind 3", "other"), ("kind 4", "kind 4"),
    }  # fmt: skip


def test_annotators_are_hashed(ledger: Ledger, out: Path) -> None:
    """The same person is the same hash, and neither an id nor an e-mail address is anywhere in a version."""
    tasks = project(3)
    for one, who in zip(tasks, (424242, 424242, 515151), strict=True):
        one["annotations"][0].update(completed_by={"id": who, "email": "ada@example.org"})
    version = run(ledger, out, *tasks).version
    who = {r["task_id"]: r["annotator"] for r in regions(version).values()}
    assert who[1] == who[2] != who[3] and len(who[1]) == 16
    assert not any(secret in text for text in contents(version).values() for secret in (b"424242", b"ada@", b"/data/"))


def test_a_changed_config_reads_everything_again(ledger: Ledger, out: Path) -> None:
    """Where the words lie is what the config says."""
    run(ledger, out, *project(3))
    config = CONFIG.replace('name="caption"', 'name="caption_of_old"')
    report = run(ledger, out, studio=Studio(*project(3), config=config))
    assert report.tasks == 3 and {r["caption"] for r in regions(report.version).values()} == {""}


def test_failures_leave_the_old_version_whole(ledger: Ledger, out: Path) -> None:
    """A broken config, and a Label Studio that goes away half way: an error, and `latest` is what it was."""

    class Failing(Studio):
        def pages(self, *arguments: Any) -> Any:
            yield from list(super().pages(*arguments))[:1]
            raise LabelStudioError("it is gone")

    before = contents(run(ledger, out, *project(12)).version)
    with pytest.raises(ConfigError):
        run(ledger, out, studio=Studio(*project(13), config="<View>"))
    with pytest.raises(LabelStudioError, match="it is gone"):
        run(ledger, out, studio=Failing(*project(13, age=1)))
    assert versions(out) == [1] and contents(out / "latest") == before
    assert not (out / ".store" / "build").exists()


def test_a_lost_label_studio_is_no_lost_picture(ledger: Ledger, out: Path) -> None:
    """When an image cannot be had, Label Studio is asked once more: if it is gone, nothing is left out for good."""

    class Gone(Studio):
        listings = 0

        def project(self, project_id: int) -> dict[str, Any]:
            if self.listings > 1:
                raise LabelStudioError("it is gone")
            return super().project(project_id)

        def pages(self, *arguments: Any) -> Any:
            yield from super().pages(*arguments)
            Gone.listings += 2

    tasks = [task(1, "/data/gone.jpg", annotation(1, region("g", (1, 1, 9, 9), ("kind", "", ""))))]
    with pytest.raises(LabelStudioError, match="it is gone"):
        run(ledger, out, studio=Gone(*tasks))
    assert latest(out) is None


def test_a_deleted_project_does_not_stop_the_others(ledger: Ledger, out: Path) -> None:
    """A data set of all projects does without one that Label Studio has no more, or whose config is none of ours."""

    class Other(Studio):
        config_now = CONFIG

        def project(self, project_id: int) -> dict[str, Any]:
            if self.config_now == "":
                raise LabelStudioError("it answered 404", code="not_found", status=404)
            return super().project(project_id) | {"label_config": self.config_now}

    other = Other(task(7, "/data/77.jpg", annotation(7000, region("o", (1, 1, 9, 9), ("kind", "", "")))))
    sources = [ProjectSource(1, Studio(*project(3)), fetch), ProjectSource(2, other, fetch)]
    options = ExportOptions(MEGAPIXEL, formats=("coco",))
    both = export(sources, out, ledger, options)
    assert set(both.manifest["projects"]) == {"1", "2"} and "2-7-7000-o" in regions(both.version)
    Other.config_now = ""
    one = export(sources, out, ledger, options)
    assert "2-7-7000-o" not in regions(one.version) and len(regions(one.version)) == 6
    assert "project 2 is not in it: it answered 404" in one.summary()
    Other.config_now = "<View><Text name='t' value='$t'/></View>"
    assert not export(sources, out, ledger, options).is_new
    Other.config_now = CONFIG
    again = export(sources, out, ledger, options)
    assert contents(again.version) == contents(both.version)
    Other.config_now = ""
    with pytest.raises(LabelStudioError, match="404"):
        export(sources[1:], out.with_name("other"), ledger, ExportOptions(MEGAPIXEL, projects="2"))


def test_projects_that_disagree_are_told(ledger: Ledger, out: Path) -> None:
    """One picture in two projects: a pair that is one object under two names is listed, and nothing is left out."""
    spot, beside = (4, 4, 24, 24), (30, 30, 40, 40)
    first = task(
        1, "/data/1.jpg", annotation(11, region("a", spot, ("Coin", "", "")), region("b", beside, ("x", "", "")))
    )
    drawn = (("c", (4, 4, 24, 25), "button"), ("d", beside, "X"), ("e", (4, 4, 9, 9), "y"))
    other = annotation(21, *(region(id, where, (name, "", "")) for id, where, name in drawn))
    studios = Studio(first), Studio(task(2, "/data/1.jpg", other))
    sources = [ProjectSource(id, studio, fetch) for id, studio in enumerate(studios, start=1)]
    report = export(
        [*sources, ProjectSource(3, Studio(), fetch)], out, ledger, ExportOptions(MEGAPIXEL, formats=("coco",))
    )
    (line,) = map(json.loads, (report.version / "conflicts.jsonl").read_text().splitlines())
    assert line["regions"] == ["1-1-11-a", "2-2-21-c"] and line["categories"] == ["coin", "button"]
    assert line["iou"] == pytest.approx(20 / 21, abs=1e-3) and len(regions(report.version)) == 5
    card = (report.version / "README.md").read_text()
    assert "1 pairs of regions of different projects cover one object" in card
    assert "- project 2: Small" in card and "project 3" not in card
    assert "1 pair of regions of different projects disagree" in report.summary()


def test_a_data_set_is_of_one_choice_of_projects(ledger: Ledger, out: Path) -> None:
    """`--project 2` into the folder of another project would look like a deletion of all that it holds."""
    run(ledger, out, *project(1), projects="1")
    with pytest.raises(ExportError, match="is a data set of project 1, not of all projects: choose another folder"):
        run(ledger, out, *project(1))
    assert versions(out) == [1]
