"""Training records in the official schema, ours or the published ones: JSON Lines, listed in a YAML.

What cannot be learned from is left out and counted by its reason; nothing is replaced in silence.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from model.errors import RecordError
from model.fields import QUESTIONS, VIDEO_QUESTIONS
from model.prompt import Box, Point
from model.training.conversation import placeholder_first

LISTINGS = {"train": "datasets.yaml", "validation": "datasets_validation.yaml"}
"""Of a version of a data set, by split."""

TASK_OF_QUESTION = {text: task for task, text in QUESTIONS.items()}
OWN = "own"
"""The task of a question that is none of the official ones."""

MAX_LINE = 1 << 20
"""Characters of a record; the official ones have a few thousand."""


@dataclass(frozen=True)
class Conversation:
    """Questions about a region, the first with its `<image>`, and their answers.

    task: the official task's name, or OWN.
    """

    task: str
    turns: tuple[tuple[str, str], ...]

    @property
    def answer(self) -> str:
        """The answer to the first question."""
        return self.turns[0][1]


@dataclass(frozen=True, eq=False)
class RegionRecord:
    """A region to learn from, with all that was said of it.

    image:     path of the picture. id: as the record has it, "" where it has none.
    points:    clicks in its pixels. box: around it, or None. At least one of the two is there.
    rle:       the mask as COCO RLE (`size` and `counts`), or None where the data set has none.
    said:      the conversations about it.
    frames:    of an object in a clip, the frames that a model looks at, with the object's masks; image is the first.
    """

    image: Path
    id: str
    points: tuple[Point, ...]
    box: Box | None
    rle: Mapping[str, Any] | None
    said: tuple[Conversation, ...]
    frames: tuple[tuple[Path, Mapping[str, Any]], ...] = ()

    def answer(self, task: str) -> str:
        """What was answered to an official task in any language ("recognize", "explain", …), "" where nothing was."""
        return next((one.answer for one in self.said if one.task.rpartition("_")[0] == task), "")

    @property
    def category(self) -> str:
        """What it was called, or ""."""
        return self.answer("recognize")


@dataclass
class Regions:
    """The regions of one split, and what was left out, by reason."""

    regions: list[RegionRecord]
    left_out: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Regions) -> Regions:
        return Regions([*self.regions, *other.regions], self.left_out + other.left_out)


def read_split(data: Path, split: str) -> Regions:
    """The regions of a split, "train" or "validation".

    data: the folder of a version, as `pam-studio export` writes it; or a YAML, JSON Lines or JSON file of the official
    trainer, whose paths start at its folder and which has no validation split.
    Raises RecordError where nothing can be read.
    """
    if data.is_dir():
        listing = data / LISTINGS[split]
        if not listing.is_file():
            if split == "train":
                raise RecordError(
                    f"{data} is no data set: it has no {listing.name}; export one with `pam-studio export`, whose "
                    "formats must name pam_jsonl"
                )
            return Regions([])
        masks = _masks(data / "coco" / f"instances_{split}.json")
        return _grouped(listed(listing), data, masks)
    if split != "train":
        return Regions([])
    if not data.is_file():
        raise RecordError(f"{data} is no data set: there is no such file or folder")
    lines = listed(data) if data.suffix in (".yaml", ".yml") else _rows(data)
    return _grouped(lines, data.parent, {})


def listed(listing: Path) -> Iterator[Any]:
    """The records that a YAML lists, None for a line that is none. Raises RecordError."""
    try:
        read = yaml.safe_load(listing.read_text(encoding="utf-8"))
        entries = [(entry["json_path"], entry.get("sampling_strategy", "all")) for entry in read["datasets"]]
    except (OSError, yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, AttributeError) as error:
        raise RecordError(f"{listing} lists no data: {error!r}; it needs `datasets`, each with a json_path") from error
    for path, strategy in entries:
        yield from _sampled(list(_rows(listing.parent / str(path))), str(strategy), str(path))


def _sampled(rows: list[Any], strategy: str, path: str) -> list[Any]:
    """What the official trainer takes: all, or the first, the last or random ones, as a number or a percentage."""
    way, _, amount = strategy.partition(":")
    if way == "all" and not amount:
        return rows
    try:
        share = amount.endswith("%")
        count = math.ceil(len(rows) * float(amount[:-1]) / 100) if share else int(amount)
        taken = {"first": lambda: rows[:count], "end": lambda: rows[-count:] if count else []}
        if way == "random":
            return random.Random(path).sample(rows, min(count, len(rows)))
        return taken[way]()
    except (KeyError, ValueError) as error:
        raise RecordError(
            f"sampling_strategy of {path} is {strategy!r}: it must be all, first:N, end:N or random:N, N a number or a "
            "percentage"
        ) from error


def _rows(path: Path) -> Iterator[Any]:
    """The records of a file; None for a line that is none."""
    try:
        if path.suffix == ".json":
            found = json.loads(path.read_text(encoding="utf-8"))
            yield from found if isinstance(found, list) else [None]
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.strip():
                    yield _parsed(line)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read: {error}; was the version removed?") from error


def _parsed(line: str) -> Any:
    if len(line) > MAX_LINE:
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _grouped(rows: Iterator[Any], root: Path, masks: Mapping[tuple[str, str], Mapping[str, Any]]) -> Regions:
    """Records that are about one region become one, since it is looked at once for all that is said of it."""
    found: dict[tuple, tuple[dict[str, Any], dict[Conversation, None]]] = {}
    left_out: Counter[str] = Counter()
    for row in rows:
        try:
            record = _checked(row)
        except RecordError as error:
            left_out[str(error)] += 1
            continue
        prompt = (record["id"],) if record["id"] else (record["points"], record["box"])
        _, said = found.setdefault((record["image"], *prompt), (record, {}))
        said[record["said"]] = None
    regions = [
        RegionRecord(
            root / record["image"],
            record["id"],
            record["points"],
            record["box"],
            masks.get((record["image"], record["id"])),
            tuple(said),
        )
        for record, said in found.values()
    ]
    return Regions(regions, left_out)


def _checked(row: Any) -> dict[str, Any]:
    """A record as the fields of a RegionRecord. Raises RecordError with a reason that names no single record."""
    if not isinstance(row, dict):
        raise RecordError("a line that is no record")
    if row.get("type") == "video":
        raise RecordError("a clip: those of an export are learned, with its masks")
    if row.get("type") != "image" or not isinstance(row.get("image"), str) or not row["image"]:
        raise RecordError("a record without an image")
    try:
        points = tuple(
            Point(float(x), float(y), bool(label))
            for (x, y), label in zip(row["points"] or (), row["labels"] or (), strict=True)
        )
        box = None
        if row["bbox"] is not None:
            x, y, w, h = (int(value) for value in row["bbox"])
            box = Box(float(x), float(y), float(x + w), float(y + h))
        numbers = [v for p in points for v in (p.x, p.y)] + ([box.x0, box.y0, box.x1, box.y1] if box else [])
        if not numbers or not all(map(math.isfinite, numbers)) or not (box or any(p.positive for p in points)):
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RecordError("a record without a prompt that means something") from error
    return {
        "image": row["image"],
        "id": str(row.get("id") or ""),
        "points": points,
        "box": box,
        "said": conversation(row.get("conversations")),
    }


def conversation(said: Any) -> Conversation:
    """What a record says. Raises RecordError with a reason that names no single record."""
    try:
        roles, texts = [turn["from"] for turn in said], [turn["value"] for turn in said]
    except (KeyError, TypeError) as error:
        raise RecordError("a record without a conversation") from error
    if not texts or roles != ["human", "gpt"] * (len(texts) // 2) or not all(isinstance(text, str) for text in texts):
        raise RecordError("a record whose conversation is not questions and answers in turn")
    if not all(text.strip() for text in texts):
        raise RecordError("an empty text")
    turns = tuple((placeholder_first(ask), answer) for ask, answer in zip(texts[::2], texts[1::2], strict=True))
    return Conversation(_task(turns[0][0]) if len(turns) == 1 else OWN, turns)


def _task(question: str) -> str:
    """The official task that asks so, or OWN."""
    for task, text in VIDEO_QUESTIONS.items():
        begins, ends = text.split("{history}")
        if question.startswith(begins) and question.endswith(ends):
            return task
    return TASK_OF_QUESTION.get(question, OWN)


def _masks(path: Path) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Image and region id to the mask as COCO RLE; empty where the version has no COCO."""
    if not path.is_file():
        return {}
    try:
        coco = json.loads(path.read_text(encoding="utf-8"))
        names = {image["id"]: image["file_name"] for image in coco["images"]}
        found = {}
        for one in coco["annotations"]:
            said = one["attributes"]
            id = f"{said['project_id']}-{said['task_id']}-{said['annotation_id']}-{said['region_id']}"
            found[names[one["image_id"]], id] = one["segmentation"]
        return found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} is no COCO file of a version: {error!r}; export the data set anew") from error
