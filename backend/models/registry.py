"""The folder of a backend's models: the versions that were trained, and the one file that says which of them answers.

    <version>/   a checkpoint, the report of its training (report.json, report.md, curves.png), and what was decided of
                 it (decision.json); it appears as a whole and is never changed, but for the decision
    active.json  which version answers, which ones answered before it, and the history of all promotions
    .lock        held by whoever changes anything

The model that the settings name is always the first; it is no folder here, and stands in `active.json` as null. To
promote is to replace `active.json`, in one step: killed at any moment, the one or the other model is active.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from backend import durable
from backend.errors import ModelsError
from backend.models.report import REPORT, Report, read_report
from backend.settings import Settings

ACTIVE, DECISION = "active.json", "decision.json"
CHECKPOINT = "checkpoint"
"""The folder in a training's folder that holds what came out."""

_COPIED = (REPORT, "report.md", "curves.png")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
_HISTORY = 1000
_BEGUN = ".changing-"


class Promotion(BaseModel):
    """That a version began to answer. version: None for the model of the settings."""

    model_config = ConfigDict(frozen=True)

    version: str | None
    at: datetime
    how: Literal["promoted", "rolled back"]
    reason: str


class Active(BaseModel):
    """What `active.json` says.

    base:    the model of the settings when it was written; promotions count for it alone.
    answers: versions, the one that answers last, before it those that rolling back leads to.
    history: promotions, oldest first; the oldest of very many are dropped.
    """

    model_config = ConfigDict(frozen=True)

    base: str
    answers: tuple[str | None, ...] = (None,)
    history: tuple[Promotion, ...] = ()

    @property
    def version(self) -> str | None:
        """The version that answers; None for the model of the settings."""
        return self.answers[-1] if self.answers else None


class Note(BaseModel):
    """What was decided of a version when it came: whether it passed, against which model, and why."""

    model_config = ConfigDict(frozen=True)

    passed: bool
    reason: str
    against: str
    at: datetime


@dataclass(frozen=True)
class Kept:
    """A version in the registry. note: None where nothing was decided yet."""

    version: str
    folder: Path
    report: Report
    note: Note | None


