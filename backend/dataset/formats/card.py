"""The card of a data set, `README.md`: for people, and, in the block at its top, for Hugging Face."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from backend.dataset.formats import conflicts, contact_sheet, fragments, histograms, parquet, summary, yolo
from backend.dataset.formats.summary import TEXTS, Summary
from backend.dataset.region import DatasetFacts, ImageBytes, ImageRegions

NAME = "card"
FILE = "README.md"

_LANGUAGES = {"en": ("en", "English"), "ch": ("zh", "Chinese")}
"""Suffix of PAM's tasks to ISO 639-1 code and name."""

_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_MOST_CATEGORIES = 50


def write_shard(
    folder: Path, shard: str, items: Sequence[ImageRegions], image_bytes: ImageBytes, parent: Path | None = None
) -> list[str]:
    """Nothing: all is known at the end."""
    return []


def finish(folder: Path, shards: Sequence[str], facts: DatasetFacts, parent: Path | None = None) -> list[str]:
    """Write `README.md` about the files that are there; call it last. The paths written."""
    total = summary.read(folder)
    head = yaml.safe_dump(_metadata(folder, shards, facts, total), sort_keys=False, allow_unicode=True, width=120)
    sections = [
        ["---", *head.splitlines(), "---", "", "# Corrected regions", ""],
        _about(facts, total),
        _files(folder),
        _words(total),
        _outcomes(total),
        _gaps(folder, facts, total),
    ]
    return [fragments.write_lines(folder, FILE, (line for section in sections for line in section))]


def _metadata(folder: Path, shards: Sequence[str], facts: DatasetFacts, total: Summary) -> dict[str, Any]:
    count = sum(total.regions.values())
    languages = {_LANGUAGES[key.rpartition("\t")[2]][0] for key in total.languages}
    block: dict[str, Any] = {
        "pretty_name": "PAM Studio regions: " + ", ".join(summary.titles(total, facts).values()),
        "license": "unknown",
        "language": sorted(languages),
        "task_categories": ["image-segmentation", "mask-generation", "image-to-text"],
        "tags": ["pam-studio", "label-studio", "region-captioning"],
        "size_categories": [next((name for below, name in _SIZES if count < below), "n>10M")],
    }
    sizes = parquet.sizes(folder, shards)
    if sizes:
        block["configs"] = [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": parquet.file_name(f"{split}-*")} for split in sizes],
            }
        ]
        splits = [{"name": n, "num_bytes": size, "num_examples": total.images[n]} for n, size in sizes.items()]
        size = sum(sizes.values())
        features = [{"name": name} | _feature(feature) for name, feature in parquet.FEATURES.items()]
        block["dataset_info"] = {
            "features": features,
            "splits": splits,
            "download_size": size,
            "dataset_size": size,
        }
    return block


def _feature(feature: Mapping[str, Any]) -> dict[str, Any]:
    """A column as cards describe it: `{"dtype": "string"}`, `{"list": …}`, `{"struct": […]}`."""
    match feature.get("_type"):
        case "Image":
            return {"dtype": "image"}
        case "Value":
            return {"dtype": feature["dtype"]}
        case "ClassLabel":
            return {"dtype": {"class_label": {"names": {str(i): name for i, name in enumerate(feature["names"])}}}}
        case "List":
            inner = _feature(feature["feature"])
            return {"list": inner["dtype"] if set(inner) == {"dtype"} else inner.get("struct", inner)}
    return {"struct": [{"name": name} | _feature(inner) for name, inner in feature.items()]}


def _about(facts: DatasetFacts, total: Summary) -> list[str]:
    rows = [(split, total.images[split], total.regions[split]) for split in fragments.SPLITS]
    rows.append(("all", sum(total.images.values()), sum(total.regions.values())))
    projects = [f"- project {id}: {_plain(title)}" for id, title in summary.titles(total, facts).items()]
    return [
        "Image regions with a mask, a category, an explanation and a caption. A model (PAM) suggested them in Label",
        "Studio, annotators accepted or corrected them, or drew their own. Made by PAM Studio from:",
        "",
        *projects,
        "",
        *_table(("split", "images", "regions"), rows),
        "",
        f"Annotators: {len(total.annotators)}. Last annotation: {total.updated_at or 'none'}.",
        "The split is by source: images that look alike, and the frames of one video, are on the same side.",
        "",
        f"![Some regions, with mask and words]({contact_sheet.FILE})",
        "",
        f"![Histograms]({histograms.FILE})",
        "",
        "Settings: " + (", ".join(f"{k} {v}" for k, v in sorted(facts.settings.items())) or "none") + ".",
        "",
    ]


