"""The ledger of a backend that has run, for the commands that only read it."""

from __future__ import annotations

from backend.errors import LedgerError
from backend.ledger import Ledger
from backend.settings import Settings

LEDGER = "ledger.sqlite"
"""Its name in the data folder."""


def existing_ledger(settings: Settings) -> Ledger:
    """The ledger of the data folder, opened; raises LedgerError, and makes nothing, where there is none."""
    path = settings.data_dir / LEDGER
    if not path.is_file():
        what = f"there is no ledger {path}" if settings.data_dir.is_dir() else f"there is no folder {settings.data_dir}"
        raise LedgerError(f"{what}: name the --data-dir of the backend", code="no_ledger", status=404)
    return Ledger(path, settings.journal_bytes)
