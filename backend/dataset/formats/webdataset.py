"""WebDataset tars: a sample for each image, with its file, the masks of its regions as PNG, and their words as JSON."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from backend.dataset.formats.png import mask_png
from backend.dataset.region import DatasetFacts, DatasetImage, DatasetRegion, ImageBytes, ImageRegions

NAME = "webdataset"


def write_shard(
    folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes, parent: Path | None = None
) -> list[str]:
    """Write `webdataset/<shard>.tar`, where the shard's name begins with its split; the paths written.

    The members of a sample begin with the image's SHA-256: `.jpg`, `.png` or whatever the image is, `.json`, and
    `.mask<i>.png` for each region, which its entry in the JSON names. The headers say nothing of a time or a user.
    """
    name = f"{NAME}/{shard}.tar"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with tarfile.open(path, "x", format=tarfile.USTAR_FORMAT) as tar:
        for image, regions in items:
            for member, data in _members(image, regions, image_bytes(image)):
                header = tarfile.TarInfo(member)  # its defaults: time 0, user 0, mode 0644
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))
    return [name]


def finish(folder: Path, shards: Sequence[str], facts: DatasetFacts, parent: Path | None = None) -> list[str]:
    """Nothing: the tars are all there is."""
    return []


def _members(image: DatasetImage, regions: Sequence[DatasetRegion], data: bytes) -> Iterator[tuple[str, bytes]]:
    entries = [_entry(region) | {"mask": f"mask{i}.png"} for i, region in enumerate(regions)]
    facts = {"image_id": image.sha256, "height": image.height, "width": image.width, "split": image.split}
    yield f"{image.sha256}{Path(image.path).suffix}", data
    yield f"{image.sha256}.json", json.dumps(facts | {"source": image.source, "regions": entries}).encode("ascii")
    for entry, region in zip(entries, regions, strict=True):
        yield f"{image.sha256}.{entry['mask']}", mask_png(image, region)


def _entry(region: DatasetRegion) -> dict:
    """All that is known of a region, less the mask, which is a member of its own."""
    fields = vars(region) | {"languages": dict(sorted(region.languages.items()))}
    del fields["rle"]
    return fields
