"""A local HTTP server that plays Label Studio, and can be told to fail."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MOMENT = "2026-11-22T12:00:00.000000Z"
"""When a task that says nothing else was touched."""
LEGACY = "0123456789abcdef0123456789abcdef01234567"


def jwt(kind: str, seconds: float = 300, **more: Any) -> str:
    """A token of the form that Label Studio hands out; its signature is none."""
    claims = {"token_type": kind, "iat": 1_000_000, "exp": 1_000_000 + seconds} | more
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "signature"])


PAT = jwt("refresh")


@dataclass
class Asked:
    """One request that came in."""

    method: str
    path: str
    query: dict[str, str]
    authorization: str | None
    body: bytes


@dataclass
class Reply:
    """What is sent back; `body` may be a generator of chunks, and `length` a lie about it."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None


Rule = Callable[[Asked], Reply | None]


class Double:
    """The server: its `tasks`, their `predictions`, what was `asked`, and `rules`, tried first, newest first."""

    def __init__(self, url: str):
        self.url = url
        self.tasks: list[dict[str, Any]] = []
        self.asked: list[Asked] = []
        self.rules: list[Rule] = []
        self.predictions: list[dict[str, Any]] = []
        self.settings: dict[str, Any] = {}
        self.label_config = "<View/>"
        self.access_seconds = 300.0
        self._granted: set[str] = set()

    def rule(self, rule: Rule) -> Rule:
        self.rules.insert(0, rule)
        return rule

    def once(self, path: str, *replies: Reply) -> None:
        """Answer the next requests to `path` with `replies`, one each."""
        waiting = list(replies)
        self.rule(lambda asked: waiting.pop(0) if asked.path == path and waiting else None)

    @property
    def granted_headers(self) -> list[str]:
        """The headers that open this server beside the legacy token's."""
        return [f"Bearer {token}" for token in self._granted]

    def revoke(self) -> None:
        self._granted.clear()

    def answer(self, asked: Asked) -> Reply:
        for rule in self.rules:
            if (reply := rule(asked)) is not None:
                return reply
        if asked.path == "/api/token/refresh/":
            return self._refresh(json.loads(asked.body)["refresh"])
        if asked.authorization not in (f"Token {LEGACY}", *self.granted_headers):
            return json_reply(401, {"detail": "Invalid token."})
        if asked.path == "/api/tasks/":
            filters = json.loads(asked.query["query"])["filters"]["items"]
            later = [task for task in self.tasks if all(self._passes(task, each) for each in filters)]
            return json_reply(200, {"tasks": later[: int(asked.query["page_size"])], "total": len(later)})
        if asked.path.startswith("/api/predictions/"):
            return self._predictions(asked)
        if asked.path == "/api/projects/1/":
            if asked.method == "PATCH":
                self.settings |= json.loads(asked.body)
            return json_reply(200, {"id": 1, "label_config": self.label_config} | self.settings | self._counts())
        return json_reply(404, {"detail": "Not found."})

    def _passes(self, task: dict[str, Any], filter: dict[str, Any]) -> bool:
        """Whether a task passes one filter of the data manager."""
        value, versions = filter["value"], {p["model_version"] for p in self.predictions if p["task"] == task["id"]}
        match filter["filter"].removeprefix("filter:tasks:"), filter["operator"]:
            case "id", "greater":
                return task["id"] > value
            case "updated_at", "greater_or_equal":
                return task.get("updated_at", MOMENT) >= value
            case "total_annotations", "equal":
                return len(task.get("annotations", ())) == value
            case "predictions_model_versions", "contains":
                return bool(versions & set(value))
            case "predictions_model_versions", "not_contains":
                return not versions & set(value)
        raise AssertionError(f"a filter that the double does not know: {filter}")

    def _predictions(self, asked: Asked) -> Reply:
        if asked.method == "PATCH":
            (prediction,) = [p for p in self.predictions if asked.path == f"/api/predictions/{p['id']}/"]
            prediction |= json.loads(asked.body)
            return json_reply(200, prediction)
        wanted = json.loads(asked.body)["task"] if asked.method == "POST" else int(asked.query["task"])
        if wanted not in {task["id"] for task in self.tasks}:
            return json_reply(400, {"detail": "Validation error", "validation_errors": {"task": ["does not exist"]}})
        if asked.method == "POST":
            self.predictions.append(json.loads(asked.body) | {"id": 1 + len(self.predictions)})
            return json_reply(201, self.predictions[-1])
        return json_reply(200, [p for p in self.predictions if p["task"] == wanted])

    def _counts(self) -> dict[str, int]:
        all_of_them = [a for task in self.tasks for a in task.get("annotations", ())]
        cancelled = sum(a.get("was_cancelled", False) for a in all_of_them)
        return {"total_annotations_number": len(all_of_them) - cancelled, "skipped_annotations_number": cancelled}

    def _refresh(self, token: str) -> Reply:
        if token != PAT:
            return json_reply(401, {"detail": "Token is invalid"})
        access = jwt("access", self.access_seconds, jti=len(self.asked))
        self._granted.add(access)
        return json_reply(200, {"access": access})


def json_reply(status: int, body: Any) -> Reply:
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def slowly(data: bytes, chunk: int, pause: float) -> Iterator[bytes]:
    for start in range(0, len(data), chunk):
        yield data[start : start + chunk]
        time.sleep(pause)


@contextmanager
def label_studio_double() -> Iterator[Double]:
    """Run the server on a free port of this machine for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            asked = Asked(self.command, parts.path, query, self.headers.get("authorization"), body)
            double.asked.append(asked)
            reply = double.answer(asked)
            self.send_response(reply.status)
            length = reply.length
            if length is None and isinstance(reply.body, bytes):
                length = len(reply.body)
            if length is not None:
                self.send_header("Content-Length", str(length))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for chunk in [reply.body] if isinstance(reply.body, bytes) else reply.body:
                    self.wfile.write(chunk)
                    self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):  # the client has had enough: what the test is about
                self.close_connection = True

        do_POST = do_PATCH = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    double = Double(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
