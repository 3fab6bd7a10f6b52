"""Parquet shards as `datasets.load_dataset` reads them: a row for each image, with its regions in it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from backend.dataset.formats import fragments
from backend.dataset.formats.png import mask_png
from backend.dataset.region import DatasetFacts, DatasetImage, DatasetRegion, ImageBytes, ImageRegions

NAME = "parquet"
OUTCOMES = ("accepted", "corrected", "drawn")
ROW_GROUP_BYTES = 16 << 20
"""Rows are gathered until their images and masks take so much; a reader holds one group at a time."""

_IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
_TEXT = {"dtype": "string", "_type": "Value"}
_WHOLE = {"dtype": "int64", "_type": "Value"}
_REAL = {"dtype": "float64", "_type": "Value"}


def _list(feature: Mapping[str, Any]) -> dict[str, Any]:
    return {"feature": feature, "_type": "List"}


REGION_FEATURES: Mapping[str, Any] = {
    "id": _TEXT,
    "mask": {"_type": "Image"},
    "bbox": _list(_WHOLE),
    "area": _WHOLE,
    "points": _list(_list(_REAL)),
    "point_labels": _list(_WHOLE),
    "prompt_box": _list(_REAL),
    "category": _TEXT,
    "category_as_written": _TEXT,
    "explanation": _TEXT,
    "caption": _TEXT,
    "outcome": {"names": list(OUTCOMES), "_type": "ClassLabel"},
    "mask_iou": _REAL,
    "model_version": _TEXT,
    "project_id": _WHOLE,
    "task_id": _WHOLE,
    "annotation_id": _WHOLE,
    "annotator": _TEXT,
    "updated_at": _TEXT,
}
FEATURES: Mapping[str, Any] = {
    "image": {"_type": "Image"},
    "image_id": _TEXT,
    "height": _WHOLE,
    "width": _WHOLE,
    "source": _TEXT,
    "regions": _list(REGION_FEATURES),
}
"""The columns, in the words of the library `datasets`; see its `Features`."""


def _arrow(feature: Mapping[str, Any]) -> pa.DataType:
    match feature.get("_type"):
        case "Image":
            return _IMAGE
        case "List":
            return pa.list_(_arrow(feature["feature"]))
        case "ClassLabel":
            return pa.int64()
        case "Value":
            return pa.type_for_alias(feature["dtype"])
    return pa.struct({name: _arrow(inner) for name, inner in feature.items()})


SCHEMA = pa.schema(
    [(name, _arrow(feature)) for name, feature in FEATURES.items()],
    metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
)


def write_shard(
    folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes, parent: Path | None = None
) -> list[str]:
    """Write `parquet/<shard>.parquet`, where the shard's name begins with its split; the paths written."""
    name = file_name(shard)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    # Images and masks are compressed already, and texts are small beside them.
    with parquet.ParquetWriter(path, SCHEMA, compression="snappy", write_page_index=True) as writer:
        for rows in _groups(items, image_bytes):
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
    return [name]


def finish(folder: Path, shards: Sequence[str], facts: DatasetFacts, parent: Path | None = None) -> list[str]:
    """Nothing: the card names the shards, their features and their split."""
    return []


def file_name(shard: str) -> str:
    """The file of a shard, or by "train-*" those of a split, below the version's folder."""
    return f"{NAME}/{shard}.parquet"


def sizes(folder: Path, shards: Sequence[str]) -> dict[str, int]:
    """Bytes of the shards of each split that has any; nothing where there are no Parquet files."""
    found: dict[str, int] = {}
    for split in fragments.SPLITS:
        files = [f"{folder}/{file_name(shard)}" for shard in shards if shard.startswith(f"{split}-")]
        if files and os.path.exists(files[0]):
            found[split] = sum(os.stat(file).st_size for file in files)
    return found


def _groups(items: Sequence[ImageRegions], image_bytes: ImageBytes) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for image, regions in items:
        rows.append(_row(image, regions, image_bytes(image)))
        size += len(rows[-1]["image"]["bytes"]) + sum(len(region["mask"]["bytes"]) for region in rows[-1]["regions"])
        if size >= ROW_GROUP_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _row(image: DatasetImage, regions: Sequence[DatasetRegion], data: bytes) -> dict[str, Any]:
    return {
        "image": {"bytes": data, "path": Path(image.path).name},
        "image_id": image.sha256,
        "height": image.height,
        "width": image.width,
        "source": image.source,
        "regions": [_region(image, region) for region in regions],
    }


def _region(image: DatasetImage, region: DatasetRegion) -> dict[str, Any]:
    return {
        "id": region.id,
        "mask": {"bytes": mask_png(image, region), "path": None},
        "bbox": list(region.bbox),
        "area": region.area,
        "points": [[x, y] for x, y, _ in region.points],
        "point_labels": [label for _, _, label in region.points],
        "prompt_box": None if region.box is None else list(region.box),
        "category": region.category,
        "category_as_written": region.category_as_written,
        "explanation": region.explanation,
        "caption": region.caption,
        "outcome": OUTCOMES.index(region.outcome),
        "mask_iou": region.mask_iou,
        "model_version": region.model_version,
        "project_id": region.project_id,
        "task_id": region.task_id,
        "annotation_id": region.annotation_id,
        "annotator": region.annotator,
        "updated_at": region.updated_at,
    }