class Registry:
    """The models in `folder`, which need not be there. Processes may share it.

    base:  the model that the settings name.
    least: held-out regions that a model must have been judged on to be promoted: on few, a fifth of the categories lost
           may pass as noise.
    most:  versions that are kept; beyond them the oldest go.

    Every method raises ModelsError when the folder cannot be read or written; then nothing has changed.
    """

    def __init__(self, folder: Path, base: str, least: int, most: int = 10):
        self.folder, self.base, self.least, self.most = folder, base, least, most

    def active(self) -> Active:
        """What answers. With another model in the settings than the promotions were for, it is that one."""
        path = self.folder / ACTIVE
        try:
            said = Active.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return Active(base=self.base)
        except OSError as error:
            raise ModelsError(f"{path} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise ModelsError(f"{path} is damaged: promote a version again with --force, or remove the file") from error
        return said if said.base == self.base else Active(base=self.base, history=said.history)

    def names(self) -> list[str]:
        """The versions that are kept, oldest first."""
        try:
            found = [path for path in self.folder.iterdir() if _VERSION.fullmatch(path.name) and path.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ModelsError(f"{self.folder} cannot be read: {error.strerror}") from error
        return [path.name for path in sorted(found, key=_age)]

    def version(self, name: str) -> Kept:
        """The version of that name."""
        folder = self.folder / name
        if not _VERSION.fullmatch(name) or not folder.is_dir():
            known = ", ".join(self.names()) or "none"
            raise ModelsError(f"{name!r} is no version in {self.folder}: there are {known}", status=404)
        return Kept(name, folder, read_report(folder / REPORT), _note(folder / DECISION))

    def add(self, run: Path, version: str) -> Kept:
        """Keep what a training made, in the folder `run`, as `version`; what is there already stays as it is."""
        if not _VERSION.fullmatch(version):
            raise ModelsError(f"{version!r} cannot be the name of a version")
        with self._changing():
            place = self.folder / version
            if not place.is_dir():
                self._copy(run, place)
            return self.version(version)

    def decide(self, version: str, note: Note) -> None:
        """Keep what was decided of a version."""
        with self._changing():
            durable.replace(self.version(version).folder / DECISION, note.model_dump_json(indent=2).encode())

    def promote(self, version: str | None, reason: str, instead_of: Sequence[str | None] | None = None) -> bool:
        """Let a version answer; None is the model of the settings. Whether it does.

        instead_of: what must answer until then, so that nothing is promoted over a model that it was not compared with.
        """
        with self._changing():
            if version is not None:
                self.version(version)
            try:
                now = self.active()
            except ModelsError:
                if instead_of is not None:
                    raise
                now = Active(base=self.base)  # by hand, over a damaged file
            if now.version == version and (self.folder / ACTIVE).exists():
                return True
            if instead_of is not None and now.version not in instead_of:
                return False
            self._replace(now, (*now.answers, version), "promoted", reason)
            return True

    def remove(self, version: str) -> None:
        """Delete a version, to make room. Raises ModelsError for the one that answers."""
        with self._changing():
            self.version(version)
            if version == self.active().version:
                raise ModelsError(f"{version} answers: roll back or promote another one first")
            self._remove(version)

    def remove_oldest(self) -> list[str]:
        """Delete the oldest versions beyond `most`, and say which; neither the one that answers nor the newest."""
        with self._changing():
            names = self.names()
            answers = self.active().version
            gone = [name for name in names[:-1] if name != answers][: max(0, len(names) - self.most)]
            for name in gone:
                self._remove(name)
            return gone

    def roll_back(self) -> Promotion:
        """Let the version answer that did before; one that is gone is passed over. Raises ModelsError for the first."""
        with self._changing():
            now = self.active()
            before = list(now.answers[:-1])
            while before and before[-1] is not None and not (self.folder / before[-1]).is_dir():
                before.pop()
            if not before:
                raise ModelsError("there is no version before the one that answers: nothing was promoted")
            reason = f"instead of {now.version or self.base}"
            return self._replace(now, tuple(before), "rolled back", reason)

    def stamp(self) -> tuple[int, int, int] | None:
        """What changes whenever `active.json` is replaced; None where there is none. Cheap."""
        try:
            found = (self.folder / ACTIVE).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _replace(
        self, now: Active, answers: tuple[str | None, ...], how: Literal["promoted", "rolled back"], reason: str
    ) -> Promotion:
        made = Promotion(version=answers[-1], at=datetime.now(UTC), how=how, reason=reason)
        history = (*now.history, made)[-_HISTORY:]
        after = Active(base=self.base, answers=answers[-_HISTORY:], history=history)
        durable.replace(self.folder / ACTIVE, after.model_dump_json(indent=2).encode())
        return made

    def _copy(self, run: Path, place: Path) -> None:
        made = Path(tempfile.mkdtemp(prefix=_BEGUN, dir=self.folder))
        try:
            made.chmod(0o755)
            wanted = [path for path in sorted((run / CHECKPOINT).iterdir()) if path.is_file()]
            for source in [*wanted, *(run / name for name in _COPIED if (run / name).is_file())]:
                durable.sync(Path(shutil.copyfile(source, made / source.name)))
            durable.sync(made)
            made.rename(place)
            durable.sync(self.folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _remove(self, version: str) -> None:
        # Out of sight in one step: half a version must never be listed. What a kill leaves, the next change removes.
        gone = Path(tempfile.mkdtemp(prefix=_BEGUN, dir=self.folder))
        (self.folder / version).rename(gone / version)
        shutil.rmtree(gone, ignore_errors=True)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock; what another process had begun to add or to remove when it was killed goes."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / ".lock", "a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                for begun in self.folder.glob(f"{_BEGUN}*"):
                    shutil.rmtree(begun, ignore_errors=True)
                for begun in self.folder.glob(f".{ACTIVE}-*"):
                    begun.unlink(missing_ok=True)
                yield
        except OSError as error:
            where = error.filename or self.folder
            raise ModelsError(f"{where} cannot be written: {error.strerror or error}; nothing has changed") from error


def registry_of(settings: Settings) -> Registry:
    """The models of the data folder."""
    return Registry(settings.data_dir / "models", settings.model, settings.promotion_regions, settings.models_kept)


def _age(version: Path) -> tuple[int, str]:
    """When a version was added; its folder changes again with what is decided."""
    report = version / REPORT
    return report.stat().st_mtime_ns if report.is_file() else 0, version.name


def _note(path: Path) -> Note | None:
    try:
        return Note.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelsError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ModelsError(f"{path} is damaged: consider the training again, or remove the file") from error
