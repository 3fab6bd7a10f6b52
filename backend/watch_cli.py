"""The command `pam-studio watch`: an object of a video or stream is followed and described while it plays."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.options import OF_A_MODEL, with_settings
from backend.settings import Settings

if TYPE_CHECKING:
    from model.prompt import Prompt


@with_settings(*OF_A_MODEL)
def watch(
    settings: Settings,
    source: Annotated[
        str,
        typer.Argument(
            help="A video file, a folder of pictures, an rtsp, rtmp, srt or http address, or a camera: camera:0, "
            "/dev/video0, v4l2:/dev/video0, dshow:video=NAME."
        ),
    ],
    box: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(metavar="X0 Y0 X1 Y1", help="A box around the object on the first frame, in pixels."),
    ] = None,
    click: Annotated[
        tuple[float, float] | None, typer.Option(metavar="X Y", help="Or a click on the object, in pixels.")
    ] = None,
    labels: Annotated[str | None, typer.Option(metavar="A,B,C", help="What the category is chosen from.")] = None,
    captions: Annotated[
        Path | None, typer.Option(help="JSON Lines, one for each caption; printed where this is not given.")
    ] = None,
    srt: Annotated[Path | None, typer.Option(help="The captions as SubRip subtitles.")] = None,
    vtt: Annotated[Path | None, typer.Option(help="The captions as WebVTT subtitles.")] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="JSON Lines, one for each frame: frame from 0, box in pixels or null, COCO rle, score."),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="An annotated video, such as out.mp4.")] = None,
    ends: Annotated[
        str,
        typer.Option(
            metavar="fixed|change",
            help="When a caption is due: every --seconds, or where the object changes how it looks or moves, goes or "
            "comes back.",
        ),
    ] = "change",
    seconds: Annotated[float, typer.Option(help="Longest stretch that one caption is about.")] = 8.0,
    rate: Annotated[float, typer.Option(help="Frames per second of a folder of pictures.")] = 25.0,
    drop: Annotated[
        bool | None,
        typer.Option(
            "--drop/--keep",
            help="Skip frames that come faster than they can be followed, or make the source wait.",
            show_default="drop where the source is live",
        ),
    ] = None,
    patience: Annotated[float, typer.Option(help="Seconds to wait for a live source that went away.")] = 30.0,
    stop_after: Annotated[float | None, typer.Option(metavar="SECONDS", help="Stop after so much of it.")] = None,
) -> None:
    """Follow an object through a video or a live stream, and say what happens to it, event by event.

    Point at it on the first frame with --box or --click. Each caption comes when its event is over. Ctrl-C stops, and
    everything written until then stands.
    """
    if (box is None) == (click is None):
        raise typer.BadParameter("point at the object once: with --box X0 Y0 X1 Y1 or with --click X Y")
    for option, path in (("captions", captions), ("srt", srt), ("vtt", vtt), ("masks", masks), ("save", save)):
        if path is not None and not path.absolute().parent.is_dir():
            raise typer.BadParameter(f"there is no folder {path.parent}", param_hint=f"--{option}")
    if ends not in ("fixed", "change"):
        raise typer.BadParameter(f"expected fixed or change, got {ends!r}", param_hint="--ends")
    for option, value in (("seconds", seconds), ("rate", rate), ("patience", patience)):
        if not value > 0:
            raise typer.BadParameter(f"expected a number above 0, got {value:g}", param_hint=f"--{option}")

    import model  # brings in PyTorch: what is wrong above should be said before
    from backend import watching
    from backend.assembly import word_options
    from model.events import NarrationOptions
    from model.frames import FrameLimits, open_stream
    from model.narration import narrate
    from model.vocabulary import check_labels

    listed = None if labels is None else [label.strip() for label in labels.split(",")]
    if listed is not None:
        check_labels(listed)
    options = NarrationOptions(ends, seconds, min(0.6, seconds))  # type: ignore[arg-type]
    prompt: Prompt = (
        model.Prompt(box=model.Box(*box)) if box else model.Prompt(points=(model.Point(*click),))  # type: ignore[misc]
    )
    with ExitStack() as open_things:
        stream = open_things.enter_context(
            open_stream(source, FrameLimits(settings.max_image_pixels), rate=rate, drop=drop, patience=patience)
        )
        pam = model.load(settings.model, device=settings.device, dtype=settings.dtype, threads=settings.threads)
        writers = watching.writers(captions, srt, vtt, masks, save)
        for writer in writers:
            open_things.enter_context(writer)
        steps = narrate(pam, stream, {watching.OBJECT: prompt}, options, listed, word_options(settings))
        open_things.callback(steps.close)
        try:
            watching.play(steps, stream, writers, stop_after)
        except KeyboardInterrupt:
            print("pam-studio: stopped; what was written stands", file=sys.stderr)
            raise typer.Exit(130) from None
