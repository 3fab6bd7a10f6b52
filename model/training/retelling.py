"""How well a model tells what happens in clips that it never saw."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from model.fields import video_question
from model.frames import Frame
from model.language import Question
from model.pam import PAM
from model.prompt import Box, Prompt
from model.reading import choose_frames, read
from model.tracking import Tracker
from model.training.clips import DrawnClip, draw_clip
from model.training.data import FACTS
from model.training.story import Story, named

FRAMES = 24
"""Of a clip that is told."""

RATE = 12.0
"""Frames a second, for those that follow the thing."""

_PLACE = "|".join(sorted(FACTS["place"], key=len, reverse=True))
_WAY = re.compile(rf"(?P<verb>stays|stops|moves)\b.*?(?P<way>(?:from|at|in) the (?:{_PLACE})\b[^,]*)")


def halves(seed: int, count: int) -> Iterator[tuple[DrawnClip, list[int], list[int]]]:
    """Clips of a series that no training draws, with the frames of a first half and of what comes after it."""
    for index in range(count):
        clip = draw_clip(seed, index, FRAMES)
        if len(clip.seen) > 1:
            middle = len(clip.seen) // 2
            yield clip, clip.seen[:middle], clip.seen[middle:]


def retell(pam: PAM, seed: int, count: int, *, follow: bool = False) -> dict[str, Any]:
    """The share of captions that are right about what they say, see `judged`.

    Each clip is told in two parts; "later" figures are those of the second part, which is asked about with the caption
    that the model gave the first, and must go on from it.

    follow: whether the model follows the thing by itself, from a box on the first frame, or is given the true masks.
    """
    right: dict[str, list[bool]] = defaultdict(list)
    for part, facts in tellings(pam, seed, count, follow=follow):
        for fact, value in facts.items():
            right[f"{part}{fact}"].append(value)
    means = {name: round(float(np.mean(values)), 3) for name, values in right.items()}
    return {"clips": len(right["way"]), **means}


def tellings(pam: PAM, seed: int, count: int, *, follow: bool = False) -> Iterator[tuple[str, dict[str, bool]]]:
    """What `retell` counts: for each part of each clip, "" or "later, ", and what the caption is right about.

    A part on which the masks show nothing is passed over.
    """
    for clip, *parts in halves(seed, count):
        masks = followed(pam, clip) if follow else clip.masks
        said = ""
        for part, frames in zip(("", "later, "), parts, strict=True):
            if not any(masks[i].any() for i in frames):
                continue
            previous, said = said, told(pam, clip, masks, frames, said)
            yield part, judged(said, clip.story(frames), previous)


def followed(pam: PAM, clip: DrawnClip) -> list[np.ndarray]:
    """The masks that a model finds, from the tight box of the first frame on which the thing is seen."""
    begin = clip.seen[0]
    x, y, w, h = cv2.boundingRect(clip.masks[begin].view(np.uint8))
    tracker, box = Tracker(pam), Prompt(box=Box(x, y, x + w, y + h))
    masks = [np.zeros_like(clip.masks[0])] * begin
    for index in range(begin, len(clip.frames)):
        frame = Frame(index, index / RATE, clip.frames[index])
        masks.append(tracker.step(frame, {"it": box} if index == begin else None).objects["it"].mask)
    return masks


def told(pam: PAM, clip: DrawnClip, masks: Sequence[np.ndarray], frames: Sequence[int], previous: str) -> str:
    """What a model says of these frames, on some of which the thing has to be, after what it said of those before."""
    seen = [i for i in frames if masks[i].any()]
    chosen = [seen[place] for place in choose_frames(len(seen))]
    visual = read(pam, ((clip.frames[i], masks[i]) for i in chosen))
    (said,) = pam.answer(visual, [Question(video_question("en", previous))])
    return said.text


def judged(said: str, story: Story, previous: str) -> dict[str, bool]:
    """In what a caption is right.

    moves: whether it says that the object moves where it does. way: where from and where to, word for word, where it
    moves; where, where it stays. size, colour, category and growth: as they are. goes on: the article and the verb fit
    what was said before.
    """
    truth = story.caption(previous)
    have, want = _parts(said), _parts(truth)
    return {name: have[name] == want[name] for name in want}


def _parts(text: str) -> dict[str, str | None]:
    subject, found = text.partition(",")[0], _WAY.search(text)
    begins = re.match(r"(A|The)\b", text)
    growth = re.search(r"gets (larger|smaller)", text)
    verb = re.search(r"\b((?:still |now )?(?:stays|stops|moves(?: on)?))\b", text)
    return {
        "moves": None if found is None else "moves" if found["verb"] == "moves" else "stays",
        "way": None if found is None else found["way"].partition(" and gets")[0],
        "growth": growth[1] if growth else "",
        "category": named(text) or "object",
        "colour": next((word for word in subject.split() if word in FACTS["colour"]), None),
        "size": next((word for word in subject.split() if word in FACTS["size"]), None),
        "goes on": f"{begins[1] if begins else ''} {verb[1] if verb else ''}",
    }
