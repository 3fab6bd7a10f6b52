"""Text that grows while a video plays: each line is on the disk as soon as it is known."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self, TextIO

from backend.masks import to_coco_rle
from model.narration import Event, Step


class Lines:
    """A text file, or the standard output."""

    def __init__(self, path: Path | None):
        """Raises OSError where the file cannot be written."""
        self._out: TextIO = sys.stdout if path is None else path.open("w", encoding="utf-8", newline="\n")
        self._context: Any = nullcontext() if path is None else self._out

    def put(self, text: str) -> None:
        """Write a line, and have it read by whoever follows the file."""
        self._out.write(text + "\n")
        self._out.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: Any) -> None:
        self._context.__exit__(*problem)


class Captions(Lines):
    """One JSON object for each event: first and last frame from 0, begin and end in seconds, the words, their scores,
    why the event ended, and how long its words took."""

    def write(self, step: Step) -> None:
        """See `Writer.write`."""
        for event in step.events:
            said = {
                "first": event.first,
                "last": event.last,
                "begin": round(event.begin, 3),
                "end": round(event.end, 3),
                "category": event.words.category,
                "explanation": event.words.explanation,
                "caption": event.words.caption,
                "scores": {name: round(score, 4) for name, score in event.words.scores.items()},
                "reason": event.reason,
                "delay": round(event.delay, 3),
            }
            self.put(json.dumps(said, ensure_ascii=False))


class Masks(Lines):
    """One JSON object for each frame: its number from 0, the tight box [x0, y0, x1, y1] in pixels or null, the mask as
    COCO RLE, and the score."""

    def write(self, step: Step) -> None:
        """See `Writer.write`."""
        if step.is_end:
            return
        (found,) = step.masks.objects.values()
        said = {
            "frame": step.frame.index,
            "box": None if found.box is None else [int(v) for v in found.box],
            "rle": {"size": list(found.mask.shape), "counts": to_coco_rle(found.mask)},
            "score": round(found.score, 4),
        }
        self.put(json.dumps(said))


class Subtitles(Lines):
    """Captions as SubRip or WebVTT."""

    def __init__(self, path: Path, *, vtt: bool):
        super().__init__(path)
        self._vtt, self._count = vtt, 0
        if vtt:
            self.put("WEBVTT\n")

    def write(self, step: Step) -> None:
        """See `Writer.write`."""
        for event in step.events:
            self._count += 1
            self.put(f"{self._count}\n{self._at(event.begin)} --> {self._at(_end(event))}\n{self._text(event)}\n")

    def _at(self, seconds: float) -> str:
        total = max(0, round(1000 * seconds))
        minutes, rest = divmod(total, 60_000)
        whole, thousandths = divmod(rest, 1000)
        comma = "." if self._vtt else ","
        return f"{minutes // 60:02}:{minutes % 60:02}:{whole:02}{comma}{thousandths:03}"

    def _text(self, event: Event) -> str:
        # An empty line would end the cue, an arrow begin another; WebVTT reads the rest as markup.
        text = " ".join(event.words.caption.split()).replace("-->", "→") or event.words.category
        return text.replace("&", "&amp;").replace("<", "&lt;") if self._vtt else text


def _end(event: Event) -> float:
    """A cue of no length is never shown."""
    return max(event.end, event.begin + 0.04)
