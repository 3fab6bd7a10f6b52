"""From a ledger to its statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backend import labeling_config
from backend.ledger import Ledger
from backend.settle import settle_outcomes
from backend.stats.tally import Stats


def collect(
    ledger: Ledger, project_ids: Sequence[int], max_pixels: int, progress: Callable[[int], None] = lambda done: None
) -> Stats:
    """Settle what became of the suggestions of these projects, and count. Raises LedgerError and ConfigError."""
    stats = Stats()
    for project_id in project_ids:
        project = ledger.project(project_id)
        if project is None:
            stats.without_config.append(project_id)
        else:
            settle_outcomes(project_id, ledger, labeling_config.parse(project.label_config), max_pixels, progress)
        stats.add_project(project_id, ledger)
    return stats
