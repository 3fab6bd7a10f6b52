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
from backend.errors import BackendError, ConfigError, LabelStudioError, PictureError
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

REFUSED = (400, 413)
"""With which Label Studio, or a proxy before it, turns down one prediction for what is in it."""

MOST_IN_A_ROW = 10
"""Tasks one after the other that fail by what is not their pictures' fault: then it is not the tasks' either."""


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
        picture = self._suggester.picture(project_id, task, config, timeout)
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
        """Whether a request wants everything of its tasks: nobody has drawn, and it is not just a task being opened.

        Raises ConfigError.
        """
        if request.context is not None:
            return False
        is_opened = len(request.tasks) == 1
        return (
            not is_opened or self._settings.preannotate_opened and not labeling_config.parse(request.label_config).video
        )

    def retrieve(self, request: PredictRequest) -> list[list[Prediction]]:
        """What Label Studio's "Retrieve predictions" asks for: for each task one prediction, or none.

        Label Studio waits for all of them, but not for long: tasks that there is no time for, and tasks that cannot be
        answered, get none, and are asked for again the next time. Raises BackendError where no task can be answered.
        """
        config = _of_pictures(request.label_config)
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
            except Exception as error:
                failure, answers = _failure(task.id, error), [*answers, []]
                log.warning("task %d gets no regions: %s", task.id, failure.message)
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

        It can be stopped at any moment, and goes on where it was. A task that cannot be answered, or whose prediction
        Label Studio does not take, is reported, and left.
        labelled: whether tasks that have annotations get predictions, too. limit: of tasks that get one. timeout:
        seconds for one. Raises ConfigError for a project that takes no masks or is of videos, LabelStudioError, after
        some patience, when Label Studio cannot be reached, and what stopped the last of MOST_IN_A_ROW tasks.
        """
        config = _of_pictures(str(tasks.settings().get("label_config") or ""))
        version = self._engine.check_ready().version
        done = Progress(total=tasks.count(without=version, unlabelled=not labelled))
        progress(done)
        in_a_row = 0
        for page in tasks.pages(without=version, unlabelled=not labelled):
            asked = [Task(task["id"], task.get("data") or {}, ()) for task in page]
            for number, task in enumerate(asked):
                if limit is not None and done.tasks >= limit:
                    return done
                self._prepare(tasks.project_id, asked[number + 1 : number + 2], config)
                try:
                    regions = self._give(tasks, task, config, version, timeout)
                except Exception as error:
                    if isinstance(error, LabelStudioError) and error.status not in REFUSED:
                        raise
                    in_a_row = 0 if isinstance(error, PictureError | ModelNotReady) else in_a_row + 1
                    done = done.failed(task.id, _failure(task.id, error).message)
                    if in_a_row == MOST_IN_A_ROW:
                        raise
                else:
                    in_a_row = 0
                    done = (
                        done.failed(task.id, "it was deleted meanwhile") if regions is None else done.advanced(regions)
                    )
                progress(done)
        return done

    def _give(self, tasks: StudioTasks, task: Task, config: LabelingConfig, version: str, timeout: float) -> int | None:
        """Predict a task and write that, unless somebody else has since it was listed; its regions, None if it is gone.

        Raises what `predict` of both does.
        """
        try:
            if tasks.is_predicted(task.id, version):
                return 0
        except LabelStudioError as error:
            if error.status == 400:
                return None
            raise
        found = self.predict(tasks.project_id, task, config, timeout)
        written = tasks.predict(task.id, found.results, found.score, found.model_version)
        return len({result["id"] for result in found.results}) if written else None


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


def _of_pictures(text: str) -> LabelingConfig:
    """Raises ConfigError for what cannot be answered without being asked."""
    config = labeling_config.parse(text)
    if config.video:
        raise ConfigError(
            "objects of videos are not looked for by themselves: box one in the video, it is followed from there",
            code="no_preannotation",
        )
    return config


def _failure(task_id: int, error: Exception) -> BackendError:
    """Why a task gets nothing; what nobody foresaw costs this task alone, and the log has all of it."""
    if isinstance(error, BackendError):
        return error
    log.error("task %d met an error that nobody foresaw", task_id, exc_info=error)
    return BackendError(f"{type(error).__name__}: {error}")


def _chunks(found: Sequence[Segmentation], size: int) -> Iterator[Sequence[Segmentation]]:
    return (found[i : i + size] for i in range(0, len(found), size))
