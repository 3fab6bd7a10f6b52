"""The state of an annotation as one row keeps it, and which of two states is the later."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta

from backend.webhook_event import Annotation

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def order_of(annotation: Annotation) -> tuple[int, str]:
    """What decides which of two states of an annotation is the later: `updated_at` in microseconds, then the body,
    where Label Studio gave both one time, so that the order of arrival never matters."""
    fields = dict(vars(annotation))  # not asdict, which would copy every number of every mask
    for key in ("created_at", "updated_at"):
        fields[key] = fields[key].astimezone(UTC).isoformat()
    return microseconds(annotation.updated_at), json.dumps(fields, sort_keys=True)


def order_of_row(row: sqlite3.Row) -> tuple[int, str]:
    """What `order_of` said of the state that a row holds."""
    return row["updated_at"], row["body"]


def from_body(body: str) -> Annotation:
    """The annotation in the body that `order_of` made; fields that its PAM Studio did not know have their defaults."""
    fields = json.loads(body)
    for key in ("created_at", "updated_at"):
        fields[key] = datetime.fromisoformat(fields[key])
    return Annotation(**fields)


def microseconds(moment: datetime) -> int:
    """Microseconds from 1970 to an aware moment."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
