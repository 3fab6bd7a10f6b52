"""What was suggested, what annotators made of it, and how far Label Studio has been read: one SQLite file."""

from backend.ledger.intake import TaskPage
from backend.ledger.ledger import Holdings, Ledger
from backend.ledger.memories import Memory
from backend.ledger.outcomes import ModelUse, OutcomeRow
from backend.ledger.project import Project
from backend.ledger.reconciliation import Reconciliation
from backend.suggestion import Suggestion

__all__ = [
    "Holdings",
    "Ledger",
    "Memory",
    "ModelUse",
    "OutcomeRow",
    "Project",
    "Reconciliation",
    "Suggestion",
    "TaskPage",
]
