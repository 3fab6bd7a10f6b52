"""Answers before anybody asks: regions of whole tasks, with words and scores."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from backend import labeling_config, metrics
from backend.answer import answer, new_region_id
from backend.closed_list import choices
from backend.described import described, likeliest
from backend.engine import Engine, ModelNotReady
from backend.errors import BackendError, LabelStudioError, PictureError
from backend.labeling_config import LabelingConfig
from backend.ledger import Ledger
from backend.outcome import as_offered
from backend.predict_request import PredictRequest, Task
from backend.settings import Settings
from backend.studio_tasks import StudioTasks
from backend.suggest import Prediction, Suggester, address_of
from backend.suggestion import Suggestion
from model import Segmentation
from model.everything import EverythingOptions, deepest

log = logging.getLogger(__name__)

REGIONS_AT_ONCE = 8
"""Regions that are described together; clicks are answered between two such batches."""

LEAST_SECONDS = 10.0
"""Of the time that Label Studio waits for an answer, what is left for sending it."""


class Preannotator:
    """Finds and describes everything on tasks. Any thread may call it."""

    def __init__(self, settings: Settings, engine: Engine, ledger: Ledger, suggester: Suggester):
        self._settings, self._engine, self._ledger, self._suggester = settings, engine, ledger, suggester
        self._options = EverythingOptions(
            points_per_side=settings.points_per_side, nested=settings.nested, most=settings.most_regions
        )

    def predict(self, project_id: int | None, task: Task, config: LabelingConfig, timeout: float) -> Prediction:
        """All regions of one task as one prediction, which the ledger has kept; its score is the mean of theirs.

        Raises BackendError of every kind; nothing is in the ledger then.
        """
        began = time.monotonic()
        until, created_at = began + timeout, datetime.now(UTC)
        picture = self._suggester.picture(project_id, task, config)
        found = self._engine.everything(picture.encoded, until - time.monotonic(), self._options)
        labels = choices(config, None)
        results: list[dict[str, Any]] = []
        suggestions: list[Suggestion] = []
        for some in _chunks(found, REGIONS_AT_ONCE):
            for perceived in self._engine.describe(some, until - time.monotonic(), labels):
                region, sources = self._suggester.advised(project_id, config, perceived, labels, until)
                if not region.mask.any():
                    continue
                region_id = new_region_id()
                own = answer(region, config, region_id, None, self._settings.polygon_tolerance)
                suggestion = Suggestion(
                    region_id=region_id,
                    project_id=project_id or 0,
                    task_id=task.id,
                    points=(deepest(region.mask),),
                    box=None,
                    image_address=address_of(task.data, config),
                    image_sha256=picture.sha256,
                    seconds=(time.monotonic() - began) / (len(suggestions) + 1),
                    created_at=created_at,
                    sources=sources,
                    own=likeliest(perceived.region.words),
                    unasked=True,
                    **described(region),
                )
                results += own
                suggestions.append(as_offered(suggestion, own, config))
        versions = {suggestion.model_version for suggestion in suggestions} or {self._engine.version}
        if len(versions) > 1:
            raise ModelNotReady("another model took over in the middle: try again", code="model_changed")
        (version,) = versions
        self._ledger.record_unasked(project_id or 0, task.id, version, suggestions)
        metrics.SUGGESTIONS.inc(len(suggestions))
        score = sum(s.score for s in suggestions) / len(suggestions) if suggestions else 0.0
        return Prediction(results, score, version, {})

    def is_asked(self, request: PredictRequest) -> bool:
        """Whether a request wants everything of its tasks: nobody has drawn, and it is not just a task being opened."""
        return request.context is None and (len(request.tasks) > 1 or self._settings.preannotate_opened)

    def retrieve(self, request: PredictRequest) -> list[list[Prediction]]:
        """What Label Studio's "Retrieve predictions" asks for: for each task one prediction, or none.

        Label Studio waits for all of them, but not for long: tasks that there is no time for, and tasks that cannot be
        answered, get none, and are asked for again the next time. Raises BackendError where no task can be answered.
        """
        config = labeling_config.parse(request.label_config)
        self._engine.check_ready()
        until = time.monotonic() + max(self._settings.predict_timeout - LEAST_SECONDS, LEAST_SECONDS)
        answers: list[list[Prediction]] = []
        failure: BackendError | None = None
        for number, task in enumerate(request.tasks):
            left = until - time.monotonic()
            if left <= 0:
                break
            self._prepare(request.project_id, request.tasks[number + 1 : number + 2], config)
            try:
                answers.append([self.predict(request.project_id, task, config, left)])
            except (PictureError, LabelStudioError, ModelNotReady) as error:
                log.warning("task %d gets no regions: %s", task.id, error.message)
                failure, answers = error, [*answers, []]
        missing = len(request.tasks) - len(answers)
        if failure is not None and not any(answers):
            raise failure
        if missing:
            log.warning(
                "%d of %d tasks got no regions in the time that Label Studio waits: retrieve predictions again, or run "
                "`pam-studio preannotate --project %s`",
                missing,
                len(request.tasks),
                request.project_id,
            )
        return answers + [[] for _ in range(missing)]

    def _prepare(self, project_id: int | None, tasks: Sequence[Task], config: LabelingConfig) -> None:
        for task in tasks:
            try:
                self._suggester.prepare(project_id, task, config)
            except PictureError:
                continue  # its turn comes, and then it is said

    def project(
        self,
        tasks: StudioTasks,
        progress: Callable[[Progress], None] = lambda progress: None,
        *,
        labelled: bool = False,
        limit: int | None = None,
        timeout: float = 600.0,
    ) -> Progress:
        """Predict the tasks of a project that have no prediction of this model version, and write that to Label Studio.

        It can be stopped at any moment, and goes on where it was. A task that cannot be answered is reported, and left.
        labelled: whether tasks that have annotations get predictions, too. limit: of tasks. timeout: seconds for one.
        Raises ConfigError for a project that takes no masks, and LabelStudioError, after some patience, when Label
        Studio cannot be reached.
        """
        config = labeling_config.parse(str(tasks.settings().get("label_config") or ""))
        version = self._engine.check_ready().version
        done = Progress(total=tasks.count(without=version, unlabelled=not labelled))
        progress(done)
        for page in tasks.pages(without=version, unlabelled=not labelled):
            asked = [Task(task["id"], task.get("data") or {}, ()) for task in page]
            for number, task in enumerate(asked):
                if limit is not None and done.tasks + len(done.failures) >= limit:
                    return done
                self._prepare(tasks.project_id, asked[number + 1 : number + 2], config)
                try:
                    found = self.predict(tasks.project_id, task, config, timeout)
                except (PictureError, ModelNotReady) as error:
                    done = done.failed(task.id, error.message)
                else:
                    written = tasks.predict(task.id, found.results, found.score, found.model_version)
                    regions = len({result["id"] for result in found.results})
                    done = done.advanced(regions) if written else done.failed(task.id, "it was deleted meanwhile")
                progress(done)
        return done


@dataclass(frozen=True)
class Progress:
    """How far the tasks of a project are.

    total: tasks that there were to do. tasks: those that have a prediction now, and `regions` in them.
    failures: task to why it has none, in words.
    """

    total: int
    tasks: int = 0
    regions: int = 0
    failures: dict[int, str] = field(default_factory=dict)

    def advanced(self, regions: int) -> Progress:
        return Progress(self.total, self.tasks + 1, self.regions + regions, self.failures)

    def failed(self, task_id: int, why: str) -> Progress:
        return Progress(self.total, self.tasks, self.regions, {**self.failures, task_id: why})


def _chunks(found: Sequence[Segmentation], size: int) -> Iterator[Sequence[Segmentation]]:
    return (found[i : i + size] for i in range(0, len(found), size))
