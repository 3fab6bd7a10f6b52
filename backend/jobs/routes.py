"""The HTTP side of jobs: `/jobs`, and what Label Studio's button *Start Training* asks for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from flask import Blueprint, Response, jsonify, request

from backend import metrics, predict_request
from backend.errors import BackendError, JobError, RequestError
from backend.jobs.job import Job
from backend.jobs.log import tail
from backend.jobs.queue import LISTED, JobQueue
from backend.jobs.start import said, start_training
from backend.json_node import Node
from backend.ledger import Ledger

log = logging.getLogger(__name__)

MOST_LISTED = 200
_LOG_LINES = 50
_BUTTON = "Start Training"
_AS_LABEL_STUDIO_SAYS = {"running": "started", "done": "finished", "cancelled": "canceled"}


class Work(Protocol):
    """Something that the server itself does in the background."""

    def as_json(self) -> Mapping[str, object]: ...


class Works(Protocol):
    """What the server itself does in the background: objects that are followed through videos."""

    def works(self) -> Sequence[Work]: ...
    def one(self, id: str) -> Work | None: ...
    def cancel_one(self, id: str) -> None: ...


def routes(queue: JobQueue, ledger: Ledger, tracking: Works) -> Blueprint:
    """The routes around jobs."""
    pages = Blueprint("jobs", __name__)

    @pages.get("/jobs")
    def listed() -> Response:
        shown = request.args.get("limit", str(LISTED))
        if not shown.isascii() or not shown.isdecimal() or not 1 <= int(shown[:9]) <= MOST_LISTED:
            raise RequestError(f"`limit` must be a whole number from 1 to {MOST_LISTED}, got {shown!r:.40}")
        tracks = [work.as_json() for work in tracking.works()[: int(shown)]]
        return jsonify({"jobs": [job.as_json() for job in queue.jobs(int(shown))], "tracks": tracks})

    @pages.get("/jobs/<int:id>")
    def one(id: int) -> Response:
        return jsonify(_found(queue, id).as_json() | {"log": tail(queue.folder(id), _LOG_LINES)})

    @pages.delete("/jobs/<int:id>")
    @pages.post("/jobs/<int:id>/cancel", endpoint="cancel")
    def cancel(id: int) -> Response:
        _found(queue, id)
        return jsonify(queue.cancel(id).as_json())

    @pages.get("/jobs/<id>")
    def one_track(id: str) -> Response:
        if (work := tracking.one(id)) is None:
            raise JobError(f"there is no job {id:.40}", code="no_such_job", status=404)
        return jsonify(work.as_json())

    @pages.delete("/jobs/<id>")
    @pages.post("/jobs/<id>/cancel")
    def cancel_track(id: str) -> Response:
        tracking.cancel_one(id)
        return one_track(id)

    @pages.post("/train")
    def train() -> tuple[Response, int]:
        # What Label Studio asks where its webhooks for models are switched off; the annotations that it sends along
        # are in the ledger, or found by the export.
        project = predict_request.project_id(Node.read(request.get_data())["project"])
        return answer_button(queue, ledger, project)

    @pages.post("/job_status")
    def status() -> Response:
        asked = Node.read(request.get_data())["job"].text()
        if not asked.isascii() or not asked.isdecimal() or len(asked) > 18:
            raise RequestError(f"`job` must be a job's number, got {asked!r:.40}")
        try:
            job = queue.job(int(asked))
        except JobError as error:
            raise JobError(error.message, code=error.code, status=410) from error  # Label Studio: it was removed
        return jsonify({"job_status": _AS_LABEL_STUDIO_SAYS.get(job.state, job.state)})

    return pages


def answer_button(queue: JobQueue, ledger: Ledger, project_id: int | None) -> tuple[Response, int]:
    """Start a training for a press of the button; `job` is what Label Studio keeps of the answer.

    Where one is under way the answer is a success all the same: any other would show the backend as broken.
    """
    job, is_new = start_training(queue, ledger, project_id, _BUTTON)
    shown: dict[str, Any] = {"status": job.state, "job": str(job.id), "message": said(job, is_new)}
    return jsonify(shown), 201 if is_new else 200


def measure(queue: JobQueue) -> None:
    """Bring the gauges of `/metrics` up to date; a queue that cannot be read must not cost the other figures."""
    try:
        counts, running = queue.counts(), queue.running()
    except BackendError as error:
        log.warning("%s", error)
        return
    for state, count in counts.items():
        metrics.JOBS.labels(state).set(count)
    metrics.JOB_PROGRESS.clear()
    if running is not None:
        metrics.JOB_PROGRESS.labels(running.kind).set(running.progress.fraction or 0.0)


def _found(queue: JobQueue, id: int) -> Job:
    if id >= 2**63:
        raise JobError(f"there is no job {id:.3g}", code="no_such_job", status=404)
    return queue.job(id)
