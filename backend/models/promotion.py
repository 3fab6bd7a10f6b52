"""From a finished training to the model that answers, or to one that is kept aside with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backend.errors import ModelsError
from backend.models.registry import CHECKPOINT, Note, Registry
from backend.models.report import REPORT, Report, read_report
from backend.models.rule import Verdict, judge


@dataclass(frozen=True)
class Decision:
    """What became of a version."""

    version: str
    promoted: bool
    reason: str


def consider(registry: Registry, run: Path) -> Decision:
    """Keep what a training made in the folder `run`, and let it answer if it has earned it; see `rule`.

    It may be killed and called again. The oldest versions make room where there are too many. Raises ModelsError or
    CheckpointError for a training that is not finished, whose checkpoint is damaged or is not the one that its report
    is about; nothing is kept then.
    """
    report = read_report(run / REPORT)
    check_checkpoint(run / CHECKPOINT, report)
    answering = registry.active().version
    if report.version == answering:
        note = registry.version(report.version).note
        return Decision(report.version, True, note.reason if note else "it answers already")
    against = answering or base_version(registry.base)
    if report.version == against:
        return Decision(report.version, False, "the training changed nothing: it is the model that answers")
    verdict = _judge(report, against, registry.least)
    kept = registry.add(run, report.version)
    check_checkpoint(kept.folder, report)
    _note(registry, report, against, verdict)
    if verdict.passed and not registry.promote(report.version, verdict.reason, instead_of=(answering,)):
        verdict = Verdict(False, "another model took over meanwhile: train from that one")
        _note(registry, report, against, verdict)
    registry.remove_oldest()
    return Decision(report.version, verdict.passed, verdict.reason)


def promote_by_hand(registry: Registry, version: str, force: bool = False) -> str:
    """Let a version answer; "base", or its name, is the model of the settings. What it is called.

    Raises ModelsError for one that was kept aside, unless `force` is given, and for one that is damaged.
    """
    if version not in registry.names() and version in ("base", registry.base, base_version(registry.base)):
        registry.promote(None, "by hand")
        return registry.base
    kept = registry.version(version)
    check_checkpoint(kept.folder, kept.report)
    if not force and not (kept.note and kept.note.passed):
        reason = kept.note.reason if kept.note else "nothing is decided yet"
        raise ModelsError(f"{version} was kept aside: {reason}; --force promotes it all the same")
    registry.promote(version, "by hand")
    return version


def _judge(report: Report, against: str, least: int) -> Verdict:
    if report.base != against:
        return Verdict(False, f"it was compared with {report.base}, but {against} answers: train from that one")
    return judge(report, least)


def _note(registry: Registry, report: Report, against: str, verdict: Verdict) -> None:
    note = Note(passed=verdict.passed, reason=verdict.reason, against=against, at=datetime.now(UTC))
    registry.decide(report.version, note)


def check_checkpoint(folder: Path, report: Report) -> None:
    """Read a checkpoint through; raises CheckpointError or ModelsError unless it is whole, and the report's."""
    from model import checkpoints  # it brings in PyTorch, and a list of models should not wait for that

    checkpoint = checkpoints.read(folder)
    verdict = checkpoints.verify(checkpoint, lambda count: None)
    if verdict.problems:
        raise ModelsError(f"the checkpoint {folder} is damaged: {verdict.problems[0]}")
    version = checkpoint.version(verdict.fingerprint)
    if version != report.version:
        raise ModelsError(f"the checkpoint {folder} is {version}, its report is about {report.version}: train again")


def base_version(source: str) -> str:
    """The version of the model that the settings name. Raises CheckpointError."""
    from model import checkpoints

    checkpoint = checkpoints.read(source)
    return checkpoint.version(checkpoint.recorded or checkpoints.fingerprint(checkpoint, lambda count: None))
