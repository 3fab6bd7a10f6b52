"""A Hugging Face Hub on this machine: the routes that huggingface_hub asks, over a folder of repositories."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "5f" * 20


class Hub:
    """Repositories as folders root/organisation/name.

    gated:   ids whose listing and files are refused. cut_after: bytes after which a download's connection is cut.
    asked:   every request, "METHOD path" and the Range header, in order.
    """

    def __init__(self, root: Path):
        self.root = root
        self.gated: set[str] = set()
        self.cut_after: int | None = None
        self.broken = False
        self.asked: list[str] = []
        self.endpoint = ""

    def files(self, repository: str) -> dict[str, Path]:
        folder = self.root / repository
        return {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}

    def downloads(self) -> set[str]:
        """Names of files whose content was asked for."""
        return {
            line.split(f"/resolve/{COMMIT}/")[1].split(" ")[0]
            for line in self.asked
            if line.startswith("GET /") and "/resolve/" in line
        }


@contextmanager
def serving(root: Path) -> Iterator[Hub]:
    """A hub that answers until the block ends; then nobody listens at its address."""
    hub = Hub(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = self.path.split("?")[0]
        self.hub.asked.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        route = re.fullmatch(r"/api/models/([^/]+/[^/]+?)(/revision/[^/]+|/tree/[^/]+)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        repository = (route or file)[1] if route or file else ""
        if self.hub.broken:
            return self.refuse(503, "", "down")
        if repository in self.hub.gated:
            return self.refuse(403, "GatedRepo", f"Access to model {repository} is restricted.")
        if not repository or not (self.hub.root / repository).is_dir():
            return self.refuse(401, "RepoNotFound", "Repository not found")
        files = self.hub.files(repository)
        if route:
            return self.describe(repository, files, tree="/tree/" in (route[2] or ""))
        if file[2] not in files:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        self.send(files[file[2]])

    def describe(self, repository: str, files: dict[str, Path], tree: bool) -> None:
        if tree:
            body: object = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": digest(path)[:40]}
                | {"lfs": {"oid": digest(path), "size": path.stat().st_size, "pointerSize": 130}}
                for name, path in files.items()
            ]
        else:
            siblings = [{"rfilename": name} for name in files]
            body = {
                "id": repository,
                "modelId": repository,
                "sha": COMMIT,
                "private": False,
                "tags": [],
                "siblings": siblings,
            }
        data = json.dumps(body).encode()
        self.reply(200, {"Content-Type": "application/json"}, data)

    def send(self, path: Path) -> None:
        data = path.read_bytes()
        headers = {"ETag": f'"{digest(path)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        start = int(match[1]) if (match := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.reply(206 if start else 200, headers, data[start:], self.hub.cut_after)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.reply(status, {"X-Error-Code": code, "X-Error-Message": message}, b"{}")

    def reply(self, status: int, headers: dict[str, str], body: bytes, cut_after: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut_after])
            if cut_after is not None and cut_after < len(body):
                self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Requests are in `Hub.asked`."""


@cache
def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
