"""`pam-studio export` as people and clocks run it: what it says, and the status that it ends with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend.dataset.store import opened, versions
from backend.ledger import Ledger, Project
from tests.backend.dataset.small import CONFIG
from tests.backend.label_studio_double import LEGACY, label_studio_double

PROGRAM = Path(sys.executable).parent / "pam-studio"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The data folder of a backend that project 1 is connected to."""
    with Ledger(tmp_path / "data" / "ledger.sqlite") as ledger:
        ledger.remember_project(Project(1, CONFIG))
    return tmp_path / "data"


def export(data_dir: Path, url: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PAM_STUDIO", "LABEL_STUDIO"))}
    where = {"PAM_STUDIO_DATA_DIR": str(data_dir), "PAM_STUDIO_OUT": str(data_dir / "regions")}
    studio = {"LABEL_STUDIO_URL": url, "LABEL_STUDIO_API_KEY": LEGACY, "PAM_STUDIO_FORMATS": "coco"}
    return subprocess.run([PROGRAM, "export"], capture_output=True, text=True, timeout=300, env=clean | where | studio)


def test_the_second_of_two_exports_says_so_and_ends(data_dir: Path) -> None:
    """With status 1 and one line, so that a script sees it; the version that is being made is not touched."""
    with label_studio_double() as double:
        double.label_config = CONFIG
        with opened(data_dir / "regions"):
            second = export(data_dir, double.url)
        assert (second.returncode, second.stdout.strip()) == (1, "")
        assert second.stderr == (
            f"pam-studio: another export to {data_dir / 'regions'} is running: wait for it, or choose another folder\n"
        )
        assert versions(data_dir / "regions") == []
        assert export(data_dir, double.url).returncode == 0
    assert versions(data_dir / "regions") == [1]
