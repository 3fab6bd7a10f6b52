"""A background job, and how far it is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

State = Literal["queued", "running", "done", "failed", "cancelled"]
STATES: tuple[State, ...] = get_args(State)

_LONGEST_STAGE = 200


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    stage:    what it is doing, in words.
    fraction: of the whole job, 0..1; None where nobody can say.
    seconds_left: None where nobody can say.
    """

    stage: str = ""
    fraction: float | None = None
    seconds_left: float | None = None

    def write(self, path: Path) -> None:
        """Put it in place of what `path` says, in one step. Raises OSError."""
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self)))
        os.replace(draft, path)

    @classmethod
    def read(cls, path: Path) -> Progress:
        """What `write` wrote; nothing is known where that is missing or damaged."""
        with suppress(OSError, ValueError):
            return cls.from_json(json.loads(path.read_bytes()))
        return cls()

    @classmethod
    def from_json(cls, found: object) -> Progress:
        """The inverse of `asdict`; what makes no sense is left out."""
        found = found if isinstance(found, dict) else {}
        stage, fraction, left = (found.get(key) for key in ("stage", "fraction", "seconds_left"))
        return cls(
            stage[:_LONGEST_STAGE] if isinstance(stage, str) else "",
            float(fraction) if isinstance(fraction, int | float) and 0 <= fraction <= 1 else None,
            float(left) if isinstance(left, int | float) and 0 <= left < 1e9 else None,
        )


@dataclass(frozen=True)
class Job:
    """One job as the queue knows it. Times are aware.

    kind:       what is to be done; `backend.jobs.kinds` knows how.
    project_id: for which project, None for all.
    parameters: what the kind wants to know; plain JSON types.
    cause:      who or what asked for it, in words.
    message:    what came of it, or why it failed; while it waits or runs, what happened to it so far.
    stopping:   why a running one is about to end: "cancel", "pause" (the server stops), or "".
    deaths:     how often its process has died since it last got any further.
    """

    id: int
    kind: str
    project_id: int | None
    state: State
    cause: str
    message: str
    progress: Progress
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    stopping: str = ""
    deaths: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether it is still to end."""
        return self.state in ("queued", "running")

    def as_json(self) -> dict[str, Any]:
        """As `GET /jobs` shows it."""
        times = ("created_at", "started_at", "finished_at")
        shown = {key: getattr(self, key) and getattr(self, key).isoformat() for key in times}
        kept = ("id", "kind", "project_id", "state", "cause", "message", "stopping", "parameters")
        return {key: getattr(self, key) for key in kept} | {"progress": asdict(self.progress)} | shown
