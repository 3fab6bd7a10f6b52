"""scripts/setup.py: a rerun after anything recovers, one without need does nothing, and what fails says why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NO_INDEX = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with what setup.py reads, and no .venv."""
    for name in ("pyproject.toml", "constraints.txt", "scripts/setup.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run_setup(checkout: Path, python: str = sys.executable, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it without a package index, so that it can install nothing."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [python, str(checkout / "scripts" / "setup.py")],
        capture_output=True,
        text=True,
        timeout=120,
        env=inherited | NO_INDEX | environment,
    )


def make_complete(checkout: Path) -> None:
    """A .venv as a finished setup leaves it, less the packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(checkout / ".venv")], check=True)
    code = "import sys; sys.path.insert(0, 'scripts'); import setup; setup.STAMP.write_text(setup.fingerprint())"
    subprocess.run([sys.executable, "-c", code], cwd=checkout, check=True)


def test_does_nothing_when_nothing_changed(checkout: Path) -> None:
    make_complete(checkout)
    result = run_setup(checkout)
    assert result.returncode == 0 and result.stdout == "setup: .venv is ready\n"


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_goes_to_work_when_what_should_be_installed_changed(checkout: Path, changed: str) -> None:
    make_complete(checkout)
    with (checkout / changed).open("a") as file:
        file.write("\n# another version\n")
    assert "[1/4]" in run_setup(checkout).stdout


def test_failing_pip_is_one_sentence_and_the_rerun_keeps_the_environment(checkout: Path) -> None:
    result = run_setup(checkout)
    assert result.returncode == 1 and "[2/4] torch" in result.stdout
    assert result.stderr.splitlines()[-1].startswith("setup: pip could not install that")
    assert "Traceback" not in result.stderr
    assert "The conflict is caused by" in result.stderr, "what pip said before it gave up"
    assert len(result.stdout.splitlines()) == 2 and (checkout / ".venv" / "setup.log").is_file()

    kept = checkout / ".venv" / "kept"
    kept.touch()
    assert run_setup(checkout).returncode == 1
    assert kept.exists()


def test_broken_environment_is_made_anew(checkout: Path) -> None:
    """As after a kill in the middle of `python -m venv`, or when the system's Python has gone."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(checkout / "gone")
    (checkout / ".venv" / ".complete").write_text("")
    assert "[2/4] torch" in run_setup(checkout).stdout
    subprocess.run([checkout / ".venv" / "bin" / "python", "-m", "pip", "--version"], check=True, capture_output=True)


def test_damaged_packages_are_found(checkout: Path) -> None:
    """A killed pip leaves a record without INSTALLER; a clean-up by hand leaves one whose files are gone."""
    packages = checkout / ".venv" / "lib" / "python3.11" / "site-packages"
    for name, files in {
        "half": ["METADATA", "RECORD"],
        "whole": ["METADATA", "RECORD", "INSTALLER"],
        "gone": ["METADATA", "RECORD", "INSTALLER"],
        "recordless": ["METADATA", "INSTALLER"],
    }.items():
        (packages / f"{name}-1.0.dist-info").mkdir(parents=True)
        for file in files:
            (packages / f"{name}-1.0.dist-info" / file).touch()
    (packages / "whole.py").touch()
    (packages / "whole-1.0.dist-info" / "RECORD").write_text("whole.py,,\n__pycache__/whole.cpython-311.pyc,,\n")
    (packages / "gone-1.0.dist-info" / "RECORD").write_text('"gone, sort of.py",,\n')
    code = "import sys; sys.path.insert(0, 'scripts'); import setup; print(*(r.name for r in setup.damaged_packages()))"
    found = subprocess.run([sys.executable, "-c", code], cwd=checkout, check=True, capture_output=True, text=True)
    assert sorted(found.stdout.split()) == ["gone-1.0.dist-info", "half-1.0.dist-info", "recordless-1.0.dist-info"]


@pytest.mark.parametrize(("version", "finding"), [((3, 9), "is 3.9"), ((3, 14), "is 3.14")])
def test_unsuitable_python_is_one_sentence(checkout: Path, version: tuple[int, int], finding: str) -> None:
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; "
        f"sys.version_info = {(*version, 0)}; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(checkout / "scripts" / "setup.py")]
    result = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/nonexistent"}, timeout=60)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "Python 3.11 to 3.13 is needed" in line and finding in line


def test_missing_venv_module_is_one_sentence(checkout: Path) -> None:
    """Debian's python3 without python3-venv: `import ensurepip` fails."""
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; "
        "sys.modules['ensurepip'] = None; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(checkout / "scripts" / "setup.py")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith("`sudo apt install python3-venv`, then rerun")
