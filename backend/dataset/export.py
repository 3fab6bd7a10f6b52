"""One export: from the ledger, by way of what is remembered of it, to a new version of the data set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from backend import labeling_config
from backend.consensus import Consensus, Rule
from backend.dataset.formats import FORMATS, conflicts
from backend.dataset.harvest import FetchImage, Harvest
from backend.dataset.harvest_video import OpenVideo
from backend.dataset.images import ImagePool
from backend.dataset.records import settle
from backend.dataset.region import DatasetFacts
from backend.dataset.report import ExportReport
from backend.dataset.state import State, reporting
from backend.dataset.store import VersionStore, opened
from backend.dataset.texts import CategoryNames
from backend.dataset.version import read_manifest, write_version
from backend.errors import ConfigError, ExportError, LabelStudioError
from backend.ledger import Ledger
from backend.reconcile import Progress, TaskSource, reconcile
from backend.settle import settle_outcomes

ALL_PROJECTS = "all"

_SHOWN = 10


@dataclass(frozen=True)
class ProjectSource:
    """A project, the Label Studio that it lives on, and how its images and videos are had."""

    id: int
    studio: TaskSource
    fetch_image: FetchImage
    open_video: OpenVideo | None = None


@dataclass(frozen=True)
class ExportOptions:
    """What decides the content of a data set, beside the ledger.

    max_pixels: largest image and mask that is read.
    formats:    names from `backend.dataset.formats`.
    validation: share of the images that validate, 0..1.
    consensus, consensus_iou: see `backend.consensus.Consensus`.
    video_rate: frames each second that are taken of a video.
    projects:   which projects the data set is of: their ids, or ALL_PROJECTS. It stays so for as long as it lives.
    """

    max_pixels: int
    formats: tuple[str, ...] = tuple(FORMATS)
    validation: float = 0.1
    consensus: Rule = "all"
    consensus_iou: float = 0.5
    names: CategoryNames = field(default_factory=CategoryNames)
    projects: str = ALL_PROJECTS
    video_rate: float = 6.0


def export(
    sources: Sequence[ProjectSource],
    out: Path,
    ledger: Ledger,
    options: ExportOptions,
    progress: Progress = lambda step, done: None,
    *,
    retry: bool = False,
) -> ExportReport:
    """Make a version of the data set in `out` of what annotators corrected; none where nothing has changed.

    It begins by asking Label Studio for what webhooks missed. What cannot be had is left out and reported; such images
    are asked for again after `backend.dataset.harvest.RETRY_AFTER`, or, with `retry`, at once. Raises
    LabelStudioError, LedgerError, ConfigError or ExportError when there can be no version; the ones that are there are
    then untouched, and the next export goes on where this one stopped.
    """
    described, skipped = _described(sources, options)
    with opened(out) as store, ExitStack() as stack:
        _check_projects(store, options.projects)
        stack.enter_context(reporting(store.state))
        state = stack.enter_context(State(store.state, ledger.id))
        tasks = 0
        for source in sources:
            if source.id in skipped:
                with state.writing():
                    state.forget(source.id)
                continue
            _bring_level(source, described[source.id], ledger, options, progress)
            harvest = _harvest(source, described[source.id], store, state, ledger, options, progress)
            tasks += replace(harvest, retry=retry).run()
        settle(state, options.names, options.validation)
        facts = _facts(described, state, options)
        written = write_version(
            store, state, options.formats, facts, options.names, lambda done: progress("writing shards", done)
        )
        newest = store.newest()
        assert newest is not None
        return ExportReport(
            version=newest,
            is_new=written is not None,
            manifest=read_manifest(newest),
            tasks=tasks,
            shards=written.shards if written else 0,
            shards_written=written.shards_written if written else 0,
            left_out=tuple(islice(state.left_out(), _SHOWN)),
            skipped=skipped,
            conflicts=conflicts.count(newest),
        )


def _described(
    sources: Sequence[ProjectSource], options: ExportOptions
) -> tuple[dict[int, Mapping[str, Any]], dict[int, str]]:
    """What Label Studio says of each project; and the projects that a data set of all does without, each with a reason.

    One project that was deleted, or whose config is none of ours, must not keep all others from being exported.
    """
    described: dict[int, Mapping[str, Any]] = {}
    skipped: dict[int, str] = {}
    for source in sources:
        try:
            project = source.studio.project(source.id)
            labeling_config.parse(project.get("label_config") or "")
        except (LabelStudioError, ConfigError) as error:
            is_gone = isinstance(error, ConfigError) or error.code == "not_found"
            if not is_gone or options.projects != ALL_PROJECTS or len(sources) == 1:
                raise
            skipped[source.id] = error.message
        else:
            described[source.id] = project
    return described, skipped


def _bring_level(
    source: ProjectSource, project: Mapping[str, Any], ledger: Ledger, options: ExportOptions, progress: Progress
) -> None:
    """Find what webhooks missed, and what became of the suggestions of the tasks that changed."""
    reconcile(source.id, ledger, source.studio, progress)
    label_config = str(project.get("label_config") or "")
    # Kept, so that `stats` compares by the same config and finds the work done.
    ledger.remember_label_config(source.id, label_config)
    settle_outcomes(
        source.id,
        ledger,
        labeling_config.parse(label_config),
        options.max_pixels,
        lambda done: progress("comparing with suggestions", done),
    )


def _harvest(
    source: ProjectSource,
    project: Mapping[str, Any],
    store: VersionStore,
    state: State,
    ledger: Ledger,
    options: ExportOptions,
    progress: Progress,
) -> Harvest:
    config = labeling_config.parse(project.get("label_config") or "")
    return Harvest(
        project=source.id,
        config=config,
        ledger=ledger,
        state=state,
        pool=ImagePool(store.pool, options.max_pixels),
        fetch_image=source.fetch_image,
        check_studio=lambda: source.studio.project(source.id),
        max_pixels=options.max_pixels,
        key=hashlib.sha256(f"data set {ledger.id}".encode()).digest(),
        consensus=Consensus(options.consensus, options.consensus_iou, config, options.max_pixels),
        progress=lambda done: progress("reading regions", done),
        open_video=source.open_video,
        video_rate=options.video_rate,
    )


def _facts(described: Mapping[int, Mapping[str, Any]], state: State, options: ExportOptions) -> DatasetFacts:
    return DatasetFacts(
        projects={id: str(project.get("title") or "") for id, project in sorted(described.items())},
        settings={
            "projects": options.projects,
            "consensus": options.consensus,
            "consensus_iou": f"{options.consensus_iou:g}",
            "validation": f"{options.validation:g}",
            "categories": options.names.fingerprint,
        },
        left_out=state.left_out_counts(),
        cancelled=state.counts()["cancelled"],
    )


def _check_projects(store: VersionStore, projects: str) -> None:
    newest = store.newest()
    if newest is not None and (held := read_manifest(newest)["settings"]["projects"]) != projects:
        raise ExportError(
            f"{store.out} is a data set of {_named(held)}, not of {_named(projects)}: choose another folder with --out",
            code="export_refused",
            status=409,
        )


def _named(projects: str) -> str:
    return "all projects" if projects == ALL_PROJECTS else f"project {projects}"
