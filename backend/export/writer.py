"""A folder that changes all at once: what was there stays whole until what replaces it is whole.

A folder cannot be replaced in one step, a symbolic link can. So `out` is a link to a hidden folder beside it; the next
one is built under another hidden name, and then the link is exchanged.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.errors import ExportError


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """An empty folder to write into; it becomes `out` when the block ends, and goes away when the block raises.

    `out` may be missing, an empty folder, or what was put there like this before. Raises ExportError when it is
    anything else, when another process is at it, and when the disk refuses.
    """
    out = Path(os.path.abspath(out))
    if not out.name:
        raise ExportError(f"{out} cannot be replaced: choose a folder inside it", code="export_refused", status=409)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _locked(out):
            old = _check(out)
            _remove_leftovers(out, but=old)
            folder = Path(tempfile.mkdtemp(prefix=_build_prefix(out), dir=out.parent))
            try:
                folder.chmod(0o755)  # mkdtemp's 0700 would hide the data set from the user who trains
                yield folder
                _sync(folder)
                _point(out, folder)
            finally:
                _remove_leftovers(out, but=_target(out))
    except OSError as error:
        raise ExportError(f"{error.filename or out} cannot be written: {error.strerror}") from error


def _build_prefix(out: Path) -> str:
    return f".{out.name}.build-"


def _link_name(out: Path) -> Path:
    return out.with_name(f".{out.name}.link")


def _target(out: Path) -> Path | None:
    """The folder that `out` is a link to, if it was put there by this module."""
    if not out.is_symlink():
        return None
    target = os.readlink(out)
    return out.parent / target if target.startswith(_build_prefix(out)) and os.sep not in target else None


def _check(out: Path) -> Path | None:
    """`_target(out)`; raises ExportError when `out` is something that must not be replaced."""
    target = _target(out)
    is_empty_folder = out.is_dir() and not out.is_symlink() and not any(out.iterdir())
    if target is None and os.path.lexists(out) and not is_empty_folder:
        raise ExportError(
            f"{out} is there already and is no export of PAM Studio: move it away, or choose another folder",
            code="export_refused",
            status=409,
        )
    return target


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the lock of `out`; the kernel drops it with the process, so a lock file that stays behind is harmless."""
    with open(out.with_name(f".{out.name}.lock"), "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExportError(
                f"another export to {out} is running: wait for it, or choose another folder",
                code="export_running",
                status=409,
            ) from error
        yield


def _remove_leftovers(out: Path, but: Path | None) -> None:
    """Remove what killed runs left, and the folder that was replaced."""
    _link_name(out).unlink(missing_ok=True)
    for sibling in out.parent.iterdir():
        if sibling.name.startswith(_build_prefix(out)) and sibling != but:
            shutil.rmtree(sibling)


def _sync(folder: Path) -> None:
    """Bring every file and folder to the disk, so that a power cut cannot leave a link to half a data set."""
    for parent, _, names in os.walk(folder):
        for path in (parent, *(os.path.join(parent, name) for name in names)):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _point(out: Path, folder: Path) -> None:
    link = _link_name(out)
    link.symlink_to(folder.name)
    if out.is_dir() and not out.is_symlink():
        out.rmdir()
    os.replace(link, out)
    handle = os.open(out.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
