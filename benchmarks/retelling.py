"""What nano says of clips: drawn ones that no training shows, told in two parts, the second going on from the first.

    python -m benchmarks.retelling [--clips 100] [--base nano] [--sheet clips.png]

Prints, for true masks and for masks that the model follows by itself from a box, the share of captions that are right
about where the thing moves, about its growth and its looks, and whether the second goes on from the first. A model that
always says the commonest thing is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from collections import Counter

import cv2
import numpy as np

import model
from model import PAM
from model.training.retelling import followed, halves, retell, told

SERIES = 1_000_031
"""Of drawn clips that nothing is trained, fitted or chosen on."""

SHOWN = 6


def commonest(clips: int) -> dict[str, float]:
    """How often the commonest answers would be right."""
    stories = [clip.story(frames) for clip, *parts in halves(SERIES, clips) for frames in parts]
    return {
        name: round(Counter(values).most_common(1)[0][1] / len(values), 3)
        for name, values in {
            "moves": [story.moves for story in stories],
            "way": [story.way for story in stories],
            "growth": [story.growth for story in stories],
            "category": [story.facts.category for story in stories],
        }.items()
    }


def sheet(pam: PAM, path: pathlib.Path) -> None:
    """Some of the clips as they were followed, what is said of them, and what is true."""
    rows = []
    for clip, *parts in halves(SERIES, SHOWN):
        masks, said = followed(pam, clip), ""
        for frames in parts:
            if any(masks[i].any() for i in frames):
                previous, said = said, told(pam, clip, masks, frames, said)
                rows.append(_row(clip.frames, masks, frames, said, clip.story(frames).caption(previous)))
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def _row(frames: tuple, masks: list, which: list[int], said: str, truth: str) -> np.ndarray:
    tiles = []
    for place in np.linspace(0, len(which) - 1, 5).round().astype(int):
        image = frames[which[place]].copy()
        outlines, _ = cv2.findContours(masks[which[place]].view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        tiles.append(cv2.resize(cv2.drawContours(image, outlines, -1, (255, 0, 255), 2), (192, 192)))
    text = np.full((44, 192 * len(tiles), 3), 255, np.uint8)
    for line, words in enumerate((f"nano: {said}", f"true: {truth}")):
        cv2.putText(text, words, (6, 17 + 19 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([text, np.hstack(tiles)])


def main() -> None:
    """Tell, print, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--base", default="nano")
    parser.add_argument("--sheet", type=pathlib.Path, help="a picture of some of them")
    given = parser.parse_args()
    pam = model.load(given.base, threads=1)
    found = {
        "true masks": retell(pam, SERIES, given.clips),
        "followed": retell(pam, SERIES, given.clips, follow=True),
        "commonest": commonest(given.clips),
    }
    print(json.dumps(found, indent=1))
    if given.sheet:
        sheet(pam, given.sheet)


if __name__ == "__main__":
    main()
