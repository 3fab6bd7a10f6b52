"""One SQLite file that survives a crash at any moment, and the errors of SQLite in words."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backend.errors import BackendError

_REMEDIES = {
    sqlite3.SQLITE_FULL: "free some space on its disk",
    sqlite3.SQLITE_IOERR: "look after its disk, which may be full or broken",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable for this user",
    sqlite3.SQLITE_CANTOPEN: "make the file and its folder writable for this user",
    sqlite3.SQLITE_BUSY: "stop the other process that holds it",
    sqlite3.SQLITE_NOTADB: "it is damaged or something else: move it away, a new one is made",
    sqlite3.SQLITE_CORRUPT: "it is damaged: move it away, a new one is made",
}
_BUSY_SECONDS = 10.0


@dataclass(frozen=True)
class Format:
    """What a file is to hold.

    name:    as messages call the file.
    version: of the newest format.
    prepare: brings a file to it, inside the caller's transaction, and returns the version that the file has then.
    error:   what is raised when the file cannot be used.
    """

    name: str
    version: int
    prepare: Callable[[sqlite3.Connection], int]
    error: type[BackendError]


class Database:
    """The file `path`, made with its folder where it is missing. Any thread may use it; one at a time does.

    Raises the format's error when the file cannot be read or written; a transaction has then changed nothing.
    """

    def __init__(self, path: Path, format: Format):
        self.path, self._format = path, format
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # It may hold a token: nobody else may read it, not even for the moment before a chmod.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            path.chmod(0o600)
        except OSError as error:
            raise format.error(
                f"the {format.name} {path} cannot be opened: {error.strerror}; make its folder writable for this user"
            ) from error
        with self._reporting():
            self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        with self._reporting():
            self._db.close()

    def read(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """All rows of a query."""
        with self._reporting():
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on the disk when the block is left, and undone as a whole by any exception."""
        with self._reporting():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _prepare(self) -> None:
        with self._reporting():
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        with self.writing() as db:
            version = self._format.prepare(db)
        if version != self._format.version:
            raise self._format.error(
                f"the {self._format.name} {self.path} was made by a newer PAM Studio (format {version}): upgrade"
            )

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Hold the connection, and turn what SQLite complains of into an error with a remedy."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                # The low byte of an extended code is its family, such as IOERR of IOERR_WRITE.
                family = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
                remedy = _REMEDIES.get(family, "look into the log")
                raise self._format.error(f"the {self._format.name} {self.path} failed: {error}; {remedy}") from error
