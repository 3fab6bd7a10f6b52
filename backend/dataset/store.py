"""The folder of a data set: immutable versions, and `latest`, which changes in one step.

    v0001/ v0002/ …   versions, each whole; files that did not change are hard links into the version before
    latest            a relative symbolic link to the newest
    .store/           the lock, the pool of images, the state that makes the next version cheap, and what is being built

A version is built in `.store/build`, brought to the disk, and renamed to its number; then the link is exchanged. Killed
before the rename, it leaves a build that the next run removes; killed after it, a version that the next run links to.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backend import durable
from backend.errors import ExportError

LATEST = "latest"

_STORE = ".store"
_MANY = 500
"""Files that are brought to the disk one by one; beyond, one call for all file systems is quicker."""
_VERSION = re.compile(r"v(\d{4,9})")


class VersionStore:
    """The data set in the folder `out`; made by `opened`, whose lock it relies on."""

    def __init__(self, out: Path):
        self.out = out
        self.pool = out / _STORE / "pool"
        self.state = out / _STORE / "state.sqlite"
        self._build = out / _STORE / "build"
        self._link = out / _STORE / "link"

    def newest(self) -> Path | None:
        """The folder of the newest version, or None before the first."""
        number = max(versions(self.out), default=None)
        return None if number is None else self.out / version_name(number)

    def next_name(self) -> str:
        """What the next version is called."""
        return version_name(max(versions(self.out), default=0) + 1)

    @contextmanager
    def building(self) -> Iterator[Path]:
        """An empty folder to write a version into; it goes away when the block raises."""
        self._build.mkdir()
        try:
            yield self._build
        finally:
            shutil.rmtree(self._build, ignore_errors=True)

    def publish(self, made: NewFiles) -> Path:
        """Make what was built the newest version, and `latest`. made: its files, less those of the version before."""
        made.sync()
        version = self.out / self.next_name()
        self._build.rename(version)
        durable.sync(self.out)
        self._point(version.name)
        return version

    def tidy(self) -> None:
        """Finish what a killed run had begun to publish, and remove what it had begun to build."""
        if self._build.exists():
            shutil.rmtree(self._build)
        self._link.unlink(missing_ok=True)
        self.pool.mkdir(exist_ok=True)
        for unfinished in self.pool.glob("*.part"):
            unfinished.unlink()
        newest = self.newest()
        if newest is not None and latest(self.out) != newest:
            self._point(newest.name)

    def _point(self, version: str) -> None:
        self._link.symlink_to(version)
        os.replace(self._link, self.out / LATEST)
        durable.sync(self.out)


class NewFiles:
    """The files that a build has made in `folder`, to be brought to the disk before it is published."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._few: list[str] = []
        self._are_many = False

    def add(self, path: str) -> None:
        """Note a file, and protect it: it will be shared with the versions that follow."""
        os.chmod(self._folder / path, 0o444)
        self._are_many = self._are_many or len(self._few) == _MANY
        if not self._are_many:
            self._few.append(path)

    def sync(self) -> None:
        """Return when they, and all folders, are on the disk."""
        if self._are_many:
            os.sync()
            return
        for path in self._few:
            durable.sync(self._folder / path)
        for parent, _, _ in os.walk(self._folder):
            durable.sync(Path(parent))


@contextmanager
def opened(out: Path) -> Iterator[VersionStore]:
    """The data set in `out`, for this process alone.

    `out` may be missing, empty, or a data set. Raises ExportError when it is anything else, when another process is at
    it, and when the disk refuses.
    """
    out = Path(os.path.abspath(out))
    try:
        _check(out)
        (out / _STORE).mkdir(parents=True, exist_ok=True)
        with _locked(out):
            store = VersionStore(out)
            store.tidy()
            yield store
    except OSError as error:
        raise ExportError(f"{error.filename or out} cannot be written: {error.strerror or error}") from error


def is_locked(out: Path) -> bool:
    """Whether a process is at the data set in `out`. Raises OSError."""
    path = out / _STORE / "lock"
    if not path.is_file():
        return False
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def version_name(number: int) -> str:
    return f"v{number:04d}"


def versions(out: Path) -> list[int]:
    """The numbers of the versions in `out`, rising."""
    matches = (_VERSION.fullmatch(name) for name in (os.listdir(out) if out.is_dir() else []))
    return sorted(int(match[1]) for match in matches if match)


def latest(out: Path) -> Path | None:
    """The version that `latest` leads to, or None."""
    link = out / LATEST
    return out / os.readlink(link) if link.is_symlink() else None


def _check(out: Path) -> None:
    names = os.listdir(out) if out.is_dir() else []
    is_free = out.is_dir() or not os.path.lexists(out)
    is_ours = _STORE in names or all(_VERSION.fullmatch(name) or name == LATEST for name in names)
    is_obstructed = os.path.lexists(out / LATEST) and not (out / LATEST).is_symlink()
    if not (is_free and is_ours) or is_obstructed:
        raise ExportError(
            f"{out} is there already and is no data set of this PAM Studio: move it away, or choose another folder",
            code="export_refused",
            status=409,
        )


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the lock of `out`; the kernel drops it with the process, so a lock file that stays behind is harmless."""
    with open(out / _STORE / "lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExportError(
                f"another export to {out} is running: wait for it, or choose another folder",
                code="export_running",
                status=409,
            ) from error
        yield
