"""What words are worth on photographs: do colour, size and place agree with the pixels under the outlined object?

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
from benchmarks.proposals import Target, deepest, iou, photograph, targets
from model import PAM, EncodedImage, Region
from model.prompt import Point, Prompt
from model.training.evaluation import SEEN, read_caption
from model.training.facts import look_at
from model.training.shapes import UNKNOWN


def judged(region: Region, target: Target, image: np.ndarray) -> dict[str, Any]:
    """What was said of one object, and which of it the pixels bear out."""
    truth, said = look_at(image, target.truth), read_caption(region.words.caption)
    return {
        "iou": round(iou(region.mask, target.truth), 3),
        "words": [region.words[field] for field in ("category", "caption")],
        "scores": {field: round(score, 2) for field, score in region.words.scores.items()},
        **{name: said[name] == getattr(truth, name) for name in SEEN},
    }


def look(pam: PAM) -> list[dict[str, Any]]:
    """Every object, by a click and by its true mask."""
    encoded: dict[str, tuple[np.ndarray, EncodedImage]] = {}
    rows = []
    for target in targets():
        if target.photo not in encoded:
            image = photograph(target.photo)
            encoded = {target.photo: (image, pam.encode(image))}
        image, seen = encoded[target.photo]
        x, y, _ = deepest(target.truth)
        rows.append(
            {
                "group": target.group,
                "photo": target.photo,
                "object": target.name,
                "click": judged(pam.perceive(seen, Prompt((Point(x, y),))), target, image),
                "true mask": judged(pam.perceive(seen, Prompt(mask=target.truth)), target, image),
            }
        )
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Shares per group and prompt; "object" is the share of things that nano gives no name."""
    table = {}
    for group in dict.fromkeys(row["group"] for row in rows):
        for prompt in ("click", "true mask"):
            some = [row[prompt] for row in rows if row["group"] == group]
            table[f"{group}, {prompt}"] = {
                "objects": len(some),
                "iou": round(float(np.mean([row["iou"] for row in some])), 3),
                **{name: round(float(np.mean([row[name] for row in some])), 3) for name in SEEN},
                "object": round(float(np.mean([row["words"][0] == UNKNOWN for row in some])), 3),
                "category score": round(float(np.mean([row["scores"]["category"] for row in some])), 3),
            }
    return table


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """A contact sheet of the outlined photographs, with what was said at a click."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = {(t.photo, t.name): t for t in targets() if t.group != "coins"}
    some = [row for row in rows if row["group"] != "coins"]
    figure, axes = pyplot.subplots(-(-len(some) // 5), 5, figsize=(16, 3.4 * -(-len(some) // 5)), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, row in zip(axes.flat, some, strict=False):
        target = found[row["photo"], row["object"]]
        axis.imshow(photograph(row["photo"]))
        axis.contour(target.truth, [0.5], colors="lime", linewidths=1)
        said = row["click"]
        text = f"{row['object']}: {said['words'][1]} ({said['scores']['category']:.2f})"
        axis.set_title("\n".join(textwrap.wrap(text, 42)), fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=60)
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
        out.write_text(json.dumps({"summary": summary(rows), "objects": rows}, indent=1))
    if sheet:
        draw(rows, sheet)


if __name__ == "__main__":
    typer.run(main)
