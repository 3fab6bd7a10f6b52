"""The loop, once around, in a real Label Studio and a real browser: six coins get a name, the seventh has it, training
is started, a better model takes over while clicking goes on, and the report shows that ever less is corrected."""

from __future__ import annotations

import copy
import json
import subprocess
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page

from backend.demo.running import Demo
from backend.demo.servers import LOOPBACK, Server
from backend.ledger import Ledger, Suggestion
from tests.e2e.annotator import Annotator
from tests.e2e.coin_trays import Tray, tray
from tests.e2e.conftest import free_port
from tests.e2e.test_ledger import Annotators, wait_for

pytestmark = pytest.mark.e2e

NAME = "Greek coin"
"""As the museum calls them. Nano says "coin", of some "plate": it can only have this name from annotators."""
EXPLANATION = "Money of a Greek city, struck by hand."

STEPS = 150
"""Of the training; by default it would be 500."""

TRAINED_ON, HELD_OUT, LATER = 4, 2, 2
"""Trays that are corrected before the training, on either side of the data set, and after it."""

LONGEST_SECONDS = 1500
"""From the button to another model's answers; some two minutes where nothing else keeps the machine busy."""

ENDED = ("done", "failed", "cancelled")


def words(covered: int) -> dict[str, str]:
    """What these annotators want to read about a coin of so many pixels."""
    size = "large" if covered > 1700 else "small"
    return {"category": NAME, "explanation": EXPLANATION, "caption": f"A {size} Greek coin, struck by hand."}


@pytest.fixture
def studio(demo: Demo, tmp_path: Path) -> Iterator[Demo]:
    """The Label Studio of the other tests with a backend of its own: what takes over here answers nobody else."""
    port, data = free_port(), tmp_path / "data"
    options = {"port": port, "data-dir": data, "out": data / "regions", "formats": "pam_jsonl,coco"}
    command = [demo.backend.command[0], "serve", "--host", LOOPBACK, "--train-steps", str(STEPS)]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    server = Server("PAM Studio", command, demo.backend.env, port, data / "pam-studio.log")
    server.start()
    try:
        server.wait_until_healthy(180)
        yield Demo(data, demo.label_studio, server, 0, demo.token)
    finally:
        server.stop()


class Story:
    """Who plays it: one annotator at the screen, others through Label Studio's API."""

    def __init__(self, studio: Demo, screen: Annotator):
        halves = [("train", turn) for turn in range(TRAINED_ON)] + [("validation", turn) for turn in range(HELD_OUT)]
        halves += [("validation", HELD_OUT + turn) for turn in range(LATER)] + [("validation", 4)]
        self.trays = [tray(half, turn) for half, turn in halves]  # type: ignore[arg-type]
        self.studio, self.screen = studio, screen
        self.work = Annotators(studio, "Greek coins", [each.file for each in self.trays])
        self.http = httpx.Client(base_url=studio.backend.url, timeout=60, trust_env=False)

    def open(self, number: int) -> Tray:
        """Open a tray on the screen, with the smart point at hand."""
        shown = self.trays[number]
        self.screen.open(self.work.project, self.work.tasks[number], shown.width, shown.height)
        self.screen.take_up_smart_point()
        return shown

    def correct_on_the_screen(self, coin: tuple[float, float, int]) -> dict[str, str]:
        """Click a coin, accept, and mend what it says; what it said."""
        x, y, covered = coin
        self.screen.click((x, y))
        self.screen.accept()
        self.screen.select_region(self.screen.region_count() - 1)
        said = {field: self.screen.read(field) for field in words(covered)}
        for field, text in words(covered).items():
            if said[field] != text:
                self.screen.rewrite(field, text)
        self.screen.deselect()
        return said

    def correct(self, number: int) -> None:
        """All coins of a tray, as others do it at the same time."""
        shown, task = self.trays[number], self.work.tasks[number]
        regions = []
        for x, y, covered in shown.coins:
            results = copy.deepcopy(self.work.click(task, x, y, shown.width, shown.height)["result"])
            for result in results:
                if result["from_name"] in words(covered):
                    result["value"]["text"] = [words(covered)[result["from_name"]]]
            regions.append(results)
        self.work.create(task, *regions)

    def version(self) -> str:
        return self.http.get("/health").json()["model_version"]

    def job(self) -> dict[str, Any]:
        (job,) = self.http.get("/jobs").json()["jobs"]
        return job

    def suggestions(self, number: int) -> list[Suggestion]:
        with Ledger(self.studio.data_dir / "ledger.sqlite") as ledger:
            return ledger.suggestions_of_task(self.work.project, self.work.tasks[number])

    def submitted(self) -> int:
        with Ledger(self.studio.data_dir / "ledger.sqlite") as ledger:
            return ledger.count_annotations(self.work.project)

    def run(self, *arguments: object) -> str:
        """A command of `pam-studio`, as a person types it."""
        command = [self.studio.backend.command[0], *map(str, arguments), "--data-dir", str(self.studio.data_dir)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300, env=self.studio.backend.env)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout


