"""Croissant 1.1 metadata, `croissant.json`: what search engines and loaders of data sets read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backend.dataset.formats import coco, fragments, parquet, summary
from backend.dataset.region import DatasetFacts, ImageBytes, ImageRegions

NAME = "croissant"
FILE = "croissant.json"

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_ANNOTATION_FIELDS = (
    ("id", "sc:Integer", "id", "The annotation's number, the same in every version."),
    ("image_id", "sc:Integer", "image_id", "The number of its image."),
    ("category_id", "sc:Integer", "category_id", "The number of its category."),
    ("area", "sc:Integer", "area", "Pixels of the mask."),
    ("category", "sc:Text", "attributes.category", "What the object is, as the annotator wrote it."),
    ("explanation", "sc:Text", "attributes.explanation", "What such a thing is, and is for."),
    ("caption", "sc:Text", "attributes.caption", "A description of this object."),
    ("outcome", "sc:Text", "attributes.outcome", "What became of the model's suggestion."),
)
_IMAGE_FIELDS = (
    ("image_id", "sc:Text", "SHA-256 of the image file."),
    ("height", "sc:Integer", "Pixels."),
    ("width", "sc:Integer", "Pixels."),
    ("source", "sc:Text", "Hash of where the image came from."),
)


def write_shard(
    folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes, parent: Path | None = None
) -> list[str]:
    """Nothing: all is known at the end."""
    return []


def finish(folder: Path, shards: Sequence[str], facts: DatasetFacts, parent: Path | None = None) -> list[str]:
    """Write `croissant.json` about the COCO and Parquet files that are there; the paths written."""
    distribution: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for split in fragments.SPLITS:
        name = coco.file_name(split)
        if (folder / name).exists():
            distribution.append(_file(folder, name))
            records.append(_annotations(name, split))
    for split in parquet.sizes(folder, shards):
        distribution.append(
            {
                "@type": "cr:FileSet",
                "@id": f"parquet-{split}",
                "name": f"parquet-{split}",
                "encodingFormat": "application/x-parquet",
                "includes": parquet.file_name(f"{split}-*"),
            }
        )
        records.append(_images(split))
    total = summary.read(folder)
    titles = ", ".join(summary.titles(total, facts).values())
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "pam-studio-regions",
        "description": f"Image regions with masks and words, corrected by annotators in Label Studio: {titles}.",
        "dateModified": total.updated_at,
        "distribution": distribution,
        "recordSet": records,
    }
    return [fragments.write_lines(folder, FILE, [json.dumps(document, indent=2, ensure_ascii=False)])]


def _file(folder: Path, name: str) -> dict[str, Any]:
    with open(folder / name, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": Path(name).name,
        "contentUrl": name,
        "contentSize": f"{(folder / name).stat().st_size} B",
        "encodingFormat": "application/json",
        "sha256": digest,
    }


def _annotations(name: str, split: str) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": f"regions-{split}",
        "name": f"regions-{split}",
        "description": f"The regions of the {split} images.",
        "field": [
            _field(f"regions-{split}/{field}", field, kind, text)
            | {"source": {"fileObject": {"@id": name}, "extract": {"jsonPath": f"$.annotations[*].{path}"}}}
            for field, kind, path, text in _ANNOTATION_FIELDS
        ],
    }


def _images(split: str) -> dict[str, Any]:
    id = f"images-{split}"
    source = {"fileSet": {"@id": f"parquet-{split}"}}
    picture = _field(f"{id}/image", "image", "sc:ImageObject", "The image.") | {
        "source": source | {"extract": {"column": "image"}, "transform": {"jsonPath": "bytes"}}
    }
    others = [
        _field(f"{id}/{field}", field, kind, text) | {"source": source | {"extract": {"column": field}}}
        for field, kind, text in _IMAGE_FIELDS
    ]
    text = f"The {split} images."
    return {"@type": "cr:RecordSet", "@id": id, "name": id, "description": text, "field": [picture, *others]}


def _field(id: str, name: str, kind: str, text: str) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": id, "name": name, "description": text, "dataType": kind}
