"""A real Label Studio, a real backend and a real browser, started as `make demo` starts them."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from backend.demo.running import Demo, running
from backend.demo.studio import EMAIL, PASSWORD
from tests.e2e.annotator import Annotator

ARTIFACTS = Path(__file__).resolve().parents[1] / "artifacts"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running(tmp_path_factory.mktemp("demo"), free_port(), free_port()) as started:
        yield started


@pytest.fixture
def page() -> Iterator[Page]:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert browser, f"none of {', '.join(BROWSERS)} is installed: .ci/run installs chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS)
        page = chromium.new_page(viewport={"width": 1500, "height": 1300})
        page.set_default_timeout(20_000)
        yield page
        chromium.close()


@pytest.fixture
def annotator(page: Page, demo: Demo, request: pytest.FixtureRequest) -> Iterator[Annotator]:
    """Somebody who has logged in; tests/artifacts holds what they saw last time."""
    screenshots = ARTIFACTS / request.node.name
    shutil.rmtree(screenshots, ignore_errors=True)
    screenshots.mkdir(parents=True)
    annotator = Annotator(page, demo.label_studio.url, screenshots)
    annotator.log_in(EMAIL, PASSWORD)
    yield annotator
    annotator.screenshot("end")


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
