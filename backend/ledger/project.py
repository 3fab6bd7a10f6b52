"""What the ledger knows of a project."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Project:
    """What Label Studio said of a project in `/setup`. token: the owner's legacy API token, if it sent one."""

    id: int
    label_config: str
    url: str | None = None
    token: str | None = field(default=None, repr=False)
