"""`pam-studio models`, as people type it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from backend.cli import app
from tests.backend.models.runs import BASE, WORSE, registry, run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def said(data: Path, *arguments: object, columns: int = 80) -> Result:
    command = ["models", *map(str, arguments), "--data-dir", str(data)]
    return CliRunner().invoke(app, command, env={"COLUMNS": str(columns)})


def test_one_training_after_another(data: Path, tmp_path: Path):
    """Considered, listed, shown, rolled back, promoted by hand: each command says what is so now."""
    better, worse = run(tmp_path / "better"), run(tmp_path / "worse", 2, WORSE, base=run(tmp_path / "x")[1])
    listed = said(data)
    assert listed.exit_code == 0 and BASE in listed.output and "active" in listed.output and not data.exists()
    assert said(data, "consider", better[0]).output.startswith(
        f"{better[1]} answers now: category rose from .50 to .90"
    )
    assert said(data, "consider", worse[0]).output.startswith(f"{worse[1]} is kept aside: category fell")
    listed = said(data, "list")
    assert max(map(len, listed.output.splitlines())) <= 80
    for words in (BASE, better[1], worse[1], "category 0.50 → 0.90", "200 regions, 40", "kept aside:"):
        assert words in listed.output, listed.output
    shown = said(data, "show", worse[1], columns=120).output
    for words in (f"trained from: {better[1]}", "kept aside: category fell", "p < .001", "coin", "0.50 → 0.75"):
        assert words in shown, shown
    refused = said(data, "promote", worse[1])
    assert "was kept aside: category fell" in str(refused.exception) and registry(data).active().version == better[1]
    assert said(data, "promote", worse[1], "--force").output == f"{worse[1]} answers now\n"
    assert said(data, "rollback").output == f"{better[1]} answers again, instead of {worse[1]}\n"
    assert said(data, "promote", "base").output == "nano answers now\n"
    assert "was active" in said(data, "list").output and registry(data).active().version is None
    assert said(data, "remove", worse[1]).output == f"{worse[1]} is gone\n"
    assert worse[1] not in said(data, "list").output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", "pam-nano-1"), "'pam-nano-1' is no version"),
        (("promote", "pam-nano-1"), "'pam-nano-1' is no version"),
        (("rollback",), "nothing was promoted"),
        (("consider", "nowhere"), "name the folder of a finished training"),
    ],
)
def test_what_cannot_be_is_told(data: Path, arguments: tuple[str, ...], says: str):
    """In one line that names what was given."""
    result = said(data, *arguments)
    assert result.exit_code == 1 and says in str(result.exception)
    assert registry(data).names() == []


def test_a_damaged_version_does_not_hide_the_others(data: Path, tmp_path: Path):
    """Somebody tidied up by hand."""
    folder, version = run(tmp_path / "run")
    assert said(data, "consider", folder).exit_code == 0
    (registry(data).folder / "odd").mkdir()
    (registry(data).folder / version / "decision.json").write_text("{")
    output = said(data).output
    for name in ("odd", version):
        (row,) = (line for line in output.splitlines() if name in line and "damaged:" in line)
        assert row
    assert BASE in output


def test_help_does_not_wait_for_pytorch():
    """It is asked for often."""
    code = (
        "import sys; from typer.testing import CliRunner; from backend.cli import app; "
        "result = CliRunner().invoke(app, ['models', '--help']); sys.exit('torch' in sys.modules or result.exit_code)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 0
