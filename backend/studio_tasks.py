"""The tasks of one project in Label Studio, and the predictions that they are given."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from backend.errors import LabelStudioError
from backend.label_studio import LabelStudio, after_id

PAGE = 100
"""Tasks per request; without annotations and predictions one is a kilobyte."""

ATTEMPTS = 5
"""Of sending a prediction."""

UNCERTAINTY = "Uncertainty sampling"


class StudioTasks:
    """One project. Every method raises LabelStudioError when Label Studio, after some patience, gives no answer.

    pause: seconds before a prediction is sent again that may have arrived.
    """

    def __init__(self, studio: LabelStudio, project_id: int, pause: float = 1.0):
        self.studio, self.project_id, self._pause = studio, project_id, pause

    def settings(self) -> dict[str, Any]:
        """The project: its labelling config, which order tasks come in, and so on."""
        return self.studio.project(self.project_id)

    def pages(
        self, *, without: str | None = None, having: str | None = None, unlabelled: bool = False
    ) -> Iterator[list[dict[str, Any]]]:
        """The tasks by rising id, each once, without their annotations and predictions.

        without, having: only tasks that have no prediction of this model version, or that have one. unlabelled: only
        tasks without annotations, skipped ones included. A page is asked for when it is wanted: tasks may come and go.
        """
        last = -1
        while True:
            filters = [after_id(last), *_filters(without, having, unlabelled)]
            page, is_end = self.studio.page(self.project_id, filters, {"page_size": PAGE})
            if new := [task for task in page if task["id"] > last]:
                last = new[-1]["id"]
                yield new
            elif is_end:
                return
            else:
                raise LabelStudioError(
                    f"{self.studio.url} gave tasks of project {self.project_id} again that it had given: no end"
                )

    def count(self, *, without: str | None = None, having: str | None = None, unlabelled: bool = False) -> int:
        """How many tasks `pages` would give."""
        query = {"filters": {"conjunction": "and", "items": _filters(without, having, unlabelled)}}
        parameters = {"project": self.project_id, "page": 1, "page_size": 1, "query": json.dumps(query)}
        total = self.studio.ask("GET", "/api/tasks/", params=parameters).get("total")
        if type(total) is not int:
            raise LabelStudioError(f"{self.studio.url} does not say how many tasks project {self.project_id} has")
        return total

    def predict(self, task_id: int, results: list[dict[str, Any]], score: float, version: str) -> bool:
        """Give a task a prediction; False where there is no such task.

        What was sent and not answered may have arrived: each time before it is sent again, it is looked for.
        """
        body = {"task": task_id, "result": results, "score": score, "model_version": version}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self.studio.ask("POST", "/api/predictions/", 1, json=body)
                break
            except LabelStudioError as error:
                if error.status == 400:
                    return self._still_has(task_id, error)
                if error.status == 413 or attempt == ATTEMPTS:
                    raise
                time.sleep(self._pause * 2 ** (attempt - 1))
                if self._has(task_id, results, version):
                    break
        return True

    def is_predicted(self, task_id: int, version: str) -> bool:
        """Whether a task has a prediction of this model version by now; raises an error of status 400 where there is no
        such task."""
        return any(each.get("model_version") == version for each in self.predictions(task_id))

    def predictions(self, task_id: int) -> list[dict[str, Any]]:
        """The predictions of a task, in full; raises an error of status 400 where there is no such task."""
        # Not by asking for the task: Label Studio would first ask the backend for a prediction.
        found = self.studio.ask("GET", "/api/predictions/", kind=list, params={"task": int(task_id)})
        if not all(isinstance(each, dict) for each in found):
            raise LabelStudioError(f"{self.studio.url} answered the predictions of task {task_id} in an unknown form")
        return found

    def set_score(self, prediction_id: int, score: float) -> None:
        """Put another score on a prediction."""
        self.studio.ask("PATCH", f"/api/predictions/{int(prediction_id)}/", json={"score": score})

    def follow(self, version: str) -> None:
        """Have annotators get the tasks in the order of the scores that this model version gave, lowest first.

        Label Studio compares the version of predictions with the project's, which is the name of the backend unless
        it is told otherwise; where no prediction has it, uncertainty sampling is random.
        """
        settings = {"model_version": version, "sampling": UNCERTAINTY}
        self.studio.ask("PATCH", f"/api/projects/{self.project_id}/", json=settings)

    def _has(self, task_id: int, results: list[dict[str, Any]], version: str) -> bool:
        ids = {result["id"] for result in results}
        held = [each for each in self.predictions(task_id) if each.get("model_version") == version]
        return any(ids == {result.get("id") for result in each.get("result") or []} for each in held)

    def _still_has(self, task_id: int, refusal: LabelStudioError) -> bool:
        """False where a prediction was refused because its task is gone; raises the refusal where it is there."""
        try:
            self.predictions(task_id)
        except LabelStudioError as error:
            if error.status == 400:
                return False
            raise
        raise refusal


def _filters(without: str | None, having: str | None, unlabelled: bool) -> list[dict[str, Any]]:
    versions = {"filter": "filter:tasks:predictions_model_versions", "type": "List"}
    annotations = {"filter": "filter:tasks:total_annotations", "operator": "equal", "type": "Number", "value": 0}
    return [
        *([versions | {"operator": "not_contains", "value": [without]}] if without is not None else []),
        *([versions | {"operator": "contains", "value": [having]}] if having is not None else []),
        *([annotations] if unlabelled else []),
    ]
