"""What ARCHITECTURE.md says of imports, held by reading them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ABOVE_MODEL = {"backend", "flask", "gunicorn", "httpx", "label_studio_sdk", "prometheus_client", "requests"}


def imported(file: Path) -> set[str]:
    """Top-level packages that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("file", sorted((ROOT / "model").rglob("*.py")), ids=lambda f: str(f.relative_to(ROOT)))
def test_model_knows_nothing_of_label_studio_or_http(file: Path):
    """Imports point one way."""
    assert imported(file) & ABOVE_MODEL == set()


def test_larger_models_do_without_proposals():
    """Loading the package does not load what only nano needs."""
    code = "import sys, model; sys.exit('model.proposals' in sys.modules or 'skimage' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0


def test_every_file_on_the_page_exists():
    """The tour names files by their names."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    names = set(re.findall(r"`((?:\w+/)*\w+\.(?:py|xml))`", page))
    known = {str(file.relative_to(ROOT)) for file in [*ROOT.glob("backend/**/*.py"), *ROOT.glob("model/**/*.py")]}
    known |= {
        str(file.relative_to(ROOT)) for folder in ("tests", "benchmarks") for file in ROOT.glob(f"{folder}/**/*.py")
    }
    assert names
    assert {n for n in names if not any(k == n or k.endswith("/" + n) for k in known)} == set()
