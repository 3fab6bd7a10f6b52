"""A job's log: bounded, and without secrets."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

NAME = "log"
BYTES = 512 << 10
"""Of each of the two files that a log consists of: what is written, and what was written before."""
_LONGEST_LINE = 4000
_SHORTEST_SECRET = 6
_HIDDEN = "…"
_TOKENS = re.compile(r"\b[0-9a-f]{40}\b|\beyJ[\w-]+\.[\w-]+\.[\w-]+")
"""Legacy tokens, and JWTs."""


class Redaction:
    """Takes secrets out of what is written, and whatever looks like a token of Label Studio.

    secrets: very short ones are left, as they would garble every line.
    """

    def __init__(self, secrets: Iterable[str]):
        self._secrets = sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        return _TOKENS.sub(_HIDDEN, text)


class _Lines(logging.Formatter):
    def __init__(self, redact: Redaction):
        super().__init__("%(asctime)s %(message)s")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        # The whole of it, tracebacks too: an exception's text may be anything.
        return self._redact(super().format(record))


@contextmanager
def logging_to(folder: Path, redact: Redaction, level: str) -> Iterator[None]:
    """Write what this process logs into the job's log while the block runs. A full disk costs lines, not the job."""
    handler = RotatingFileHandler(folder / NAME, maxBytes=BYTES, backupCount=1, errors="replace", delay=True)
    handler.setFormatter(_Lines(redact))
    handler.handleError = lambda record: None  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


def shortened(line: str) -> str:
    """A line of another program, without its end of line and of bounded length."""
    line = line.rstrip("\r\n")
    return line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + _HIDDEN


def tail(folder: Path, lines: int) -> list[str]:
    """The last lines of the log in `folder`; none where there is none."""
    found: list[str] = []
    for path in (folder / f"{NAME}.1", folder / NAME):
        if path.is_file():
            found += path.read_text(errors="replace").splitlines()[-lines:]
    return found[-lines:] if lines > 0 else []
