"""A reader of `out` never sees half an export, whatever happens to the process that writes it."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from backend.errors import ExportError
from backend.export import export
from backend.export.writer import replacing
from backend.ledger import Ledger
from tests.backend.export.project import (
    COIN,
    MEGAPIXEL,
    Studio,
    annotation,
    coin_masks,
    fetch,
    results,
    task,
    two_tasks,
)


def write(out: Path, text: str) -> None:
    with replacing(out) as folder:
        (folder / "images").mkdir()
        (folder / "images" / "a.txt").write_text(text)


def hidden(parent: Path) -> list[str]:
    return sorted(path.name for path in parent.iterdir() if ".build-" in path.name or path.name.endswith(".link"))


def test_out_changes_when_the_block_ends(tmp_path: Path) -> None:
    """The first export makes `out` and its parents, the next replaces it and clears the old one away."""
    out = tmp_path / "deep" / "regions"
    for text in ("old", "new"):
        write(out, text)
        assert (out / "images" / "a.txt").read_text() == text
        assert hidden(out.parent) == [os.readlink(out)]


def test_a_failing_block_changes_nothing(tmp_path: Path) -> None:
    """An exception, Ctrl-C among them, removes what was begun."""
    out = tmp_path / "regions"
    write(out, "old")
    with pytest.raises(KeyboardInterrupt), replacing(out) as folder:
        (folder / "half").write_text("half")
        raise KeyboardInterrupt
    assert (out / "images" / "a.txt").read_text() == "old"
    assert hidden(tmp_path) == [os.readlink(out)]


def test_a_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    """The message names the file; the old export stays, and the space is given back."""
    out = tmp_path / "regions"
    write(out, "old")
    with pytest.raises(ExportError, match="coco.json cannot be written: No space left on device"), replacing(out):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "coco.json")
    assert (out / "images" / "a.txt").read_text() == "old"
    assert hidden(tmp_path) == [os.readlink(out)]


def test_the_export_can_be_moved_with_its_parent(tmp_path: Path) -> None:
    """The link is relative, so that a mounted or moved data folder still works."""
    write(tmp_path / "data" / "regions", "text")
    (tmp_path / "data").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "regions" / "images" / "a.txt").read_text() == "text"


def test_an_empty_folder_is_accepted(tmp_path: Path) -> None:
    """People make the folder first."""
    (tmp_path / "regions").mkdir()
    write(tmp_path / "regions", "text")
    assert (tmp_path / "regions" / "images" / "a.txt").read_text() == "text"


@pytest.mark.parametrize("kind", ["folder", "file", "link to a folder", "dangling link"])
def test_what_is_no_export_is_refused(tmp_path: Path, kind: str) -> None:
    """Nothing that PAM Studio did not write is ever replaced."""
    out, elsewhere = tmp_path / "regions", tmp_path / "elsewhere"
    elsewhere.mkdir()
    if kind == "folder":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    elif kind == "file":
        out.write_text("mine")
    else:
        out.symlink_to(elsewhere if kind == "link to a folder" else tmp_path / "nowhere")
    before = os.lstat(out)
    with pytest.raises(ExportError, match="is no export of PAM Studio: move it away") as caught:
        write(out, "text")
    assert caught.value.code == "export_refused"
    assert os.lstat(out).st_ino == before.st_ino


def test_a_parent_that_is_a_file_and_the_root_are_clear_errors(tmp_path: Path) -> None:
    """Slips of the hand on the command line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written: (File exists|Not a directory)"):
        write(tmp_path / "file" / "regions", "text")
    with pytest.raises(ExportError, match="choose a folder inside it"):
        write(Path("/"), "text")


def test_two_exports_to_one_place_are_told_apart(tmp_path: Path) -> None:
    """The second says so at once instead of mixing its files into the first."""
    out = tmp_path / "regions"
    with replacing(out) as folder:
        with pytest.raises(ExportError, match="another export to .*regions is running"):
            write(out, "second")
        write(tmp_path / "another", "text")
        (folder / "first").write_text("first")
    assert (out / "first").read_text() == "first"


