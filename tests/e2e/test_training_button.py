"""Label Studio's button Start Training, pressed where the button presses: at Label Studio's own API."""

from __future__ import annotations

import time

import httpx
import pytest

from backend.demo.running import Demo

pytestmark = pytest.mark.e2e


def test_two_presses_are_one_training_that_can_be_cancelled(demo: Demo):
    """Both are answered as successes, as any other answer shows the backend as broken; `/jobs` shows one job."""
    token = {"Authorization": f"Token {demo.token}"}
    with (
        httpx.Client(base_url=demo.label_studio.url, headers=token, timeout=60, trust_env=False) as studio,
        httpx.Client(base_url=demo.backend.url, timeout=60, trust_env=False) as backend,
    ):
        (connected,) = studio.get("/api/ml/", params={"project": demo.project}).json()
        for _ in range(2):
            assert studio.post(f"/api/ml/{connected['id']}/train").status_code == 200
        metrics = backend.get("/metrics").text
        assert 'pam_studio_webhooks_total{action="START_TRAINING"} 2.0' in metrics
        assert 'pam_studio_requests_total{route="/webhook",status="200"} 1.0' in metrics
        (job,) = backend.get("/jobs").json()["jobs"]
        assert (job["kind"], job["project_id"], job["cause"]) == ("train", demo.project, "Start Training")
        backend.delete(f"/jobs/{job['id']}")
        deadline = time.monotonic() + 120
        while (state := backend.get(f"/jobs/{job['id']}").json()["state"]) in ("queued", "running"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        # Nobody has annotated yet, so it may have failed for that before it was cancelled.
        assert state in ("cancelled", "failed")
        assert backend.get("/health").json()["status"] == "UP"
