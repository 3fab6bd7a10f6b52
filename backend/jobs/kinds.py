"""What kinds of jobs there are, and who does them; nothing of that is loaded before it is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backend.jobs.work import Handler

TRAIN = "train"


def _train() -> Handler:
    from backend.jobs.training import train

    return train


KINDS: Mapping[str, Callable[[], Handler]] = {TRAIN: _train}
