"""The one command, `pam-studio`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from backend.errors import BackendError, ExportError
from backend.options import with_settings
from backend.settings import Settings
from backend.weights_cli import app as weights
from model.errors import ModelError
from model.prompt import Point

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Click an object, get its mask, category, explanation and caption: a Label Studio ML backend.",
)

app.add_typer(weights, name="weights")


@app.command()
@with_settings()
def serve(settings: Settings) -> None:
    """Start the backend."""
    from backend.serve import serve as run

    run(settings)


@app.command()
@with_settings("data_dir", "label_studio_url", "max_image_pixels")
def export(
    settings: Settings,
    project: Annotated[int, typer.Option(help="Id of the project, as in Label Studio's address bar.")],
    out: Annotated[Path, typer.Option(help="Folder of the data set; an older one there is replaced as a whole.")],
) -> None:
    """Write what annotators corrected as training records: PAM's JSONL, COCO, and the images."""
    from rich.progress import Progress

    from backend import pictures
    from backend.connections import Connections
    from backend.export import export as run
    from backend.ledger import Ledger

    with Ledger(settings.data_dir / "ledger.sqlite") as ledger, Progress(transient=True) as bars:
        studio = Connections(settings, ledger).of(project)
        if studio is None:
            raise ExportError(
                f"{ledger.path} knows nothing of project {project}: set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, or "
                "name the --data-dir of the backend that the project is connected to"
            )
        limits = pictures.FetchLimits(settings.max_image_bytes, settings.image_timeout)
        bar = bars.add_task("", total=None)
        report = run(
            project,
            out,
            ledger,
            studio,
            lambda address, task: pictures.fetch(address, task, studio, limits),
            lambda step, done: bars.update(bar, description=f"{step}: {done}"),
            max_pixels=settings.max_image_pixels,
        )
    print(report.summary())


@app.command()
@with_settings(
    "model",
    "device",
    "dtype",
    "threads",
    "language",
    "caption",
    "max_new_tokens",
    "temperature",
    "top_p",
    "max_image_pixels",
)
def predict(
    settings: Settings,
    photo: Annotated[Path, typer.Argument(help="The picture, in any usual format.", exists=True, dir_okay=False)],
    point: Annotated[list[str], typer.Option(metavar="X,Y", help="A click on the object, in pixels.")] = [],  # noqa: B006
    negative: Annotated[list[str], typer.Option(metavar="X,Y", help="A click beside the object.")] = [],  # noqa: B006
    box: Annotated[str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the object.")] = None,
    labels: Annotated[str | None, typer.Option(metavar="A,B,C", help="What the category is chosen from.")] = None,
    ask: Annotated[list[str], typer.Option(metavar="TEXT", help="A question of your own; may be repeated.")] = [],  # noqa: B006
    save: Annotated[Path | None, typer.Option(help="Draw mask, box, clicks and words to this picture.")] = None,
) -> None:
    """Segment and describe one object of a picture, without Label Studio; prints JSON."""
    import model
    from backend import masks, overlay, pictures
    from backend.assembly import word_options
    from model import fields
    from model.vocabulary import check_labels

    prompt = model.Prompt(
        tuple(click("--point", text, positive=True) for text in point)
        + tuple(click("--negative", text, positive=False) for text in negative),
        model.Box(*numbers("--box", box, 4)) if box else None,
    )
    if save and save.suffix.lower() not in overlay.FORMATS:
        raise typer.BadParameter(f"{save.suffix or 'no suffix'!r} names no picture format", param_hint="--save")
    listed = None if labels is None else [label.strip() for label in labels.split(",")]
    if listed is not None:
        check_labels(listed)
    questions = [fields.ask(text) for text in ask]
    image = pictures.decode(photo.read_bytes(), settings.max_image_pixels)
    prompt.check(*image.shape[:2])
    pam = model.load(settings.model, device=settings.device, dtype=settings.dtype, threads=settings.threads)
    options = word_options(settings)
    began = time.monotonic()
    found = pam.segment(pam.encode(image), prompt)
    region = model.Region(
        found.mask, found.score, found.object_score, pam.describe(found, listed, options), pam.version
    )
    seconds = time.monotonic() - began
    answers = pam.ask(found, questions, options.decoding) if questions else []
    if save:
        overlay.draw(image, prompt, region).save(save)
    said = {
        "category": region.words.category,
        "explanation": region.words.explanation,
        "caption": region.words.caption,
        "scores": {"mask": round(region.score, 4), "object": round(region.object_score, 4)}
        | {field: round(score, 4) for field, score in region.words.scores.items()},
        "box": [int(v) for v in masks.bounding_box(region.mask)],
        "area": int(region.mask.sum()),
        "mask": {"size": list(region.mask.shape), "counts": masks.to_coco_rle(region.mask)},
        "model_version": region.model_version,
        "seconds": round(seconds, 3),
    }
    if listed is not None:
        ranking = pam.rank(found, listed, settings.language)
        pairs = zip(ranking.labels, ranking.probabilities, strict=True)
        said["labels"] = {label: round(probability, 4) for label, probability in pairs}
    if answers:
        said["answers"] = [
            {"question": text, "answer": answer.text, "score": round(answer.score, 4)}
            for text, answer in zip(ask, answers, strict=True)
        ]
    print(json.dumps(said, ensure_ascii=False, indent=2))


def click(option: str, text: str, positive: bool) -> Point:
    """A click that was written as X,Y."""
    x, y = numbers(option, text, 2)
    return Point(x, y, positive)


def numbers(option: str, text: str, count: int) -> list[float]:
    """Comma-separated numbers of an option; exits with a usage error when they are not `count`."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise typer.BadParameter(f"expected {count} numbers separated by commas, got {text!r}", param_hint=option)
    return values


def main() -> None:
    """Run the command; an error that was foreseen is one line, not a traceback."""
    try:
        app()
    except (BackendError, ModelError, OSError) as error:
        print(f"pam-studio: {error}", file=sys.stderr)
        sys.exit(1)
