"""Which Label Studio a project lives on, and with which token it is reached."""

from __future__ import annotations

import logging
import threading

from backend.label_studio import LabelStudio
from backend.ledger import Ledger
from backend.settings import Settings

for _name in ("httpx", "httpcore"):
    # They log addresses and headers, and a pre-signed address is a secret.
    logging.getLogger(_name).setLevel(logging.WARNING)


class Connections:
    """Label Studio clients, one for each address and token. Any thread may call it.

    An address from the settings wins over what `/setup` said, and so does the token to it. The token from the settings
    never goes to an address that `/setup` named: anybody who reaches the backend can call `/setup`.
    """

    def __init__(self, settings: Settings, ledger: Ledger):
        self._settings, self._ledger = settings, ledger
        self._lock = threading.Lock()
        self._studios: dict[tuple[str, str | None], LabelStudio] = {}

    def of(self, project_id: int | None) -> LabelStudio | None:
        """The Label Studio of a project, or None when nothing is known of it."""
        project = self._ledger.project(project_id) if project_id is not None else None
        token = project.token if project else None
        if url := self._settings.label_studio_url:
            key = self._settings.label_studio_api_key
            return self._studio(url, key.get_secret_value() if key else token)
        return self._studio(project.url, token) if project and project.url else None

    def _studio(self, url: str, token: str | None) -> LabelStudio:
        with self._lock:
            if len(self._studios) > 64:
                self._studios.clear()
            if (url, token) not in self._studios:
                self._studios[url, token] = LabelStudio(url, token, self._settings.image_timeout)
            return self._studios[url, token]
