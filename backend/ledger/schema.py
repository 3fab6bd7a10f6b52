"""The tables of the ledger, and how an older file is brought to them."""

from __future__ import annotations

import secrets
import sqlite3

from backend.database import Format
from backend.errors import LedgerError

VERSION = 3

_NEW_IN_2 = """
CREATE TABLE about (id TEXT NOT NULL, journal_bytes INTEGER NOT NULL);
CREATE INDEX living_annotations ON annotations (project_id, task_id) WHERE NOT deleted;
CREATE INDEX annotations_of_task ON annotations (task_id);
CREATE TABLE deleted_tasks (id INTEGER PRIMARY KEY, confirmed INTEGER NOT NULL);
CREATE TABLE task_changes (
    project_id INTEGER NOT NULL, task_id INTEGER NOT NULL, changed INTEGER NOT NULL, PRIMARY KEY (project_id, task_id)
) WITHOUT ROWID;
CREATE INDEX task_changes_by_number ON task_changes (project_id, changed);
CREATE INDEX suggestions_of_task ON suggestions (project_id, task_id);
CREATE TABLE reconciliations (project_id INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE outcomes (
    project_id INTEGER NOT NULL, task_id INTEGER NOT NULL, region_id TEXT NOT NULL, annotation_id INTEGER,
    outcome TEXT NOT NULL, model_version TEXT, category TEXT NOT NULL, mask_iou REAL, boundary_distance REAL,
    words TEXT NOT NULL
);
CREATE INDEX outcomes_of_task ON outcomes (project_id, task_id);
CREATE TABLE settled (project_id INTEGER PRIMARY KEY, number INTEGER NOT NULL, config TEXT NOT NULL)
"""
# Some files of format 2 have memories, some have none yet.
_NEW_IN_3 = """
CREATE TABLE IF NOT EXISTS memories (
    project_id INTEGER NOT NULL, task_id INTEGER NOT NULL, region_id TEXT NOT NULL, model_version TEXT NOT NULL,
    category TEXT NOT NULL, explanation TEXT NOT NULL, suggested TEXT NOT NULL, embedding BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS memories_of_task ON memories (project_id, task_id);
CREATE INDEX IF NOT EXISTS memories_of_model ON memories (project_id, model_version);
CREATE TABLE IF NOT EXISTS remembered (project_id INTEGER PRIMARY KEY, number INTEGER NOT NULL, config TEXT NOT NULL);
CREATE TABLE embeddings (
    project_id INTEGER NOT NULL, task_id INTEGER NOT NULL, region_id TEXT NOT NULL, model_version TEXT NOT NULL,
    embedding BLOB NOT NULL
);
CREATE UNIQUE INDEX embeddings_of_region ON embeddings (project_id, task_id, region_id, model_version)
"""
_TABLES = f"""
CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, received_at TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE annotations (
    id INTEGER PRIMARY KEY, project_id INTEGER, task_id INTEGER, updated_at INTEGER, deleted INTEGER NOT NULL,
    confirmed INTEGER NOT NULL, body TEXT
);
CREATE TABLE suggestions (region_id TEXT PRIMARY KEY, body TEXT NOT NULL, project_id INTEGER, task_id INTEGER);
CREATE TABLE projects (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
{_NEW_IN_2};
{_NEW_IN_3}
"""
_FROM_1_TO_2 = f"""
DROP INDEX annotations_of_project;
ALTER TABLE suggestions ADD COLUMN project_id INTEGER;
ALTER TABLE suggestions ADD COLUMN task_id INTEGER;
UPDATE suggestions SET project_id = json_extract(body, '$.project_id'), task_id = json_extract(body, '$.task_id');
{_NEW_IN_2};
INSERT INTO task_changes SELECT project_id, task_id, MAX(confirmed) FROM annotations
    WHERE task_id IS NOT NULL GROUP BY project_id, task_id
"""

_TRACKS = """
CREATE TABLE IF NOT EXISTS tracks (
    id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL, task_id INTEGER NOT NULL, region_id TEXT NOT NULL,
    body TEXT NOT NULL, touched INTEGER NOT NULL, bytes INTEGER NOT NULL, UNIQUE (project_id, task_id, region_id)
);
CREATE TABLE IF NOT EXISTS track_masks (
    track INTEGER NOT NULL, frame INTEGER NOT NULL, rle TEXT NOT NULL, box TEXT, score REAL NOT NULL,
    anchor INTEGER NOT NULL, PRIMARY KEY (track, frame)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS track_events (
    track INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, region_id TEXT NOT NULL,
    caption TEXT NOT NULL, is_sent INTEGER NOT NULL, PRIMARY KEY (track, first)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS track_parts (
    track INTEGER NOT NULL, region_id TEXT NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    caption TEXT NOT NULL, sent_at REAL NOT NULL, is_theirs INTEGER NOT NULL, PRIMARY KEY (track, region_id)
) WITHOUT ROWID
"""
"""Nothing of a format depends on them: a file without is given them, whatever its format."""


def prepare(db: sqlite3.Connection) -> int:
    """Bring the file, inside the caller's transaction, to the newest format; the format that it has then.

    A file of a newer PAM Studio is left as it is, and its number returned.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version < VERSION:
        for script in (_TABLES,) if version == 0 else (_FROM_1_TO_2, _NEW_IN_3)[version - 1 :]:
            for statement in script.split(";"):
                db.execute(statement)
        if version < 2:
            db.execute(
                "INSERT INTO about SELECT ?, COALESCE(SUM(LENGTH(CAST(body AS BLOB))), 0) FROM events",
                (secrets.token_hex(16),),
            )
        db.execute(f"PRAGMA user_version = {VERSION}")
        version = VERSION
    if version == VERSION:
        for statement in _TRACKS.split(";"):
            db.execute(statement)
    return version


FORMAT = Format("ledger", VERSION, prepare, LedgerError)
