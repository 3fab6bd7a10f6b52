"""Regions before anybody points: in a real Label Studio, from Retrieve Predictions to the export, in ranked order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from backend.demo.running import Demo
from backend.ledger import Ledger
from tests.e2e.annotator import Annotator
from tests.e2e.test_ledger import Annotators, run_export, wait_for

pytestmark = pytest.mark.e2e


def test_regions_are_there_before_anybody_points(demo: Demo, annotator: Annotator, tmp_path: Path):
    """Two tasks are predicted by the button, the others by `pam-studio rank`, which says where to begin. Label Studio
    hands out that task with its regions filled in; what is submitted as it is counts as accepted and is exported."""
    team = Annotators(demo, "Regions first")
    retrieved = retrieve(team, team.tasks[:2])
    version = retrieved[team.tasks[0]]["model_version"]
    assert all(prediction["result"] and 0 < prediction["score"] <= 1 for prediction in retrieved.values())

    assert f"{len(team.tasks) - 2} tasks predicted" in said(demo, "rank", team.project)
    assert "nothing to predict" in said(demo, "preannotate", team.project)
    scores = {task: predictions_of(team, task)[0]["score"] for task in team.tasks}
    assert sorted(scores.values()) == pytest.approx([(k + 1) / 7 for k in range(7)], abs=1e-5)
    assert predictions_of(team, team.tasks[0])[0]["id"] == retrieved[team.tasks[0]]["id"]
    listed = team._call("GET", f'/api/tasks/?project={team.project}&query={{"ordering":["tasks:predictions_score"]}}')
    assert [task["id"] for task in listed["tasks"]] == sorted(scores, key=lambda task: scores[task])
    first = min(scores, key=lambda task: scores[task])
    assert team._call("GET", f"/api/projects/{team.project}/next")["id"] == first

    prediction = predictions_of(team, first)[0]
    ids = {result["id"] for result in prediction["result"]}
    annotator.page.goto(f"{annotator.url}/projects/{team.project}/data?labeling=1")
    expect(annotator.page.locator(".lsf-outliner-item").first).to_be_visible(timeout=90_000)
    annotator.screenshot("regions")
    assert 0 < annotator.region_count() <= len(ids)  # a long list is shown in part
    with annotator.page.expect_response(lambda r: r.request.method == "POST" and "/annotations" in r.url) as saved:
        annotator.submit()
    assert f"/api/tasks/{first}/annotations" in saved.value.url

    (annotation,) = team._call("GET", f"/api/tasks/{first}/")["annotations"]
    assert {result["id"] for result in annotation["result"]} == ids
    assert {result["origin"] for result in annotation["result"]} == {"prediction"}
    assert annotation["parent_prediction"] == prediction["id"]

    with Ledger(demo.data_dir / "ledger.sqlite") as ledger:
        wait_for(lambda: bool(ledger.annotations_of_task(team.project, first)))
    assert run_export(demo, team.project, tmp_path / "regions") == team.exported()
    with Ledger(demo.data_dir / "ledger.sqlite") as ledger:
        outcomes = list(ledger.outcomes.all(team.project))
    assert {outcome.region_id for outcome in outcomes} == ids
    assert {(outcome.outcome, outcome.model_version) for outcome in outcomes} == {("accepted", version)}


def retrieve(team: Annotators, tasks: list[int]) -> dict[int, dict]:
    """Press "Retrieve Predictions" with these tasks chosen; task to its one prediction."""
    chosen = {"selectedItems": {"all": False, "included": tasks}, "project": team.project}
    action = f"/api/dm/actions?id=retrieve_tasks_predictions&project={team.project}"
    team._http.post(action, json=chosen, timeout=150).raise_for_status()
    found = {}
    for task in tasks:
        (found[task],) = predictions_of(team, task)
    return found


def predictions_of(team: Annotators, task: int) -> list[dict]:
    return team._call("GET", f"/api/predictions/?task={task}")


def said(demo: Demo, name: str, project: int) -> str:
    """What a command prints, run as a person runs it."""
    program = str(Path(sys.executable).parent / "pam-studio")
    command = [program, name, "--project", str(project), "--data-dir", str(demo.data_dir)]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env=os.environ | {"LABEL_STUDIO_API_KEY": demo.token}
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
