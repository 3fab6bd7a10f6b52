"""From the settings to what an export needs: the projects, and how each is reached."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial

from backend import pictures
from backend.connections import Connections
from backend.dataset.export import ALL_PROJECTS, ExportOptions, ProjectSource
from backend.dataset.formats import FORMATS
from backend.dataset.texts import CategoryNames
from backend.errors import ExportError
from backend.existing_ledger import LEDGER, existing_ledger
from backend.label_studio import LabelStudio
from backend.ledger import Ledger
from backend.settings import Settings
from backend.video.video_files import VideoFile, VideoFiles


def options_of(settings: Settings, project: int | None) -> ExportOptions:
    """The settings that decide a data set's content; project: the one that it is of, None for all.

    Raises ExportError for a format that there is not, and for a mapping file that cannot be read.
    """
    formats = tuple(dict.fromkeys(name.strip() for name in settings.formats.split(",") if name.strip()))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ExportError(f"{', '.join(unknown)} is no format: there are {', '.join(FORMATS)}")
    return ExportOptions(
        max_pixels=settings.max_image_pixels,
        formats=formats,
        validation=settings.validation,
        consensus=settings.consensus,
        consensus_iou=settings.consensus_iou,
        names=CategoryNames.read(settings.categories) if settings.categories else CategoryNames(),
        projects=ALL_PROJECTS if project is None else str(project),
        video_rate=settings.video_rate,
    )


def ledger_of(settings: Settings, project: int | None) -> Ledger:
    """The ledger of the data folder, opened. A new one is made only where the settings lead to the one `project`.

    Raises LedgerError where there is none: a folder that was mistyped must not come into being.
    """
    if settings.data_dir.is_dir() and project is not None and settings.label_studio_url:
        return Ledger(settings.data_dir / LEDGER, settings.journal_bytes)
    return existing_ledger(settings)


def sources_of(settings: Settings, ledger: Ledger, project: int | None) -> list[ProjectSource]:
    """The project, or all that the ledger knows; raises ExportError where one cannot be reached."""
    wanted = ledger.projects() if project is None else [project]
    if not wanted:
        raise ExportError(
            f"{ledger.path} knows no project yet: name the --data-dir of the backend that the projects are connected "
            "to, or a --project"
        )
    connections = Connections(settings, ledger)
    limits = pictures.FetchLimits(settings.max_image_bytes, settings.image_timeout)
    # The server keeps its own: one process must not make room where another one reads.
    videos = VideoFiles(
        settings.data_dir / "videos-of-exports",
        pictures.FetchLimits(settings.max_video_bytes, settings.video_timeout, "video"),
        settings.video_cache_bytes,
    )
    sources = []
    for id in wanted:
        studio = connections.of(id)
        if studio is None:
            raise ExportError(
                f"{ledger.path} knows nothing of project {id}: set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, or "
                "name the --data-dir of the backend that the project is connected to"
            )
        sources.append(
            ProjectSource(id, studio, partial(_fetch, studio, limits), partial(_open_video, videos, studio, id))
        )
    return sources


def _fetch(studio: LabelStudio, limits: pictures.FetchLimits, address: str, task: int) -> bytes:
    return pictures.fetch(address, task, studio, limits)


def _open_video(
    videos: VideoFiles, studio: LabelStudio, project: int, address: str, task: int
) -> AbstractContextManager[VideoFile]:
    return videos.using(project, address, task, studio)