def test_the_loop_once_around(studio: Demo, annotator: Annotator, page: Page, tmp_path: Path) -> None:
    """Nothing stands in for anything: memory, training, evaluation, promotion and report are those that users have."""
    story = Story(studio, annotator)
    first_model = story.version()

    for coin in story.open(0).coins[:6]:
        said = story.correct_on_the_screen(coin)
        assert said["category"] != NAME, "the name must be news to the model"
    annotator.screenshot("six_corrected")
    annotator.submit()
    wait_for(lambda: story.submitted() == 1)

    another_tray = TRAINED_ON
    seventh = story.open(another_tray).coins[0]
    annotator.click(seventh[:2])
    annotator.accept()
    annotator.select_region(0)
    annotator.screenshot("the_seventh")
    assert (annotator.read("category"), annotator.read("explanation")) == (NAME, EXPLANATION)
    (suggestion,) = story.suggestions(another_tray)
    assert suggestion.sources["category"] == "memory" and NAME not in suggestion.own

    before_training = range(1, TRAINED_ON + HELD_OUT)
    for number in before_training:
        story.correct(number)
    wait_for(lambda: story.submitted() == 1 + len(before_training))
    annotator.start_training(story.work.project)
    versions = clicks_until_another_model_answers(story, first_model)
    assert story.job()["state"] == "done", story.job()
    second_model = story.version()
    assert second_model != first_model and versions == sorted(versions, key=[first_model, second_model].index)
    assert versions.count(first_model) > 2 and versions.count(second_model) > 2

    assert_earned(story, second_model, first_model)
    fresh = TRAINED_ON + HELD_OUT
    said = story.correct_on_the_screen(story.open(fresh).coins[0])
    annotator.screenshot("new_model")
    assert (said["category"], said["explanation"]) == (NAME, EXPLANATION) and NAME in said["caption"]
    suggestion, *_ = story.suggestions(fresh)
    assert suggestion.model_version == second_model
    assert max(suggestion.own, key=lambda name: suggestion.own[name]) == NAME, "the model says so itself by now"
    annotator.submit()
    for number in range(fresh + 1, fresh + LATER):
        story.correct(number)
    wait_for(lambda: story.submitted() == 1 + len(before_training) + LATER)

    report = tmp_path / "stats.html"
    story.run("stats", "--html", report)
    page.goto(report.as_uri())
    page.screenshot(path=annotator.screenshots / "stats.png", full_page=True)
    kept = kept_by_field(page)
    for field in ("category", "explanation", "caption"):
        assert kept[second_model, field] > kept[first_model, field], kept
    assert kept[second_model, "category"] >= 90 and kept[first_model, "caption"] == 0, kept
    assert acceptance(page, second_model) > acceptance(page, first_model)


def clicks_until_another_model_answers(story: Story, model: str) -> list[str]:
    """Click on, on a tray that nobody has seen, while a training runs; which model answered each click."""
    versions: list[str] = []
    deadline = time.monotonic() + LONGEST_SECONDS
    for x, y, _ in cycle(story.open(len(story.trays) - 1).coins):
        versions.append(story.screen.click((x, y))["model_version"])
        if len(versions) == 1:
            story.screen.screenshot("while_it_trains")
        story.screen.reject()
        if model not in versions[-3:]:
            break
        job = story.job()
        assert job["state"] not in ENDED[1:] and "kept aside" not in job["message"], job
        assert time.monotonic() < deadline, job
        story.screen.page.wait_for_timeout(1000)
    return versions


def assert_earned(story: Story, version: str, before: str) -> None:
    """It took over since it was better on coins that it was never shown, with the rule's own words for it."""
    folder = story.studio.data_dir / "models" / version
    report, decision = (json.loads((folder / name).read_text()) for name in ("report.json", "decision.json"))
    assert (report["base"], decision["against"], decision["passed"]) == (before, before, True)
    assert report["validation"]["regions"] == HELD_OUT * len(story.trays[TRAINED_ON].coins) >= 20
    assert "category rose from .00 to " in decision["reason"]
    assert version in story.run("models") and decision["reason"] in story.job()["message"]


def kept_by_field(page: Page) -> dict[tuple[str, str], int]:
    """What the page says of each model and field: how many percent were kept as suggested."""
    rows = page.locator("h2:text-is('By field') + table tr").all()[1:]
    cells = [row.locator("td").all_inner_texts() for row in rows]
    return {(each[0], each[1]): int(each[6].rstrip(" %")) for each in cells if each[6]}


def acceptance(page: Page, model: str) -> float:
    """Percent of a model's suggestions that were accepted as they were, by the page."""
    row = page.locator("h2:text-is('By model version') + table tr").filter(has_text=model)
    return float(row.locator("td").last.inner_text().rstrip(" %"))
