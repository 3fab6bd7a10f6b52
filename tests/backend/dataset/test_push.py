"""A version goes to the Hugging Face Hub through its own client; the Hub here is a small one of ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from backend.dataset.push import push
from backend.errors import ExportError
from backend.ledger import Ledger
from tests.backend.dataset.small import project, run
from tests.backend.label_studio_double import Asked, Double, Reply, json_reply, label_studio_double

pytestmark = pytest.mark.usefixtures("no_pictures")
NAME = "/api/datasets/org/coins"


class Hub:
    """The calls that the client makes to push a folder, answered as the Hub's API has them."""

    def __init__(self, double: Double):
        self.url = double.url
        self.files = {"gone.txt": b"of an older version"}
        self.cards: list[str] = []
        self.messages: list[str] = []
        self.tags: list[str] = []
        self.created: dict | None = None
        double.rule(self.answer)

    def answer(self, asked: Asked) -> Reply | None:
        if asked.path == "/api/validate-yaml":
            self.cards.append(json.loads(asked.body)["content"])
            return json_reply(200, {"errors": [], "warnings": []})
        if asked.authorization != "Bearer hf_token":
            return json_reply(401, {"error": "Invalid username or password."})
        if asked.path == "/api/repos/create":
            self.created = json.loads(asked.body)
            return json_reply(200, {"url": f"{self.url}/datasets/org/coins", "name": "org/coins"})
        if asked.path == f"{NAME}/preupload/main":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(asked.body)["files"]
            ]
            return json_reply(200, {"files": files})
        if asked.path == f"{NAME}/commit/main":
            self.commit([json.loads(line) for line in asked.body.splitlines()])
            return json_reply(200, {"commitUrl": f"{self.url}/datasets/org/coins/commit/1", "commitOid": "1" * 40})
        if asked.path.startswith(f"{NAME}/tag/"):
            self.tags.append(json.loads(asked.body)["tag"])
            return json_reply(200, {})
        if asked.path.startswith((f"{NAME}/tree/main", f"{NAME}/revision/main")) or asked.path == NAME:
            if "/tree/" in asked.path:
                return json_reply(200, [{"type": "file", "path": p, "size": 1, "oid": "0" * 40} for p in self.files])
            siblings = [{"rfilename": path} for path in self.files]
            return json_reply(200, {"id": "org/coins", "sha": "0" * 40, "siblings": siblings, "private": True})
        return None

    def commit(self, lines: list[dict]) -> None:
        for line in lines:
            if line["key"] == "header":
                self.messages.append(line["value"]["summary"])
            elif line["key"] == "file":
                self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del self.files[line["value"]["path"]]


@pytest.fixture
def double() -> Iterator[Double]:
    with label_studio_double() as double:
        yield double


@pytest.fixture
def version(tmp_path: Path) -> Path:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        return run(ledger, tmp_path / "out", *project(4)).version


def test_what_is_published_arrives(double: Double, version: Path) -> None:
    """Every file but our own fragments and reasons, to the byte; what only an older version had is gone."""
    hub = Hub(double)
    assert push(version, "org/coins", HfApi(double.url, token="hf_token")) == f"{double.url}/datasets/org/coins"
    published = {
        path.relative_to(version).as_posix(): path.read_bytes()
        for path in version.rglob("*")
        if path.is_file() and ".shards" not in path.parts and path.name != "left_out.jsonl"
    }
    assert hub.files == published
    assert hub.created is not None and hub.created["type"] == "dataset" and hub.created["visibility"] == "private"
    assert hub.cards == [(version / "README.md").read_text()]
    assert hub.messages == ["v0001"] and hub.tags == ["v0001"]


def test_a_refusal_is_one_sentence(double: Double, version: Path) -> None:
    """It names the version, the repository and the remedy, and no token."""
    Hub(double)
    with pytest.raises(ExportError, match="v0001 cannot be pushed to org/coins: .*set HF_TOKEN") as caught:
        push(version, "org/coins", HfApi(double.url, token="hf_wrong"))
    assert "hf_wrong" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["no spaces allowed", "a/b/c", ""])
def test_a_wrong_name_is_refused(double: Double, version: Path, name: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ExportError, match="cannot be pushed"):
        push(version, name, HfApi(double.url, token="hf_token"))
