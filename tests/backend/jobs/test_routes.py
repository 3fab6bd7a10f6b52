"""Jobs over HTTP: Label Studio's button, the list, one job, cancelling, and the metrics."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from backend.app import create_app
from backend.assembly import Backend
from backend.errors import JobsUnavailable
from backend.jobs import JobQueue, Progress
from tests.backend.conftest import capture


def test_the_button_starts_one_training(client: FlaskClient, backend: Backend):
    """As Label Studio 1.23.2 sends it; the second press is answered with the job that is under way, as a success."""
    first = client.post("/webhook", json=capture("webhook_start_training"))
    assert (first.status_code, first.json) == (
        201, {"status": "queued", "job": "1", "message": "job 1 (train) is queued"},
    )  # fmt: skip
    assert backend.jobs.job(1).project_id == 3 and backend.jobs.job(1).cause == "Start Training"
    backend.jobs.take()
    backend.jobs.folder(1).mkdir(parents=True)
    Progress("training", 0.4).write(backend.jobs.folder(1) / "progress.json")
    again = client.post("/webhook", json=capture("webhook_start_training"))
    assert (again.status_code, again.json) == (
        200,
        {
            "status": "running",
            "job": "1",
            "message": "job 1 (train) is running already, 40% done: no second one is started",
        },
    )


def test_an_older_label_studio_asks_train(client: FlaskClient, backend: Backend):
    """Without its feature flag, it posts all annotations to `/train`, and asks `/job_status` what became of that."""
    request = {"annotations": [], "project": "3.1795350775", "label_config": "<View/>", "params": {}}
    assert client.post("/train", json=request).json["job"] == "1"
    assert backend.jobs.job(1).project_id == 3
    states = []
    for change in (lambda: None, backend.jobs.take, lambda: backend.jobs.finish(1, "done", "promoted")):
        change()
        states.append(client.post("/job_status", json={"job": "1"}).json["job_status"])
    assert states == ["queued", "started", "finished"]
    assert client.post("/job_status", json={"job": "2"}).status_code == 410


def test_the_list_and_one_job(client: FlaskClient, backend: Backend):
    """Newest first, and bounded; one job comes with the end of its log."""
    for number in range(4):
        backend.jobs.submit("count", number, cause="a test")
    listed = client.get("/jobs?limit=2").json["jobs"]
    assert [job["id"] for job in listed] == [4, 3]
    assert listed[0] | {"created_at": ""} == {
        "id": 4, "kind": "count", "project_id": 3, "state": "queued", "cause": "a test", "message": "",
        "stopping": "", "parameters": {}, "created_at": "", "started_at": None, "finished_at": None,
        "progress": {"stage": "", "fraction": None, "seconds_left": None},
    }  # fmt: skip
    backend.jobs.folder(2).mkdir(parents=True)
    (backend.jobs.folder(2) / "log").write_text("one\ntwo\n")
    assert client.get("/jobs/2").json["log"] == ["one", "two"]
    assert len(client.get("/jobs").json["jobs"]) == 4


@pytest.mark.parametrize("method", ["delete", "post"])
def test_cancelling(client: FlaskClient, backend: Backend, method: str):
    """By either verb."""
    backend.jobs.submit("count", cause="a test")
    response = client.delete("/jobs/1") if method == "delete" else client.post("/jobs/1/cancel")
    assert response.json["state"] == "cancelled"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("get", "/jobs/7", None, 404, "no_such_job"),
        ("get", f"/jobs/{10**30}", None, 404, "no_such_job"),
        ("delete", "/jobs/7", None, 404, "no_such_job"),
        ("post", "/jobs/7/cancel", None, 404, "no_such_job"),
        ("get", "/jobs/x", None, 404, "no_such_job"),
        ("get", "/jobs?limit=0", None, 400, "bad_request"),
        ("get", "/jobs?limit=201", None, 400, "bad_request"),
        ("get", "/jobs?limit=%F0%9D%9F%8F", None, 400, "bad_request"),
        ("get", "/jobs?limit=" + "9" * 5000, None, 400, "bad_request"),
        ("post", "/job_status", {"job": 3}, 400, "bad_request"),
        ("post", "/job_status", {"job": "9" * 40}, 400, "bad_request"),
        ("post", "/train", {"project": "x"}, 400, "bad_request"),
        ("post", "/webhook", {"action": "START_TRAINING"}, 400, "bad_request"),
        ("post", "/webhook", {"action": "START_TRAINING", "project": {"id": -1}}, 400, "bad_request"),
    ],
)
def test_what_makes_no_sense_is_refused(
    client: FlaskClient, backend: Backend, method: str, path: str, body: dict | None, status: int, code: str
):
    """In the one shape of errors, and no job comes of it."""
    response = client.open(path, method=method.upper(), json=body)
    assert (response.status_code, response.json["error"]["code"]) == (status, code)
    assert backend.jobs.jobs() == []


def test_credentials_are_asked_for(make_backend: Callable[..., Backend]):
    """As on every other route."""
    client = create_app(make_backend(basic_auth_user="u", basic_auth_password="p")).test_client()
    for method, path in (("GET", "/jobs"), ("GET", "/jobs/1"), ("DELETE", "/jobs/1"), ("POST", "/jobs/1/cancel"),
                         ("POST", "/train"), ("POST", "/job_status")):  # fmt: skip
        assert client.open(path, method=method).status_code == 401
    basic = {"Authorization": "Basic " + base64.b64encode(b"u:p").decode()}
    assert client.get("/jobs", headers=basic).status_code == 200


def test_metrics(client: FlaskClient, backend: Backend):
    """Jobs by state, and how far the running one is; no longer once it has ended."""
    backend.jobs.submit("count", 1, cause="a test")
    backend.jobs.submit("count", 2, cause="a test")
    job = backend.jobs.take()
    assert job is not None
    backend.jobs.folder(job.id).mkdir(parents=True)
    Progress("counting", 0.5).write(backend.jobs.folder(job.id) / "progress.json")
    page = client.get("/metrics").text
    assert 'pam_studio_jobs{state="running"} 1.0' in page and 'pam_studio_jobs{state="queued"} 1.0' in page
    assert 'pam_studio_job_progress{kind="count"} 0.5' in page
    backend.jobs.finish(job.id, "failed", "")
    page = client.get("/metrics").text
    assert 'pam_studio_jobs{state="failed"} 1.0' in page and "pam_studio_job_progress{" not in page


def test_a_broken_list_of_jobs(client: FlaskClient, backend: Backend, monkeypatch: pytest.MonkeyPatch):
    """Its own pages say so; metrics and clicks do without it."""

    def broken(self: JobQueue, *arguments: object, **more: object) -> None:
        raise JobsUnavailable("the list of jobs failed: disk I/O error; look after its disk")

    for name in ("counts", "jobs", "submit"):
        monkeypatch.setattr(JobQueue, name, broken)
    assert client.get("/jobs").status_code == 503
    assert client.post("/webhook", json=capture("webhook_start_training")).status_code == 503
    assert client.get("/metrics").status_code == 200
    assert client.post("/webhook", json=capture("webhook_annotation_created")).status_code == 201
