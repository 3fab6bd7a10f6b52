"""The labelling config, read: which tags an annotator points with, and where masks and words go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Control:
    """A tag that draws regions.

    type: as in Label Studio results: "keypointlabels", "rectanglelabels", "brushlabels", "brush" or "polygonlabels".
    """

    name: str
    type: str
    labels: tuple[str, ...]
    smart: bool


@dataclass(frozen=True)
class WordField:
    """Where one of the words of a region goes.

    kind:    "textarea", "choices", "taxonomy", or "label" when the category is the label of the mask itself.
    options: what may be said, empty for "textarea"; a path from the root for "taxonomy", else of length one.
    """

    name: str
    kind: Literal["textarea", "choices", "taxonomy", "label"]
    options: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class LabelingConfig:
    """What PAM Studio needs to know of a project's labelling config.

    image:    name of the Image tag (`to_name` of every result).
    data_key: key of the task's data that holds the image's address.
    prompts:  the controls whose drawings are prompts.
    output:   the control that masks are answered with.
    words:    field ("category", "explanation", "caption") to the tag that holds it; a field without a tag is left out.
    """

    image: str
    data_key: str
    prompts: tuple[Control, ...]
    output: Control
    words: Mapping[str, WordField]
