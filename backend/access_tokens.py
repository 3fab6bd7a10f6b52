"""What a token of Label Studio says of itself, where it is a JWT."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any


def claims(token: str) -> dict[str, Any]:
    """What a JWT says of itself; empty for a token of another kind. The server checks it, we only need its kind."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def lifetime(token: str, otherwise: float) -> float:
    """Seconds that a JWT lives, by its own two times, as the clocks of two machines need not agree; or `otherwise`."""
    found = claims(token)
    try:
        return float(found["exp"]) - float(found["iat"])
    except (KeyError, TypeError, ValueError):
        return otherwise
