"""By what a track is found."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class Key(NamedTuple):
    """Whose track it is: Label Studio's screen makes the id of a region, so it is unique within its task only."""

    project_id: int
    task_id: int
    region_id: str


IS_KEY = "project_id = ? AND task_id = ? AND region_id = ?"


def track_id(db: sqlite3.Connection, key: Key) -> int | None:
    """The number of a track in its table; None where there is none."""
    row = db.execute(f"SELECT id FROM tracks WHERE {IS_KEY}", key).fetchone()
    return None if row is None else row["id"]
