"""Videos on this machine's disk: fetched once each, kept in bounded space, and known by their content."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachetools import TTLCache

from backend import metrics, pictures
from backend.encoded_images import ADDRESS_SECONDS, MAX_ADDRESSES
from backend.errors import PictureError, VideoFileError
from backend.label_studio import LabelStudio
from backend.labeling_config import LabelingConfig
from model.errors import ModelError
from model.frames import FrameLimits, Frames, open_frames

_SPARE_BYTES = 256 << 20
"""Disk that is left free for the ledger, whatever the settings allow."""


@dataclass(frozen=True)
class VideoFile:
    """A video on the disk. sha256: of its bytes, hex."""

    path: Path
    sha256: str


class VideoFiles:
    """Keeps videos in `folder`, which is made where it is missing. Any thread may call it.

    max_bytes: what all may take; those used longest ago go first, and never one that is in use.
    """

    def __init__(self, folder: Path, limits: pictures.FetchLimits, max_bytes: int):
        self._folder, self._limits, self._max_bytes = folder, limits, max_bytes
        self._lock = threading.Lock()
        self._addresses: TTLCache[str, VideoFile] = TTLCache(MAX_ADDRESSES, ADDRESS_SECONDS)
        self._fetching: dict[str, threading.Lock] = {}
        self._used: Counter[Path] = Counter()

    def get(self, project_id: int | None, address: str, task_id: int, studio: LabelStudio | None) -> VideoFile:
        """The video behind the address in a task, in use from now on: `release` it.

        Raises VideoFileError where it cannot be had or is too large, LabelStudioError where Label Studio is gone.
        """
        name = f"{project_id} {address}"
        with self._lock:
            turn = self._fetching.setdefault(name, threading.Lock())
        with turn:  # whoever asks for the same file meanwhile waits for it
            with self._lock:
                found = self._addresses.get(name)
                if found is not None and found.path.is_file():
                    os.utime(found.path)
                    self._used[found.path] += 1
                    return found
            try:
                found = self._fetch(address, task_id, studio)
            except PictureError as error:
                raise VideoFileError(error.message, code=error.code, status=error.status) from error
            except OSError as error:
                raise VideoFileError(
                    f"the video cannot be kept in {self._folder}: {error.strerror or error}; give its disk more space",
                    code="no_space",
                    status=507,
                ) from error
            finally:
                with self._lock:
                    self._fetching.pop(name, None)
            with self._lock:
                self._addresses[name] = found
            return found

    def release(self, path: Path) -> None:
        """Say that a file that `get` gave is not used any more."""
        with self._lock:
            self._used[path] -= 1
            if self._used[path] <= 0:
                del self._used[path]
            self._make_room()

    def use(self, path: Path) -> None:
        """Use a file that is in use once more."""
        with self._lock:
            self._used[path] += 1

    @contextmanager
    def using(
        self, project_id: int | None, address: str, task_id: int, studio: LabelStudio | None
    ) -> Iterator[VideoFile]:
        """What `get` does, and `release` at the end."""
        found = self.get(project_id, address, task_id, studio)
        try:
            yield found
        finally:
            self.release(found.path)

    def _fetch(self, address: str, task_id: int, studio: LabelStudio | None) -> VideoFile:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        digest = hashlib.sha256()
        handle, draft = tempfile.mkstemp(dir=self._folder, prefix="part-")
        try:
            with open(handle, "wb") as file:

                def take(chunk: bytes) -> None:
                    if shutil.disk_usage(self._folder).free < _SPARE_BYTES:
                        raise PictureError(
                            f"the disk of {self._folder} is full: a video is not fetched", code="no_space", status=507
                        )
                    digest.update(chunk)
                    file.write(chunk)

                pictures.fetch_into(take, address, task_id, studio, self._limits)
            path = self._folder / digest.hexdigest()
            with self._lock:
                os.replace(draft, path)
                self._used[path] += 1
                self._make_room()
            return VideoFile(path, digest.hexdigest())
        finally:
            with suppress(FileNotFoundError):
                os.unlink(draft)

    def _make_room(self) -> None:
        """Under the lock."""
        files = sorted(
            ((s.st_mtime, s.st_size, p) for p in self._folder.glob("[0-9a-f]*") if (s := p.stat())), reverse=True
        )
        total = 0
        for place, (_, size, path) in enumerate(files):
            total += size
            if total > self._max_bytes and place and path not in self._used:
                path.unlink(missing_ok=True)
                total -= size
        metrics.VIDEO_BYTES.set(total)


def address_of(data: Mapping[str, Any], config: LabelingConfig) -> str:
    """Where the video of a task is, by the task's data. Raises VideoFileError."""
    address = data.get(config.data_key)
    if not isinstance(address, str) or not address:
        raise VideoFileError(f"the task has no video: its data has no text under {config.data_key!r}", code="no_video")
    return address


def frames_of(file: VideoFile, task_id: int, limits: FrameLimits) -> Frames:
    """The frames of a task's video. Raises VideoFileError, which does not show where the file is kept."""
    try:
        return open_frames(file.path, limits)
    except ModelError as error:
        raise VideoFileError(str(error).replace(str(file.path), f"the video of task {task_id}")) from error
