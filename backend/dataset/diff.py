"""What changed from one version of a data set to another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.dataset.version import read_manifest, read_records, shard_digests

_MASK = {"rle", "bbox", "area", "mask_iou"}
_NO_CONTENT = {"updated_at"}
"""Label Studio dates a whole annotation: each of its regions has another date where one was corrected."""

_SHOWN = 10


@dataclass(frozen=True)
class Difference:
    """What `after` has that `before` has not, and the other way round.

    regions_changed: id of a region to the names of its fields that differ; a mask counts as one, `mask`.
    images_moved:    path of an image to the split that it is in now.
    settings:        name to value before and after, for those that differ.
    """

    before: str
    after: str
    regions_added: tuple[str, ...]
    regions_removed: tuple[str, ...]
    regions_changed: Mapping[str, tuple[str, ...]]
    images_added: tuple[str, ...]
    images_removed: tuple[str, ...]
    images_moved: Mapping[str, str]
    settings: Mapping[str, tuple[str | None, str | None]]

    def summary(self) -> str:
        """A few lines for a terminal."""
        lines = [f"{self.before} -> {self.after}"]
        for what, added, removed in (
            ("region", self.regions_added, self.regions_removed),
            ("image", self.images_added, self.images_removed),
        ):
            lines.append(f"  {what}s: {len(added)} added, {len(removed)} removed")
            lines += [f"    + {id}" for id in added[:_SHOWN]] + [f"    - {id}" for id in removed[:_SHOWN]]
        lines.append(f"  regions changed: {len(self.regions_changed)}")
        lines += [f"    {id}: {', '.join(fields)}" for id, fields in list(self.regions_changed.items())[:_SHOWN]]
        if self.images_moved:
            lines.append(f"  images that changed sides: {len(self.images_moved)}")
            lines += [f"    {path} is for {split} now" for path, split in list(self.images_moved.items())[:_SHOWN]]
        lines += [f"  setting {name}: {old} -> {new}" for name, (old, new) in self.settings.items()]
        return "\n".join(lines)


def compare(before: Path, after: Path) -> Difference:
    """Compare two versions of one data set. It reads what differs, shard by shard, and keeps that in memory."""
    old_shards, new_shards = dict(shard_digests(before)), dict(shard_digests(after))
    old_images, old_regions = _read(before, [name for name, d in old_shards.items() if new_shards.get(name) != d])
    new_images, new_regions = _read(after, [name for name, d in new_shards.items() if old_shards.get(name) != d])
    changes = {id: _changes(old_regions[id], new_regions[id]) for id in sorted(old_regions.keys() & new_regions.keys())}
    settings = [
        {**read_manifest(v)["settings"], "formats": ",".join(read_manifest(v)["formats"])} for v in (before, after)
    ]
    return Difference(
        before=read_manifest(before)["version"],
        after=read_manifest(after)["version"],
        regions_added=tuple(sorted(new_regions.keys() - old_regions.keys())),
        regions_removed=tuple(sorted(old_regions.keys() - new_regions.keys())),
        regions_changed={id: fields for id, fields in changes.items() if fields},
        images_added=tuple(sorted(new_images.keys() - old_images.keys())),
        images_removed=tuple(sorted(old_images.keys() - new_images.keys())),
        images_moved={
            path: new_images[path]
            for path in sorted(new_images.keys() & old_images.keys())
            if new_images[path] != old_images[path]
        },
        settings={
            name: (settings[0].get(name), settings[1].get(name))
            for name in sorted(settings[0].keys() | settings[1].keys())
            if settings[0].get(name) != settings[1].get(name)
        },
    )


def _read(version: Path, shards: list[str]) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Path of each image to its split, and id of each region to its fields."""
    images: dict[str, str] = {}
    regions: dict[str, dict[str, Any]] = {}
    for record in _records(version, shards):
        images[record["image"]["path"]] = record["image"]["split"]
        regions.update((region["id"], region | {"image": record["image"]["path"]}) for region in record["regions"])
    return images, regions


def _records(version: Path, shards: list[str]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        yield from map(json.loads, read_records(version, shard))


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    return tuple(sorted(names - _NO_CONTENT - _MASK | ({"mask"} if "rle" in names else set())))
