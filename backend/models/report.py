"""What a training says of the model that it made: figures before and after, on regions that it never trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backend.errors import ModelsError

REPORT = "report.json"

_MAX_BYTES = 64 << 20

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Scores(_Part):
    """One field of the validation regions: for each, how good the old and the new model's answer is, 0..1.

    None where there is nothing to hold the answer against. `before` and `after` are of the same regions, in one order.
    """

    metric: str
    before: tuple[Share | None, ...]
    after: tuple[Share | None, ...]

    @model_validator(mode="after")
    def _parallel(self) -> Scores:
        if len(self.before) != len(self.after):
            raise ValueError(f"before has {len(self.before)} regions, after {len(self.after)}: they must be the same")
        return self

    def pairs(self) -> list[tuple[float, float]]:
        """Before and after of the regions that have both."""
        both = zip(self.before, self.after, strict=True)
        return [(old, new) for old, new in both if old is not None and new is not None]

    def means(self) -> tuple[float, float] | None:
        """The means of `pairs`, before and after; None where there are none."""
        pairs = self.pairs()
        return (sum(old for old, _ in pairs) / len(pairs), sum(new for _, new in pairs) / len(pairs)) if pairs else None


class Validation(_Part):
    """How many regions were held out, or drawn scenes of old things were shown, and their scores by field."""

    regions: int = Field(ge=0)
    fields: dict[str, Scores]


class Data(_Part):
    """Where the data set lies, and how many of its regions trained and validated."""

    path: str
    train: int = Field(ge=0)
    validation: int = Field(ge=0)


class Report(_Part):
    """base: version of the model that was trained further, and compared with. version: of what came out.

    old_words: of things that nobody corrected and the base knew, where such are at hand, as for nano.
    """

    base: str
    version: str
    data: Data
    validation: Validation
    per_class: dict[str, dict[str, Any]] = {}
    old_words: Validation = Validation(regions=0, fields={})


def read_report(path: Path) -> Report:
    """The report in a file; raises ModelsError where there is none, or it is not one."""
    try:
        if (size := path.stat().st_size) > _MAX_BYTES:
            raise ModelsError(f"{path} has {size} bytes, no report has more than {_MAX_BYTES}")
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelsError(
            f"{path} cannot be read ({error.strerror}): name the folder of a finished training"
        ) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelsError(f"{path} is no report of a training: {where}: {first['msg']}") from error
