"""Whether nano's words are true on photographs: colour, size and place against the pixels, and scores of the category.

python -m benchmarks.words [--model nano] [--out words.json] [--sheet words.png]

One click at the deepest point of each object, and, to tell words from masks, its true mask as the prompt.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import model
from benchmarks.segment.annotator import iou, next_click
from benchmarks.segment.targets import Set, Target, picture, targets
from model import PAM, EncodedImage, Region
from model.prompt import Prompt
from model.training.evaluation import SEEN, read_caption
from model.training.facts import look_at
from model.training.photographs import VIEWS
from model.training.shapes import UNKNOWN

SETS = (Set.COINS, Set.TUNING, Set.TEST)
SHOWN_IN_TRAINING = {name.removeprefix("stereo_") for name in VIEWS}

NAMES = {
    "clock": "clock",
    "cup": "cup",
    "dahlia": "flower",
    "leaf blade": "leaf",
    "lower dahlia": "flower",
    "man": "person",
    "saucer": "plate",
    "star": "star",
    "tree": "tree",
    "yellow bottle": "bottle",
}
"""Objects that nano has a word for. No word is right for the others."""


def name_of(target: Target) -> str:
    """What nano ought to call it."""
    return "coin" if target.set is Set.COINS else NAMES.get(target.name, UNKNOWN)


def judged(region: Region, target: Target, image: np.ndarray) -> dict[str, Any]:
    """What was said of one object, and which of it the pixels bear out."""
    truth, said = look_at(image, target.truth), read_caption(region.words.caption)
    return {
        "iou": round(iou(region.mask, target.truth), 3),
        "category": region.words.category,
        "caption": region.words.caption,
        "scores": {field: round(score, 2) for field, score in region.words.scores.items()},
        **{name: said[name] == getattr(truth, name) for name in SEEN},
    }


def look(pam: PAM) -> list[dict[str, Any]]:
    """Every object, by a click and by its true mask."""
    encoded: dict[str, tuple[np.ndarray, EncodedImage]] = {}
    rows = []
    for target in (target for name in SETS for target in targets(name)):
        if target.picture not in encoded:
            image = picture(target.picture)
            encoded = {target.picture: (image, pam.encode(image))}
        image, seen = encoded[target.picture]
        click = Prompt((next_click(target.truth, np.zeros_like(target.truth)),))
        rows.append(
            {
                "set": group(target),
                "picture": target.picture,
                "object": target.name,
                "name": name_of(target),
                "click": judged(pam.perceive(seen, click), target, image),
                "true mask": judged(pam.perceive(seen, Prompt(mask=target.truth)), target, image),
            }
        )
    return rows


def group(target: Target) -> str:
    """The row of the table that an object belongs to: what training showed is no measure of anything."""
    return "tuning, shown in training" if target.picture in SHOWN_IN_TRAINING else target.set.value


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Per set and prompt: shares of right words, how often the category is right, "object" or wrong, and the mean score
    of wrong ones (null where there is none)."""
    table = {}
    for name in dict.fromkeys(row["set"] for row in rows):
        for prompt in ("click", "true mask"):
            some = [(row["name"], row[prompt]) for row in rows if row["set"] == name]
            wrong = [said["scores"]["category"] for truth, said in some if said["category"] not in (truth, UNKNOWN)]
            table[f"{name}, {prompt}"] = {
                "objects": len(some),
                "iou": _mean([said["iou"] for _, said in some]),
                **{fact: _mean([said[fact] for _, said in some]) for fact in SEEN},
                "object": _mean([said["category"] == UNKNOWN for _, said in some]),
                "named rightly": _mean([said["category"] == truth != UNKNOWN for truth, said in some]),
                "named wrongly": _mean([said["category"] not in (truth, UNKNOWN) for truth, said in some]),
                "score of wrong names": _mean(wrong),
                "score of the category": _mean([said["scores"]["category"] for _, said in some]),
            }
    return table


def _mean(values: list[Any]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """A contact sheet of the outlined photographs, with what was said at a click."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = {(t.picture, t.name): t for name in SETS[1:] for t in targets(name)}
    some = [row for row in rows if row["set"] != Set.COINS]
    figure, axes = pyplot.subplots(-(-len(some) // 7), 7, figsize=(20, 3.1 * -(-len(some) // 7)), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, row in zip(axes.flat, some, strict=False):
        target = found[row["picture"], row["object"]]
        axis.imshow(picture(row["picture"]))
        axis.contour(target.truth, [0.5], colors="lime", linewidths=1)
        said = row["click"]
        text = f"{row['object']}: {said['category']} ({said['scores']['category']:.2f}). {said['caption']}"
        axis.set_title("\n".join(textwrap.wrap(text, 42)), fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=55)
    pyplot.close(figure)


def main(
    name: Annotated[str, typer.Option("--model", help="nano, or the folder of a checkpoint.")] = "nano",
    out: Annotated[Path | None, typer.Option(help="Where the rows go, as JSON.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Where the contact sheet goes, as PNG.")] = None,
) -> None:
    """Print the shares of right words; write rows and pictures where asked to."""
    rows = look(model.load(name, threads=1))
    print(json.dumps(summary(rows), indent=2))
    if out:
        out.write_text(json.dumps({"summary": summary(rows), "objects": rows}, indent=1) + "\n")
    if sheet:
        draw(rows, sheet)


if __name__ == "__main__":
    typer.run(main)
