"""How far a project has been read out of Label Studio."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime


@dataclass(frozen=True)
class Reconciliation:
    """The last reading of a project, and the one that is under way. Times are aware.

    watermark: all that Label Studio touched before this time of its clock is in the ledger; None where nothing is sure.
    read_fully_at: when, by our clock, all tasks were last read; None for never.
    after:     the task id up to which the reading under way has come; None where none is under way.
    is_full:   whether that one reads all tasks, or those that were touched since the watermark.
    watermark_then: what the watermark becomes when it is done.
    """

    watermark: datetime | None = None
    read_fully_at: datetime | None = None
    after: int | None = None
    is_full: bool = False
    watermark_then: datetime | None = None

    def to_json(self) -> str:
        times = {name: moment.isoformat() for name, moment in asdict(self).items() if isinstance(moment, datetime)}
        return json.dumps(asdict(self) | times)

    @classmethod
    def from_json(cls, text: str) -> Reconciliation:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        for name in ("watermark", "read_fully_at", "watermark_then"):
            fields[name] = fields[name] and datetime.fromisoformat(fields[name])
        return cls(**fields)
