"""The command `pam-studio predict`: one object of a picture, without Label Studio."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.options import OF_A_MODEL, with_settings
from backend.settings import Settings

if TYPE_CHECKING:
    from model import Region
    from model.vocabulary import Ranking

LABELS_SHOWN = 10
"""Of a closed list, the likeliest ones."""


@with_settings(*OF_A_MODEL)
def predict(
    settings: Settings,
    photo: Annotated[Path, typer.Argument(help="The picture, in any usual format.", exists=True, dir_okay=False)],
    point: Annotated[
        list[str], typer.Option(metavar="X,Y", help="A click on the object, in pixels; may be repeated.")
    ] = [],  # noqa: B006
    negative: Annotated[
        list[str], typer.Option(metavar="X,Y", help="A click beside the object; may be repeated.")
    ] = [],  # noqa: B006
    box: Annotated[str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the object, in pixels.")] = None,
    labels: Annotated[str | None, typer.Option(metavar="A,B,C", help="What the category is chosen from.")] = None,
    ask: Annotated[
        list[str],
        typer.Option(metavar="TEXT", help="A question of your own, for large models; may be repeated."),
    ] = [],  # noqa: B006
    save: Annotated[Path | None, typer.Option(help="Draw mask, box, clicks and words to this picture.")] = None,
) -> None:
    """Segment and describe one object of a picture, without Label Studio; prints JSON.

    With --labels it says how likely each label is (the likeliest ten, given that it is one of the list), and under
    `coverage` how likely the model would have said any of them by itself: low where none fits.
    """
    clicks = [(numbers("--point", text, 2), True) for text in point]
    clicks += [(numbers("--negative", text, 2), False) for text in negative]
    corners = numbers("--box", box, 4) if box else None
    if save and not save.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {save.parent}", param_hint="--save")

    import model  # brings in PyTorch: what is wrong above should be said before
    from backend import overlay, pictures
    from backend.assembly import word_options
    from model import fields
    from model.vocabulary import check_labels

    if save and save.suffix.lower() not in overlay.FORMATS:
        raise typer.BadParameter(f"{save.suffix or 'no suffix'!r} names no picture format", param_hint="--save")
    listed = None if labels is None else [label.strip() for label in labels.split(",")]
    if listed is not None:
        check_labels(listed)
    for text in ask:
        fields.ask(text)  # what cannot be asked is said before the model is loaded
    image = pictures.decode(photo.read_bytes(), settings.max_image_pixels)
    points = tuple(model.Point(x, y, positive) for (x, y), positive in clicks)
    prompt = model.Prompt(points, model.Box(*corners) if corners else None)
    prompt.check(*image.shape[:2])
    pam = model.load(settings.model, device=settings.device, dtype=settings.dtype, threads=settings.threads)
    options = word_options(settings)
    began = time.monotonic()
    found = pam.segment(pam.encode(image), prompt)
    words = pam.describe(found, listed, options)
    seconds = time.monotonic() - began
    region = model.Region(found.mask, found.score, found.object_score, words, pam.version)
    said = as_json(region, seconds)
    if ask:
        said["answers"] = [
            {"question": text, "answer": answer.text, "score": round(answer.score, 4)}
            for text, answer in zip(ask, pam.ask(found, ask, options.decoding), strict=True)
        ]
    print(json.dumps(said, ensure_ascii=False, indent=2))
    if save:
        overlay.draw(image, prompt, region).save(save)


def as_json(region: Region, seconds: float) -> dict[str, Any]:
    """What is printed of a region, as plain JSON types; the mask as COCO RLE."""
    from backend import masks

    scores = {"mask": region.score, "object": region.object_score} | region.words.scores
    said = {
        "category": region.words.category,
        "explanation": region.words.explanation,
        "caption": region.words.caption,
        "scores": {name: round(score, 4) for name, score in scores.items()},
        "box": [int(v) for v in masks.bounding_box(region.mask)],
        "area": int(region.mask.sum()),
        "mask": {"size": list(region.mask.shape), "counts": masks.to_coco_rle(region.mask)},
        "model_version": region.model_version,
        "seconds": round(seconds, 3),
    }
    return said if region.words.ranking is None else said | _of_list(region.words.ranking)


def _of_list(ranking: Ranking) -> dict[str, Any]:
    likeliest = list(zip(ranking.labels, ranking.probabilities, strict=True))[:LABELS_SHOWN]
    return {
        "labels": {label: round(probability, 4) for label, probability in likeliest},
        "coverage": round(ranking.coverage, 4),
    }


def numbers(option: str, text: str, count: int) -> list[float]:
    """Comma-separated numbers of an option; exits with a usage error when they are not `count`."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise typer.BadParameter(f"expected {count} numbers separated by commas, got {text!r}", param_hint=option)
    return values
