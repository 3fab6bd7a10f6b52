"""The neutral records of a data set: one line of JSON for each image, with its regions; and how they are cut up."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from backend.dataset import splits
from backend.dataset.region import DatasetImage, DatasetRegion, ImageRegions
from backend.dataset.state import State
from backend.dataset.texts import CategoryNames

SHARD_IMAGES = 8
"""Most images of a shard. Small, because a correction writes a whole shard anew."""

_HEX_DIGITS = 16  # of the hash: as many as tell images apart in their file names
_BITS = 4 * _HEX_DIGITS


@dataclass(frozen=True)
class Shard:
    """Some images of one split: those whose hash begins with the bits at the end of the name.

    first, last: SHA-256 of its first and its last image.
    digest:      changes with anything that is written of these images.
    """

    name: str
    first: str
    last: str
    digest: str

    @property
    def split(self) -> str:
        return self.name.partition("-")[0]


def settle(state: State, names: CategoryNames, validation: float) -> None:
    """Give the images that were touched since the last time, and those that belong together with them, their split and
    their digest."""
    fingerprint = f"{names.fingerprint} {validation}"
    with state.writing() as db:
        if state.about("settled") != fingerprint:
            db.execute("INSERT OR IGNORE INTO touched SELECT DISTINCT image FROM regions")
            state.set_about("settled", fingerprint)
        touched = {image for (image,) in db.execute("SELECT image FROM touched")}
        for image in touched | splits.assign(db, sorted(touched), validation):
            item = _item(db, image, names)
            digest = hashlib.sha256(to_line(item).encode()).hexdigest() if item else None
            db.execute("UPDATE images SET digest = ? WHERE sha256 = ?", (digest, image))
        db.execute("DELETE FROM touched")


def shards(state: State, salt: str) -> Iterator[Shard]:
    """All shards, in the order of their names. salt: what else the digests stand for.

    A shard with more than SHARD_IMAGES images is two shards, by the next bit of the hash; so where the cuts are follows
    from the set of images alone, and one image more moves one cut at most.
    """
    for split in ("train", "validation"):
        select = "FROM images WHERE split = ? ORDER BY sha256"
        hashes = array(
            "Q", (int(one[:_HEX_DIGITS], 16) for (one,) in state.db.execute(f"SELECT sha256 {select}", (split,)))
        )
        rows = state.db.execute(f"SELECT sha256, digest {select}", (split,))
        for bits, count in _cut(hashes, 0, len(hashes), ""):
            part = list(islice(rows, count))
            digest = hashlib.sha256("".join([salt, *(one for _, one in part)]).encode()).hexdigest()
            yield Shard(f"{split}-{bits or 'all'}", part[0][0], part[-1][0], digest)


def items(state: State, shard: Shard, names: CategoryNames) -> list[ImageRegions]:
    """The images of a shard with their regions, by rising hash."""
    images = state.db.execute(
        "SELECT sha256 FROM images WHERE split = ? AND sha256 BETWEEN ? AND ? ORDER BY sha256",
        (shard.split, shard.first, shard.last),
    ).fetchall()
    found = [_item(state.db, image, names) for (image,) in images]
    return [item for item in found if item]


def to_line(item: ImageRegions) -> str:
    """An image and its regions as one line of JSON."""
    image, regions = item
    record = {"image": vars(image), "regions": [vars(region) for region in regions]}
    return json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def from_lines(lines: Iterable[str]) -> Iterator[ImageRegions]:
    """The inverse of `to_line`."""
    for line in lines:
        record = json.loads(line)
        yield DatasetImage(**record["image"]), tuple(_region(fields) for fields in record["regions"])


def _cut(hashes: array[int], start: int, end: int, bits: str) -> Iterator[tuple[str, int]]:
    """Bits at the beginning, and number, of the hashes of each shard; `hashes` rise."""
    if end - start <= SHARD_IMAGES or len(bits) == _BITS:
        if end > start:
            yield bits, end - start
        return
    middle = bisect_left(hashes, int((bits + "1").ljust(_BITS, "0"), 2), start, end)
    yield from _cut(hashes, start, middle, bits + "0")
    yield from _cut(hashes, middle, end, bits + "1")


def _item(db: sqlite3.Connection, image: str, names: CategoryNames) -> ImageRegions | None:
    """An image with its regions; None where it has none."""
    rows = db.execute(
        "SELECT source, body FROM regions WHERE image = ? ORDER BY project, task, annotation, position", (image,)
    ).fetchall()
    if not rows:
        return None
    sha256, name, height, width, split, video, frame = db.execute(
        "SELECT sha256, name, height, width, split, video, frame FROM images WHERE sha256 = ?", (image,)
    ).fetchone()
    regions = (json.loads(body) for _, body in rows)
    return (
        DatasetImage(sha256, f"images/{name}", height, width, split, rows[0][0], video, frame),
        tuple(_region(fields | {"category": names.name(fields["category_as_written"])}) for fields in regions),
    )


def _region(fields: dict[str, Any]) -> DatasetRegion:
    fields["bbox"] = tuple(fields["bbox"])
    fields["points"] = tuple(tuple(point) for point in fields["points"])
    fields["box"] = fields["box"] and tuple(fields["box"])
    return DatasetRegion(**fields)
