"""Exports are killed at random moments, and the data set is that of an undisturbed run, to the byte."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from backend.dataset import version as version_module
from backend.dataset.formats import contact_sheet, histograms
from backend.dataset.store import latest, opened, versions
from backend.dataset.version import read_manifest
from backend.errors import ExportError
from backend.ledger import Ledger, OutcomeRow
from tests.backend.dataset.small import annotation, box, contents, project, region, run, suggest
from tests.backend.kills import EXPORT_KILLS

STAGES = 5


def stage(number: int) -> list[dict]:
    """The project as it is at one time: from each to the next, tasks come, change, are cancelled and go."""
    tasks = project(10 + 3 * number)
    for one in tasks[number::STAGES]:
        one["annotations"] = [annotation(1000 + one["id"], region("m", (1, 1, 9, 9), ("thing", "", "")), age=number)]
    tasks[number + 1]["annotations"][0].update(was_cancelled=True, updated_at="2026-12-01T00:00:00Z")
    del tasks[2 * number]
    return tasks


def work(path: Path, out: Path, number: int) -> None:
    """One export, in a process of its own."""
    with Ledger(path) as ledger:
        run(ledger, out, *stage(number))


def started(path: Path, out: Path, number: int) -> BaseProcess:
    # A fork of this process, which has imported everything: nothing of a kill's time is spent on that.
    process = multiprocessing.get_context("fork").Process(target=work, args=(path, out, number))
    process.start()
    return process


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_killed_anywhere_the_data_set_is_that_of_an_undisturbed_run(tmp_path: Path, no_pictures: None) -> None:
    """After each SIGKILL `latest` is a whole version; in the end it is that of a first run, to the byte."""
    chance = random.Random(5)
    path, out = tmp_path / "ledger.sqlite", tmp_path / "out"
    kills, longest = 0, 0.5
    with Ledger(path) as ledger:
        suggest_some(ledger)
    for number in range(STAGES):
        wanted = kills + EXPORT_KILLS // STAGES
        while kills < wanted:
            process = started(path, out, number)
            process.join(chance.random() * longest)
            if process.exitcode is None and process.pid is not None:
                os.kill(process.pid, signal.SIGKILL)
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL), "it ended by itself, with an error"
            assert_whole(out)
            kills += process.exitcode == -signal.SIGKILL
            if process.exitcode == 0:  # it was faster than the kill: the next kills must come earlier
                shutil.rmtree(out / latest(out).name)
                (out / "latest").unlink()
                if chance.random() < 0.5:
                    (out / ".store" / "state.sqlite").unlink()
                longest *= 0.8
        began = time.monotonic()
        with Ledger(path) as ledger:
            run(ledger, out, *stage(number))
            longest = min(1.0, 1.2 * (time.monotonic() - began) + 0.05)
            fresh = run(ledger, tmp_path / f"fresh{number}", *stage(number))
        assert contents(out / "latest") == contents(fresh.version)
        assert not (out / ".store" / "build").exists() and not list((out / ".store" / "pool").glob("*.part"))
    assert kills == EXPORT_KILLS
    with Ledger(path) as ledger, Ledger(tmp_path / "undisturbed.sqlite") as undisturbed:
        suggest_some(undisturbed)
        run(undisturbed, tmp_path / "undisturbed", *stage(STAGES - 1))
        assert outcomes_of(ledger) == outcomes_of(undisturbed)


def suggest_some(ledger: Ledger) -> None:
    """One region of each task was suggested just as it was submitted first."""
    for id in range(1, 10 + 3 * STAGES):
        suggest(ledger, f"r{id}-0", box(id, 0), (f"kind {id % 5}", "", f"Thing {id} of 0."), task_id=id)


def outcomes_of(ledger: Ledger) -> list[OutcomeRow]:
    found = sorted(ledger.outcomes.all(1), key=lambda row: (row.region_id, row.annotation_id or 0))
    assert {"accepted", "drawn", "rejected"} <= {row.outcome for row in found}
    return found


def assert_whole(out: Path) -> None:
    """Whatever has a number is whole, and so is what `latest` leads to."""
    for number in versions(out):
        version = out / f"v{number:04d}"
        manifest = json.loads((version / "manifest.json").read_text())
        assert manifest["version"] == version.name
        sums = (version / "SHA256SUMS").read_text().splitlines()
        assert all((version / line.split("  ")[1]).is_file() for line in sums)
    if (newest := latest(out)) is not None:
        assert newest.is_dir()


def test_a_version_that_was_not_linked_yet_is_finished(tmp_path: Path, no_pictures: None) -> None:
    """Killed between the two last steps: the next run moves `latest`, and makes no version of its own."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        run(ledger, tmp_path / "out", *project(3))
        second = run(ledger, tmp_path / "out", *project(4)).version
        (tmp_path / "out" / "latest").unlink()
        (tmp_path / "out" / "latest").symlink_to("v0001")
        assert not run(ledger, tmp_path / "out", *project(4)).is_new
    assert latest(tmp_path / "out") == second


