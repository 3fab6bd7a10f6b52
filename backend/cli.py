"""The one command, `pam-studio`."""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr, ValidationError

from backend.errors import BackendError, ExportError
from backend.settings import Settings
from model.errors import ModelError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Click an object, get its mask, category, explanation and caption: a Label Studio ML backend.",
)


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each of these settings (all of them when none is named), help and all.

    The command takes a Settings first; an option that is not given leaves it to the environment and the default. Secrets
    get no option: a command line is no place for them.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        fields = {
            name: field
            for name, field in Settings.model_fields.items()
            if (not names or name in names) and "SecretStr" not in str(field.annotation)
        }
        options = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    str | None,
                    typer.Option(help=field.description, metavar=_kind(field.annotation), show_default=_shown(field.default)),
                ],
            )
            for name, field in fields.items()
        ]

        def run(**given: Any) -> None:
            chosen = {name: given.pop(name) for name in fields}
            command(read_settings({k: v for k, v in chosen.items() if v is not None}), **given)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + options
        )
        return run

    return decorate


def read_settings(options: dict[str, str]) -> Settings:
    """Settings from options, environment and defaults; exits with one line for each that is wrong."""
    try:
        return Settings(**options)
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            print(f"pam-studio: {'.'.join(map(str, problem['loc']))}: {problem['msg']}", file=sys.stderr)
        raise typer.Exit(2) from None


@app.command()
@with_settings()
def serve(settings: Settings) -> None:
    """Start the backend."""
    from backend.serve import serve as run

    run(settings)


@app.command()
@with_settings("data_dir", "label_studio_url")
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
        )
    print(report.summary())


@app.command()
@with_settings("model", "device", "threads", "max_image_pixels")
def predict(
    settings: Settings,
    photo: Annotated[Path, typer.Argument(help="The picture, in any usual format.", exists=True, dir_okay=False)],
    point: Annotated[list[str], typer.Option(metavar="X,Y", help="A click on the object, in pixels.")] = [],  # noqa: B006
    negative: Annotated[list[str], typer.Option(metavar="X,Y", help="A click beside the object.")] = [],  # noqa: B006
    box: Annotated[str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the object.")] = None,
    save: Annotated[Path | None, typer.Option(help="Draw mask, box, clicks and words to this picture.")] = None,
) -> None:
    """Segment and describe one object of a picture, without Label Studio; prints JSON."""
    import model
    from backend import masks, overlay, pictures

    prompt = model.Prompt(
        tuple(model.Point(*numbers("--point", p, 2)) for p in point)
        + tuple(model.Point(*numbers("--negative", n, 2), positive=False) for n in negative),
        model.Box(*numbers("--box", box, 4)) if box else None,
    )
    image = pictures.decode(photo.read_bytes(), settings.max_image_pixels)
    prompt.check(*image.shape[:2])
    pam = model.load(settings.model, device=settings.device, threads=settings.threads)
    began = time.monotonic()
    region = pam.perceive(pam.encode(image), prompt)
    seconds = time.monotonic() - began
    if save:
        overlay.draw(image, prompt, region).save(save)
    print(
        json.dumps(
            {
                "category": region.words.category,
                "explanation": region.words.explanation,
                "caption": region.words.caption,
                "scores": {"mask": round(region.score, 4)}
                | {field: round(score, 4) for field, score in region.words.scores.items()},
                "box": [int(v) for v in masks.bounding_box(region.mask)],
                "area": int(region.mask.sum()),
                "mask": {"size": list(region.mask.shape), "counts": masks.to_coco_rle(region.mask)},
                "model_version": region.model_version,
                "seconds": round(seconds, 3),
            },
            ensure_ascii=False,
            indent=2,
        )
    )


def numbers(option: str, text: str, count: int) -> list[float]:
    """Comma-separated numbers of an option; exits with a usage error when they are not `count`."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise typer.BadParameter(f"expected {count} numbers separated by commas, got {text!r}", param_hint=option)
    return values


def _kind(annotation: Any) -> str:
    return {int: "INTEGER", float: "NUMBER", Path: "PATH"}.get(annotation, "TEXT")


def _shown(default: Any) -> str | bool:
    return False if default is None or isinstance(default, SecretStr) else str(default)


def main() -> None:
    """Run the command; an error that was foreseen is one line, not a traceback."""
    try:
        app()
    except (BackendError, ModelError, OSError) as error:
        print(f"pam-studio: {error}", file=sys.stderr)
        sys.exit(1)
