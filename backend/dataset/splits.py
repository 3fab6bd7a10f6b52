"""Which images go to validation: by groups, so that no picture is trained on whose near-duplicate validates.

Images belong together when their perceptual hashes differ in at most NEAR bits, or when they have one source, as the
frames of a video do; and so do those that are joined by a chain of such pairs. The oldest image of a group, by project
and task, decides by its hash for all of them. So a split follows from the set of images alone, not from the order in
which they came, and an image keeps its side as the set grows, except where a newcomer shows that two groups are one.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator

from backend.dataset.region import Split

NEAR = 6
"""Bits of 64. Encoding again, scaling and slight changes of brightness or contrast stay below; other pictures have
about half of their bits different."""

_BANDS = NEAR + 1
"""Two hashes that differ in at most NEAR bits agree in at least one of NEAR + 1 bands: only those are compared."""
_EDGES = [round(64 * band / _BANDS) for band in range(_BANDS + 1)]
_ALL_BITS = (1 << 64) - 1


def assign(db: sqlite3.Connection, touched: Iterable[str], validation: float) -> set[str]:
    """Give the images of the groups that `touched` ones belong to, or belonged to, their split; those that it changed
    for. To be called inside a transaction. validation: share of the images, 0..1.

    An image without regions belongs to no group, and has no split.
    """
    touched = list(touched)
    changed = set()
    for image in touched:
        if _oldest(db, image) is not None:
            _remember_bands(db, image)
        elif _set_split(db, image, None):
            changed.add(image)
    seen: set[str] = set()
    for image in touched:
        # One that has lost its last region may have held a group together: what was next to it is looked at.
        starts = [image] if _oldest(db, image) is not None else list(_Neighbours(db).of(image))
        for start in starts:
            if start not in seen:
                group = _group(db, start)
                seen |= group
                split = _split_of(db, group, validation)
                changed |= {one for one in group if _set_split(db, one, split)}
    return changed


def _group(db: sqlite3.Connection, start: str) -> set[str]:
    group, waiting, neighbours = {start}, [start], _Neighbours(db)
    while waiting:
        new = set(neighbours.of(waiting.pop())) - group
        group |= new
        waiting.extend(new)
    return group


class _Neighbours:
    """The images with regions that belong together with another; each hash and each source is followed once only, so
    that a group of n equal pictures does not cost n * n."""

    def __init__(self, db: sqlite3.Connection):
        self._db = db
        self._hashes: set[int] = set()
        self._sources: set[str] = set()

    def of(self, image: str) -> Iterator[str]:
        """Those of `image`, which itself may have no regions; not those that were given before."""
        for one in [*self._near(image), *self._of_same_source(image)]:
            if one != image and _oldest(self._db, one) is not None:
                yield one

    def _near(self, image: str) -> Iterator[str]:
        (phash,) = self._db.execute("SELECT phash FROM images WHERE sha256 = ?", (image,)).fetchone()
        if phash not in self._hashes:
            self._hashes.add(phash)
            for other in _candidates(self._db, phash):
                if ((phash ^ other) & _ALL_BITS).bit_count() <= NEAR:
                    yield from _column(self._db, "SELECT sha256 FROM images WHERE phash = ?", other)

    def _of_same_source(self, image: str) -> Iterator[str]:
        for source in set(_column(self._db, "SELECT source FROM regions WHERE image = ?", image)) - self._sources:
            self._sources.add(source)
            yield from set(_column(self._db, "SELECT image FROM regions WHERE source = ?", source))


def _column(db: sqlite3.Connection, sql: str, value: object) -> list:
    return [row[0] for row in db.execute(sql, (value,))]


def _split_of(db: sqlite3.Connection, group: set[str], validation: float) -> Split:
    oldest = min((*(_oldest(db, image) or ()), image) for image in group)[-1]
    return side(oldest, validation)


def side(image: str, validation: float) -> Split:
    """Where an image goes that decides for itself. image: its SHA-256, hex. validation: share of the images, 0..1."""
    draw = int.from_bytes(hashlib.sha256(f"split {image}".encode()).digest()[:6], "big") / (1 << 48)
    return "validation" if draw < validation else "train"


def _candidates(db: sqlite3.Connection, phash: int) -> set[int]:
    found = {phash}
    for band, value in enumerate(_bands(phash)):
        found.update(p for (p,) in db.execute("SELECT phash FROM bands WHERE band = ? AND value = ?", (band, value)))
    return found


def _remember_bands(db: sqlite3.Connection, image: str) -> None:
    (phash,) = db.execute("SELECT phash FROM images WHERE sha256 = ?", (image,)).fetchone()
    db.executemany(
        "INSERT OR IGNORE INTO bands VALUES (?, ?, ?)",
        [(band, value, phash) for band, value in enumerate(_bands(phash))],
    )


def _bands(phash: int) -> list[int]:
    bits = phash & _ALL_BITS
    return [bits >> start & (1 << end - start) - 1 for start, end in zip(_EDGES[:-1], _EDGES[1:], strict=True)]


def _oldest(db: sqlite3.Connection, image: str) -> tuple[int, int] | None:
    """Project and task of an image's first region; None where it has no region."""
    return db.execute(
        "SELECT project, task FROM regions WHERE image = ? ORDER BY project, task LIMIT 1", (image,)
    ).fetchone()


def _set_split(db: sqlite3.Connection, image: str, split: Split | None) -> bool:
    """Whether that changed anything."""
    return bool(
        db.execute("UPDATE images SET split = ?2 WHERE sha256 = ?1 AND split IS NOT ?2", (image, split)).rowcount
    )
