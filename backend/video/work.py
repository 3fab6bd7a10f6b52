"""A track on its way, as `GET /jobs` shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from backend.ledger.tracks import Key
from backend.video.events import Telling
from backend.video.track_works import ShownWork

State = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(eq=False)
class Work:
    """A track on its way.

    number: of the track in the ledger.
    frames: how many there are to follow it through. done: how many of them it was followed through.
    telling: how its events are told, None where nobody asks for them.
    """

    key: Key
    number: int
    path: Path
    frames: int
    telling: Telling | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: State = "queued"
    done: int = 0
    events: int = 0
    message: str = ""
    seconds: float = 0.0
    waiting: int = 0

    @property
    def id(self) -> str:
        """As `/jobs/<id>` takes it."""
        return f"track-{self.number}"

    def as_json(self) -> ShownWork:
        """As `GET /jobs` shows it."""
        left = self.seconds / self.done * (self.frames - self.done) if self.done and not self.is_over else None
        return {
            "id": self.id,
            "kind": "track",
            "project_id": self.key.project_id,
            "task_id": self.key.task_id,
            "region_id": self.key.region_id,
            "state": self.state,
            "message": self.message,
            "frames": {"done": self.done, "of": self.frames},
            "events": self.events,
            "seconds_left": None if left is None else round(left, 1),
            "created_at": self.created_at.isoformat(),
        }

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")
