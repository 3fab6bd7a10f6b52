"""Fonts for the pictures of a data set: whatever a text is written in, it is drawn in letters or not at all."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

_CJK = ("noto", "wqy", "wenquan", "droid", "source", "uming", "ukai", "fandol", "hei", "song", "gothic", "cjk")
"""Words in the file names of fonts that are likely to hold Chinese: these are opened first."""


def font_for(text: str) -> Path | None:
    """A font on this machine that has every character of `text`, or None; first the one that comes with matplotlib."""
    return next((path for path in _fonts() if _covers(path, text)), None)


def readable(text: str) -> str:
    """`text`, or a note in its place where no font here has all of its characters."""
    return text if font_for(text) is not None else f"[{len(text)} letters, no font here has them]"


def font_of(text: str) -> Path:
    """The font to draw `readable(text)` with."""
    return font_for(text) or next(_fonts())


def _fonts() -> Iterator[Path]:
    yield Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    yield from _system_fonts()


@functools.cache
def _system_fonts() -> tuple[Path, ...]:
    found = {Path(path) for path in font_manager.findSystemFonts()}
    return tuple(sorted(found, key=lambda path: (not any(word in path.name.lower() for word in _CJK), path)))


@functools.cache
def _characters(path: Path) -> frozenset[int]:
    try:
        return frozenset(FT2Font(str(path)).get_charmap())
    except (RuntimeError, OSError):
        return frozenset()  # damaged, or of a kind that FreeType cannot open: as good as not there


def _covers(path: Path, text: str) -> bool:
    return {ord(character) for character in text if not character.isspace()} <= _characters(path)
