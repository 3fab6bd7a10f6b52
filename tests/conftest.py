"""What all tests share."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow at times, and no test is about time.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, those of a file stay together, as do all that share the one Label Studio."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("demo" if _shared(item) else item.nodeid.partition("::")[0]))
    # The longest of all groups begins first, or the others would wait for it in the end.
    items.sort(key=lambda item: not _shared(item))


def _shared(item: pytest.Item) -> bool:
    return "demo" in getattr(item, "fixturenames", ())
