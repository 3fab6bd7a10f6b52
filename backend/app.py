"""The HTTP side: the ML backend protocol of Label Studio, in Flask."""

from __future__ import annotations

import hmac
import logging
import time
from dataclasses import replace
from typing import Any

from flask import Flask, Response, g, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from backend import metrics, predict_request
from backend.assembly import Backend
from backend.errors import BackendError, RequestError
from backend.jobs.routes import answer_button, measure, routes
from backend.json_node import Node
from backend.ledger import Project
from backend.settings import Settings

log = logging.getLogger(__name__)


class Unauthorized(BackendError):
    """Credentials are missing or wrong."""

    status, code = 401, "unauthorized"


def create_app(backend: Backend) -> Flask:
    """The backend as a WSGI application. The model need not be loaded: `/health` and `/setup` answer without it."""
    app = Flask("pam-studio")
    app.config["MAX_CONTENT_LENGTH"] = backend.settings.max_request_bytes
    app.extensions["pam-studio"] = backend  # what goes on in the background lives as long as the app
    engine, ledger = backend.engine, backend.ledger
    suggester, preannotator = backend.suggester, backend.preannotator

    @app.get("/")
    @app.get("/health")
    def health() -> Response:
        answer = {"status": "UP", "model_version": engine.version, "ready": engine.ready}
        return jsonify(answer | ({"error": engine.failure} if engine.failure else {}))

    @app.post("/setup")
    def setup() -> Response:
        project = _read_setup(request.get_data())
        # Label Studio may know itself by a name that only its users can reach it by.
        ledger.remember_project(replace(project, url=backend.settings.label_studio_url or project.url))
        return jsonify({"model_version": engine.version})

    @app.post("/predict")
    def predict() -> Response:
        asked = predict_request.parse(request.get_data())
        if preannotator.is_asked(asked):
            retrieved = preannotator.retrieve(asked)
            return jsonify({"results": [[prediction.as_json() for prediction in each] for each in retrieved]})
        return jsonify({"results": [prediction.as_json() for prediction in suggester.suggest(asked)]})

    @app.post("/webhook")
    def webhook() -> tuple[Response, int]:
        event = Node.read(request.get_data())
        action = event["action"].text()
        suggester.videos.stop_for(ledger.journal(action, event.object()))
        metrics.WEBHOOKS.labels(action if action in KNOWN_ACTIONS else "other").inc()
        if action == "START_TRAINING":
            return answer_button(backend.jobs, ledger, event["project"]["id"].whole(0))
        backend.reembedding.submitted()
        return jsonify({"status": "journalled"}), 201

    @app.get("/metrics")
    def show_metrics() -> Response:
        measure(backend.jobs)
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    app.register_blueprint(routes(backend.jobs, ledger, suggester.videos.tracking))
    _guard(app, backend.settings)
    _report_errors(app)
    _measure(app)
    return app


KNOWN_ACTIONS = frozenset(
    {
        "ANNOTATION_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATIONS_CREATED",
        "ANNOTATIONS_DELETED",
        "TASKS_CREATED",
        "TASKS_DELETED",
        "PROJECT_UPDATED",
        "START_TRAINING",
    }
)
"""What is counted by name; anybody may send any other, and a metric must not grow with that."""


def _read_setup(body: bytes) -> Project:
    setup = Node.read(body)
    project_id = predict_request.project_id(setup["project"])
    if project_id is None:
        raise RequestError("`project` is missing: it must be a project's id")
    url, token = (setup[key].text() if not setup[key].is_missing else None for key in ("hostname", "access_token"))
    return Project(project_id, setup["schema"].text(), url or None, token or None)


def _guard(app: Flask, settings: Settings) -> None:
    """Ask for Basic credentials on every route, when there are some in the settings."""
    if not settings.basic_auth_user or not settings.basic_auth_password:
        return
    wanted = (settings.basic_auth_user.encode(), settings.basic_auth_password.get_secret_value().encode())

    @app.before_request
    def check() -> None:
        given = request.authorization
        parts = (given.username or "", given.password or "") if given and given.type == "basic" else ("", "")
        # Both are compared in full, so that the time taken tells nothing.
        same = [hmac.compare_digest(a.encode(), b) for a, b in zip(parts, wanted, strict=True)]
        if not all(same):
            raise Unauthorized("this backend asks for a user name and a password (HTTP Basic): give them in its URL")


def _report_errors(app: Flask) -> None:
    """One shape for every error, and no traceback for the client."""

    @app.errorhandler(BackendError)
    def known(error: BackendError) -> tuple[Response, int, dict[str, str]]:
        log.info("%s %s: %s %s", request.method, request.path, error.code, error.message)
        headers = {"WWW-Authenticate": 'Basic realm="PAM Studio"'} if error.status == 401 else {}
        return jsonify(error.as_json()), error.status, headers

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> tuple[Response, int]:
        message = error.description or error.name
        if isinstance(error, RequestEntityTooLarge):
            message = f"the request is larger than the {app.config['MAX_CONTENT_LENGTH']} bytes that are read"
        code = error.name.lower().replace(" ", "_")
        wrapped = BackendError(message, code=code, status=error.code or 500)
        return jsonify(wrapped.as_json()), wrapped.status

    @app.errorhandler(Exception)
    def unknown(error: Exception) -> tuple[Response, int]:
        log.exception("%s %s failed", request.method, request.path)
        wrapped = BackendError("something went wrong inside the backend: its log says what")
        return jsonify(wrapped.as_json()), wrapped.status


def _measure(app: Flask) -> None:
    @app.before_request
    def begin() -> None:
        g.began = time.monotonic()

    @app.after_request
    def end(response: Any) -> Any:
        route = request.url_rule.rule if request.url_rule else "unknown"
        metrics.REQUESTS.labels(route, str(response.status_code)).inc()
        if "began" in g:
            metrics.REQUEST_SECONDS.labels(route).observe(time.monotonic() - g.began)
        return response
