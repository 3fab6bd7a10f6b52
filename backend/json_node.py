"""One value inside a JSON document that a stranger sent, with the way to it, so that a refusal can name the place."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from backend.errors import RequestError

_SHOWN = 60
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Node:
    """A value and its path, such as `tasks[0].data`; its readers raise RequestError when another thing stands there."""

    value: Any
    path: str = ""

    @classmethod
    def read(cls, body: bytes) -> Node:
        """The document in `body`; RequestError when that is not JSON (NaN and Infinity are not)."""
        try:
            return cls(json.loads(body, parse_constant=_not_a_number))
        except (ValueError, RecursionError) as error:
            raise RequestError(f"the body is not JSON: {error}", code="bad_json") from error

    def __getitem__(self, key: str) -> Node:
        """What stands under `key` of this object, a node of None where nothing does."""
        return Node(self.object().get(key), f"{self.path}.{key}" if self.path else key)

    @property
    def is_missing(self) -> bool:
        return self.value is None

    def object(self) -> Mapping[str, Any]:
        return self.value if isinstance(self.value, dict) else self._refuse("an object")

    def items(self, most: int) -> list[Node]:
        """The nodes of a list of at most `most`; an empty list where nothing stands."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            self._refuse("a list")
        if len(self.value) > most:
            raise RequestError(f"`{self.path}` holds {len(self.value)} items, more than the {most} that are read")
        return [Node(item, f"{self.path}[{index}]") for index, item in enumerate(self.value)]

    def text(self) -> str:
        return self.value if isinstance(self.value, str) else self._refuse("a string")

    def flag(self, default: bool) -> bool:
        if self.value is None:
            return default
        return self.value if isinstance(self.value, bool) else self._refuse("true or false")

    def whole(self, low: int, high: int = _LARGEST_ID) -> int:
        if type(self.value) is not int or not low <= self.value <= high:
            self._refuse(f"a whole number from {low} to {high}")
        return self.value

    def number(self, low: float, high: float, default: float | None = None) -> float:
        if self.value is None and default is not None:
            return default
        if type(self.value) not in (int, float) or not low <= self.value <= high:  # NaN fails the comparison
            self._refuse(f"a number from {low:g} to {high:g}")
        return float(self.value)

    def moment(self) -> datetime:
        """A time in ISO 8601 as an aware datetime in UTC; one that names no zone is taken to be in it."""
        try:
            moment = datetime.fromisoformat(self.value if isinstance(self.value, str) else "")
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError):  # 9999-12-31T23:59:59-23:59 lies in UTC's year 10000
            self._refuse("a time in ISO 8601")

    def _refuse(self, expected: str) -> NoReturn:
        raise RequestError(f"`{self.path or 'the body'}` must be {expected}, got {_shown(self.value)}")


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return "a number of hundreds of digits"
    text = "infinity" if isinstance(value, float) and math.isinf(value) else json.dumps(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _not_a_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")
