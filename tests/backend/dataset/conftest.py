"""What tests of a data set share."""

from __future__ import annotations

import pytest

from backend.dataset.formats import contact_sheet, histograms


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions without contact sheet and histograms: drawing them takes longer than all the rest of a small one."""
    for module in (contact_sheet, histograms):
        monkeypatch.setattr(module, "finish", lambda folder, shards, facts, parent=None: [])