def replace_often(out: Path) -> None:
    for number in range(300):
        write(out, str(number))


def test_out_is_there_at_every_moment(tmp_path: Path) -> None:
    """A training that starts just when an export ends must find the one or the other, never nothing."""
    out = tmp_path / "regions"
    write(out, "first")
    child = multiprocessing.get_context("fork").Process(target=replace_often, args=(out,))
    child.start()
    seen = set()
    while child.is_alive():
        seen.add(os.readlink(out))
    assert child.exitcode == 0 and len(seen) > 100


def test_all_files_are_on_the_disk_before_out_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut a renamed link may have reached the disk without the files it leads to."""
    out = tmp_path / "regions"
    synced: set[str] = set()
    at_the_change: set[str] = set()
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{handle}"))
        fsync(handle)

    def noted_replace(source: Path, target: Path) -> None:
        at_the_change.update(synced)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write(out, "text")
    folder = out.resolve()
    assert at_the_change == {str(folder), str(folder / "images"), str(folder / "images" / "a.txt")}
    assert synced - at_the_change == {str(tmp_path)}


def leave_behind(out: Path) -> None:
    with replacing(out) as folder:
        (folder / "half").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_leftovers_of_a_killed_run_are_cleared_by_the_next(tmp_path: Path) -> None:
    """A kill leaves a hidden folder and a lock file: neither stops the next export, nor fills the disk."""
    out = tmp_path / "regions"
    write(out, "old")
    for _ in range(2):
        child = multiprocessing.get_context("fork").Process(target=leave_behind, args=(out,))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
    assert (out / "images" / "a.txt").read_text() == "old"
    assert len(hidden(tmp_path)) == 2
    write(out, "new")
    assert hidden(tmp_path) == [os.readlink(out)]


def export_forever(data: Path, out: Path) -> None:
    with Ledger(data / "ledger.sqlite") as ledger:
        while True:
            for tasks in DATA_SETS:
                export(1, out, ledger, Studio(*tasks), fetch, max_pixels=MEGAPIXEL)


MANY = [
    task(id, "/data/upload/1/coins.jpg", annotation(20 + id, results(f"r{id}", coin_masks()[id % 5], COIN)))
    for id in range(3, 12)
]
DATA_SETS = (two_tasks(), MANY)


def content(out: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest.pop("created")
    return files | {"manifest.json": json.dumps(manifest).encode()}


def test_kill_9_at_any_moment_leaves_a_whole_export(tmp_path: Path) -> None:
    """The process that replaces one data set by another, over and over, is killed twenty times in the middle of it."""
    whole = []
    for number, tasks in enumerate(DATA_SETS):
        with Ledger(tmp_path / f"reference{number}" / "ledger.sqlite") as ledger:
            export(1, tmp_path / f"whole{number}", ledger, Studio(*tasks), fetch, max_pixels=MEGAPIXEL)
        whole.append(content(tmp_path / f"whole{number}"))
    assert whole[0] != whole[1]

    out = tmp_path / "killed" / "regions"
    chance = random.Random(20)
    seen = set()
    for _ in range(20):
        child = multiprocessing.get_context("fork").Process(target=export_forever, args=(tmp_path / "data", out))
        child.start()
        while not out.exists() and child.is_alive():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.6))
        assert child.is_alive()
        child.kill()
        child.join()
        seen.add(whole.index(content(out)))
    assert seen == {0, 1}

    with Ledger(tmp_path / "data" / "ledger.sqlite") as ledger:
        export(1, out, ledger, Studio(*DATA_SETS[0]), fetch, max_pixels=MEGAPIXEL)
    assert content(out) == whole[0]
    assert hidden(out.parent) == [os.readlink(out)]