def _files(folder: Path) -> list[str]:
    known = (
        ("datasets.yaml", "PAM's training records (`pam/`), paths from this folder"),
        ("datasets_video.yaml", "PAM's training records of videos, and SA-V's masklets (`video/`)"),
        ("coco/instances_train.json", "COCO instances with compressed RLE; `file_name` from this folder"),
        ("parquet", '`datasets.load_dataset("<this folder>")`: a row for each image'),
        ("webdataset", "WebDataset tars: a sample for each image"),
        ("data.yaml", "YOLO segmentation (`labels/`)"),
        ("croissant.json", "Croissant metadata"),
    )
    rows = [(f"`{name}`", text) for name, text in known if (folder / name).exists()]
    lines = ["## Files", "", *_table(("file", "what it is"), rows), ""]
    iou = yolo.round_trip_iou(folder)
    if iou is not None:
        lines += [
            "YOLO knows no holes and no second part: seams join them to one ring, simplified by up to "
            f"{yolo.TOLERANCE} pixels where that keeps an IoU of {yolo.MIN_IOU}. Filled again, the rings have an IoU "
            f"with the masks of {iou[0]:.4f} on average, {iou[1]:.4f} at worst.",
            "",
        ]
    return lines


def _words(total: Summary) -> list[str]:
    languages = [
        (text, *(total.languages[f"{text}\t{language}"] for language in _LANGUAGES), total.missing[text])
        for text in TEXTS
    ]
    ranked = sorted(total.categories.items(), key=lambda pair: (-pair[1], pair[0]))
    rows = [(_plain(name), count) for name, count in ranked[:_MOST_CATEGORIES]]
    more = len(ranked) - len(rows)
    return [
        "## Words",
        "",
        *_table(("text", *(name for _, name in _LANGUAGES.values()), "missing"), languages),
        "",
        f"{len(ranked)} categories" + (f", the {len(rows)} most frequent of them:" if more else ":"),
        "",
        *_table(("category", "regions"), rows),
        "",
    ]


def _outcomes(total: Summary) -> list[str]:
    count = sum(total.regions.values())
    rows = [(name, total.outcomes[name], _share(total.outcomes[name], count)) for name in parquet.OUTCOMES]
    models = sorted({key.rpartition("\t")[0] for key in total.models})
    by_model = []
    for model in models:
        accepted, corrected = (total.models[f"{model}\t{outcome}"] for outcome in ("accepted", "corrected"))
        by_model.append((_plain(model), accepted, corrected, _share(accepted, accepted + corrected)))
    return [
        "## What became of the suggestions",
        "",
        *_table(("outcome", "regions", "share"), rows),
        "",
        *_table(("model", "accepted", "corrected", "share accepted"), by_model),
        "",
        "Suggestions that annotators threw away are not in a data set, and so not in these shares.",
        "",
    ]


def _gaps(folder: Path, facts: DatasetFacts, total: Summary) -> list[str]:
    gaps = [f"{total.missing[text]} regions have no {text}" for text in TEXTS if total.missing[text]]
    if total.missing["prompt"]:
        gaps.append(f"{total.missing['prompt']} regions have no click or box: PAM's records have sampled points there")
    if not total.images["validation"]:
        gaps.append("no image is set aside for validation")
    if total.outcomes["accepted"]:
        gaps.append("accepted regions are as good as the model that suggested them and the eye that let them pass")
    if facts.cancelled:
        gaps.append(f"{facts.cancelled} annotations were cancelled by their annotators and are left out")
    if pairs := conflicts.count(folder):
        gaps.append(
            f"{pairs} pairs of regions of different projects cover one object (IoU above {conflicts.LEAST_IOU}) and "
            f"name it differently: `{conflicts.FILE}` lists them"
        )
    gaps += [f"left out ({_plain(kind)}): {count}" for kind, count in sorted(facts.left_out.items()) if count]
    gaps.append("the licence is that of the images, which PAM Studio does not know: name it before you publish")
    return ["## Known gaps", "", *(f"- {gap}" for gap in gaps)]


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    if not rows:
        yield "None."
        return
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(str(cell) for cell in row) + " |"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _plain(text: str) -> str:
    """A text that somebody typed, on one line, such as cannot be taken for Markdown or HTML."""
    text = " ".join(text.split())
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, "\\" + sign)
    return text
