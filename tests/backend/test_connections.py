"""Which token goes where."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.connections import Connections
from backend.ledger import Ledger, Project
from backend.settings import Settings


@pytest.mark.parametrize(
    ("url", "key", "reached", "token"),
    [
        ("http://ours:8080", "a" * 40, "http://ours:8080", "a" * 40),
        ("http://ours:8080", None, "http://ours:8080", "b" * 40),
        (None, None, "http://theirs:9", "b" * 40),
        (None, "a" * 40, "http://theirs:9", "b" * 40),
    ],
)
def test_the_settings_token_goes_to_the_settings_address_only(
    tmp_path: Path, url: str | None, key: str | None, reached: str, token: str
):
    """Anybody who reaches the backend can call `/setup` and name an address: our token must not follow it there."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.remember_project(Project(1, "<View/>", "http://theirs:9", "b" * 40))
        settings = Settings(data_dir=tmp_path, label_studio_url=url, label_studio_api_key=key)
        studio = Connections(settings, ledger).of(1)
        assert studio is not None
        assert studio.url == reached
        assert studio.headers_for(f"{reached}/data/upload/1/a.png") == {"Authorization": f"Token {token}"}


def test_an_unknown_project_has_no_connection(tmp_path: Path):
    """Without an address there is nobody to ask."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        connections = Connections(Settings(data_dir=tmp_path), ledger)
        assert connections.of(1) is None
        assert connections.of(None) is None


def test_clients_are_shared(tmp_path: Path):
    """One client for each address and token, so that connections and access tokens are used again."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        connections = Connections(Settings(data_dir=tmp_path, label_studio_url="http://ours:8080"), ledger)
        assert connections.of(1) is connections.of(2)
