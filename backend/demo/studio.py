"""The demo's Label Studio: how it is started, and how its project is brought to what the demo needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from backend.demo import photographs
from backend.demo.servers import LOOPBACK, DemoError

TITLE = "PAM demo"
EMAIL = "demo@example.com"
PASSWORD = "click-an-object"  # known to all: the server listens on 127.0.0.1 only
FOREIGN_PREFIXES = ("LABEL_STUDIO_", "HEARTEX_", "DJANGO_", "POSTGRE_")


def environment(inherited: Mapping[str, str], data_dir: Path, token: str) -> dict[str, str]:
    """Label Studio's environment: its own SQLite in `data_dir`, one user, and backends on 127.0.0.1 allowed.

    Settings of another Label Studio that the person may have exported are left out.
    """
    own = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(data_dir),
        "LABEL_STUDIO_USERNAME": EMAIL,
        "LABEL_STUDIO_PASSWORD": PASSWORD,
        "LABEL_STUDIO_USER_TOKEN": token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_HOST": "",
        "ML_BLOCK_LOCAL_IP": "false",
        "SSRF_PROTECTION_ENABLED": "false",
        "USE_DEFAULT_BANNED_SUBNETS": "false",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    kept = {name: value for name, value in inherited.items() if not name.startswith(FOREIGN_PREFIXES)}
    return kept | own


def command(program: str, port: int) -> list[str]:
    return [program, "start", "--no-browser", "--internal-host", LOOPBACK, "--port", str(port)]


class DemoProject:
    """The project "PAM demo", made once and found again: each step looks before it makes.

    Raises DemoError when Label Studio refuses something.
    """

    def __init__(self, url: str, token: str):
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Token {token}"}, timeout=60, trust_env=False
        )

    def __enter__(self) -> DemoProject:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ensure(self, label_config: str) -> int:
        """Id of the project; made with `label_config` if there is none, else left as the person has it."""
        projects = self._call("GET", "/api/projects/", params={"title": TITLE, "page_size": 1000})["results"]
        found = [project["id"] for project in projects if project["title"] == TITLE]
        if found:
            return min(found)
        return self._call("POST", "/api/projects/", json={"title": TITLE, "label_config": label_config})["id"]

    def connect(self, project: int, backend_url: str) -> None:
        """Connect the backend as interactive, in place of one that the demo had on another port."""
        wanted = {"url": backend_url, "project": project, "title": "PAM Studio", "is_interactive": True}
        for connected in self._call("GET", "/api/ml/", params={"project": project}):
            if connected["url"] == backend_url:
                return
            if connected["title"] == wanted["title"]:
                self._call("DELETE", f"/api/ml/{connected['id']}")
        self._call("POST", "/api/ml/", json=wanted)

    def import_photographs(self, project: int) -> int:
        """Import the photographs that the project lacks; how many those were."""
        missing = set(photographs.NAMES) - self._imported(project)
        for name in sorted(missing, key=photographs.NAMES.index):
            files = {"file": (name, photographs.read(name))}
            self._call("POST", f"/api/projects/{project}/import", files=files)
        return len(missing)

    def _imported(self, project: int) -> set[str]:
        """Names of the files that the project's tasks show; Label Studio puts 8 hex digits and a dash in front."""
        answer = self._call("GET", "/api/tasks/", params={"project": project, "page_size": 1000})
        addresses = [str(task["data"].get("image", "")) for task in answer["tasks"]]
        return {address.rpartition("/")[2].partition("-")[2] for address in addresses}

    def _call(self, method: str, path: str, **request: Any) -> Any:
        try:
            response = self._client.request(method, path, **request)
        except httpx.TransportError as error:
            raise DemoError(f"Label Studio did not answer {method} {path}: {error}") from error
        if not response.is_success:
            raise DemoError(f"Label Studio refused {method} {path} ({response.status_code}): {response.text[:500]}")
        return response.json() if response.content else None
