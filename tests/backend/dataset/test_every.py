"""Exports by the clock run beside the server, one at a time, and end with it."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from backend.dataset.every import Exports, environment
from backend.options import read_settings
from backend.settings import Settings

NOTE = "import os, sys, time; open(sys.argv[1], 'a').write(os.environ['PAM_STUDIO_OUT'] + '\\n');"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_it_runs_again_and_again_with_the_servers_settings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was an option of `serve` is one of its exports; what they say goes to the log."""
    caplog.set_level(logging.INFO, "backend.dataset.every")
    settings = Settings(every="1s", out=tmp_path / "regions")
    exports = Exports(settings, [sys.executable, "-c", f"{NOTE} print('done')", str(tmp_path / "runs")])
    exports.start()
    until(lambda: len(lines(tmp_path / "runs")) >= 2 and "export: done" in caplog.text)
    exports.stop()
    assert set(lines(tmp_path / "runs")) == {str(tmp_path / "regions")}


def test_a_failure_is_a_warning_and_not_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Label Studio is down for an hour: the next export comes all the same."""
    command = [sys.executable, "-c", f"{NOTE} sys.exit('pam-studio: it is gone')", str(tmp_path / "runs")]
    exports = Exports(Settings(every="1s"), command)
    exports.start()
    until(lambda: len(lines(tmp_path / "runs")) >= 2)
    exports.stop()
    assert "the export failed: pam-studio: it is gone" in caplog.text


def test_the_running_export_ends_with_the_server(tmp_path: Path) -> None:
    """`Ctrl-C` leaves no process behind."""
    code = f"{NOTE} open(sys.argv[1] + '.pid', 'w').write(str(os.getpid())); time.sleep(600)"
    exports = Exports(Settings(every="1s"), [sys.executable, "-c", code, str(tmp_path / "runs")])
    exports.start()
    until(lambda: lines(tmp_path / "runs.pid") != [])
    exports.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "runs.pid").read_text()), 0)
    assert len(lines(tmp_path / "runs")) == 1


def test_settings_survive_the_way_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, the secrets too, which no command line may show."""
    settings = Settings.model_validate(
        {"every": "2h", "label_studio_url": "http://studio", "label_studio_api_key": "secret", "validation": "0.25"}
    )
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert read_settings({}) == settings


@pytest.mark.parametrize("every", ["30", "0m", "m", "1.5h", "30 m", "-1s", "30M"])
def test_a_wrong_interval_is_refused(every: str) -> None:
    """Before the server starts."""
    with pytest.raises(ValidationError, match="every"):
        Settings(every=every)