def test_a_second_export_says_that_one_is_running(tmp_path: Path, no_pictures: None) -> None:
    """Two at once would write into one folder."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger, opened(tmp_path / "out"):
        with pytest.raises(ExportError, match="another export to .*out is running") as caught:
            run(ledger, tmp_path / "out", *project(1))
    assert caught.value.code == "export_running"


@pytest.mark.parametrize("where", ["open", "link", "rename"])
def test_a_full_disk_is_a_clear_error(
    tmp_path: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The message names the file; the old version stays, the space is given back, and the next run does the work."""
    out = tmp_path / "out"
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        before = contents(run(ledger, out, *project(3)).version)

        def full(*arguments: object, **more: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))

        with monkeypatch.context() as patch:
            if where == "open":
                patch.setattr(version_module._Build, "write", full)
            else:
                patch.setattr(version_module.os if where == "link" else Path, where, full)
            with pytest.raises(ExportError, match="cannot be written: No space left on device"):
                run(ledger, out, *project(4))
        assert contents(out / "latest") == before
        assert versions(out) == [1] and not (out / ".store" / "build").exists()
        assert run(ledger, out, *project(4)).version.name == "v0002"


def test_a_really_full_disk(tmp_path: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own complaint reads like all others, and costs nothing."""
    out = tmp_path / "out"
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        run(ledger, out, *project(3))
        connect = version_module.State._connect

        def small(state: version_module.State) -> object:
            db = connect(state)
            (pages,) = db.execute("PRAGMA page_count").fetchone()
            db.execute(f"PRAGMA max_page_count = {pages}")
            return db

        with monkeypatch.context() as patch:
            patch.setattr(version_module.State, "_connect", small)
            with pytest.raises(ExportError, match="state.sqlite cannot be used: .*full.*see that its disk has space"):
                run(ledger, out, *project(300))
        assert latest(out) == out / "v0001"
        assert read_manifest(run(ledger, out, *project(5)).version)["counts"]["tasks"] == 5


@pytest.mark.parametrize("kind", ["folder", "file", "old export"])
def test_what_is_no_data_set_is_refused(tmp_path: Path, kind: str) -> None:
    """Nothing that PAM Studio did not write is ever touched."""
    out = tmp_path / "regions"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / ("mine.txt" if kind == "folder" else "coco.json")).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ExportError, match="is no data set of this PAM Studio: move it away") as caught, opened(out):
        pass
    assert caught.value.code == "export_refused"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_moved_data_set_goes_on(tmp_path: Path, no_pictures: None) -> None:
    """The link is relative, so that a mounted or moved data folder still works."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        run(ledger, tmp_path / "data" / "regions", *project(3))
        (tmp_path / "data").rename(tmp_path / "moved")
        assert (tmp_path / "moved" / "regions" / "latest" / "manifest.json").is_file()
        assert not run(ledger, tmp_path / "moved" / "regions", *project(3)).is_new


def test_pictures_are_part_of_every_version(tmp_path: Path) -> None:
    """Here, where most tests leave them out, once with all that a version has."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        version = run(ledger, tmp_path / "out", *project(3)).version
    for module in (contact_sheet, histograms):
        assert (version / f"{module.__name__.rpartition('.')[2]}.png").is_file()
