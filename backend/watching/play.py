"""Going through a stream, and telling everyone who writes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from backend.watching.annotated import AnnotatedVideo
from backend.watching.lines import Captions, Masks, Subtitles
from backend.watching.writer import Writer
from model.frames import Stream
from model.narration import Step

OBJECT = "object"
"""The key of the one object that is watched."""


def writers(
    captions: Path | None, srt: Path | None, vtt: Path | None, masks: Path | None, save: Path | None
) -> list[Writer]:
    """Those that were asked for; captions go to the standard output where no file is given. Raises OSError."""
    found: list[Writer] = [Captions(captions)]
    found += [Subtitles(path, vtt=path is vtt) for path in (srt, vtt) if path is not None]
    if masks is not None:
        found.append(Masks(masks))
    if save is not None:
        found.append(AnnotatedVideo(save))
    return found


def play(steps: Iterator[Step], stream: Stream, writers: Sequence[Writer], stop_after: float | None) -> None:
    """Write every step as it comes, with progress on the standard error."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    began, first = time.monotonic(), None
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("frames", total=stream.length)
        for count, step in enumerate(steps, start=1):
            for writer in writers:
                writer.write(step)
            rate = count / max(time.monotonic() - began, 1e-6)
            lost = f", {stream.dropped} dropped" if stream.dropped else ""
            lost += f", reconnected {stream.reconnects} x" if stream.reconnects else ""
            progress.update(task, completed=step.frame.index + 1, description=f"{rate:.1f} frames/s{lost}")
            first = step.frame.time if first is None else first
            if stop_after is not None and step.frame.time - first >= stop_after:
                stream.close()  # the narration then ends of itself, and tells its last event
    if stream.dropped:
        print(
            f"pam-studio: {stream.dropped} frames were dropped: they came faster than they could be followed",
            file=sys.stderr,
        )
