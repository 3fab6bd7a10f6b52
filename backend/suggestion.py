"""What the model answered to one prompt, as it is kept for the annotator's correction to be compared with."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

import numpy as np

from model.prompt import Box, Point
from model.region import FIELDS


@dataclass(frozen=True)
class Suggestion:
    """One suggested region and how it came about.

    region_id:     the id that Label Studio carries from the suggestion to its correction.
    points, box:   the prompt, in pixels of the upright image.
    mask_rle:      `counts` of the mask's COCO RLE, whose size is [height, width].
    score:         predicted IoU of the mask, 0..1.
    word_scores:   field to mean token probability, 0..1.
    image_sha256:  of the image file's bytes.
    seconds:       from request to answer.
    offered:       field to text as the screen showed it, which leaves out what the project has no field for and what is
                   in none of its lists; None where that was not kept.
    offered_rle:   the mask as the screen showed it, where that is not `mask_rle`: a polygon or a rectangle round it.
    embedding:     of the region, as `to_text` writes it; None where that was not kept.
    sources:       field to whose word it is, "model", "memory" or "annotator" (said while the suggestion was open); the
                   model's where nothing is said.
    fitted_to:     the category that the annotator gave it and that its other words were then redone to fit; `offered`
                   has them. "" where they are of `category`.
    own:           categories to how probable the model alone takes them to be, 0..1, the likeliest few.
    unasked:       whether nobody pointed: the region was found by itself, and `points` is its middle.
    """

    region_id: str
    project_id: int
    task_id: int
    points: tuple[Point, ...]
    box: Box | None
    mask_rle: str
    height: int
    width: int
    category: str
    explanation: str
    caption: str
    score: float
    word_scores: Mapping[str, float]
    model_version: str
    image_address: str
    image_sha256: str
    seconds: float
    created_at: datetime
    offered: Mapping[str, str] | None = None
    offered_rle: str | None = None
    embedding: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    fitted_to: str = ""
    own: Mapping[str, float] = field(default_factory=dict)
    unasked: bool = False

    def __getitem__(self, field: str) -> str:
        """The model's text for one of FIELDS."""
        if field not in FIELDS:
            raise KeyError(field)
        return getattr(self, field)

    def to_json(self) -> str:
        """All fields, as one line of ASCII."""
        return json.dumps(asdict(self) | {"created_at": self.created_at.isoformat()})

    @classmethod
    def from_json(cls, text: str) -> Suggestion:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        fields["points"] = tuple(Point(*point) for point in fields["points"])
        fields["box"] = fields["box"] and Box(*fields["box"])
        fields["created_at"] = datetime.fromisoformat(fields["created_at"])
        return cls(**fields)


def to_text(embedding: np.ndarray) -> str:
    """A vector, float (E,), in base64, rounded to float16."""
    return base64.b64encode(embedding.astype("<f2").tobytes()).decode()


def from_text(text: str) -> np.ndarray:
    """The inverse of `to_text`: float16 (E,)."""
    return np.frombuffer(base64.b64decode(text), "<f2")
