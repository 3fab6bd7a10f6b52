"""Makes `.venv`: everything PAM Studio, its demo and its tests need, in the versions of constraints.txt.

With `--only-backend`, as the Dockerfile has it, what the demo and the tests need stays out.

Run by `make setup` with the system's Python, so it uses the standard library only, and nothing newer than Python 3.7
until it has said which Python it wants. Run again at any time: it does nothing when nothing changed, and goes on
where it was stopped.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 13)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".complete"
LOG, TAIL = VENV / "setup.log", 12
CONSTRAINTS = ROOT / "constraints.txt"
SAM2_NEEDS = ("hydra-core", "iopath", "tqdm")
STEPS = 4
ONLY_BACKEND = "--only-backend" in sys.argv[1:]


def main() -> None:
    use_a_suitable_python()
    damaged = damaged_packages()
    if STAMP.is_file() and STAMP.read_text() == fingerprint() and not damaged:
        print("setup: .venv is ready")
        return
    make_environment()
    STAMP.unlink(missing_ok=True)
    for record in damaged:
        shutil.rmtree(record)
    install_torch()
    install_dependencies()
    install_project()
    STAMP.write_text(fingerprint() or "")
    print("setup: .venv is ready", flush=True)


def use_a_suitable_python() -> None:
    """Go on in a Python that the pinned packages exist for, if this one is not."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        other = shutil.which(f"python3.{minor}")
        if other and subprocess.run([other, "-c", ""], capture_output=True).returncode == 0:
            os.execv(other, [other, *sys.argv])
    fail(
        f"Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]} is needed, and {sys.executable} is "
        f"{sys.version_info[0]}.{sys.version_info[1]}: install one, then run `make setup PYTHON=python3.11`"
    )


def fingerprint() -> str | None:
    """Changes with what should be installed, and with the Python that it is installed for; None without a .venv."""
    version = run_quietly(PYTHON, "-c", "import sys; print(sys.version)")
    if version is None:
        return None
    parts = [(ROOT / "pyproject.toml").read_bytes(), CONSTRAINTS.read_bytes(), f"{version}{ONLY_BACKEND}".encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def make_environment() -> None:
    step(1, f"environment .venv, Python {sys.version_info[0]}.{sys.version_info[1]}")
    if run_quietly(PYTHON, "-m", "pip", "--version") is not None:
        return
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        fail("this Python cannot make environments: on Debian or Ubuntu, `sudo apt install python3-venv`, then rerun")
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)]).returncode != 0:
        fail(f"{VENV} could not be made: the reason stands above; put it right and rerun")


def damaged_packages() -> list[Path]:
    """The records of packages that are not all there: without them, pip installs the packages again.

    A killed run leaves a record without its INSTALLER file, which pip writes last; somebody who cleaned up leaves one
    whose files are gone.
    """
    return [record for record in VENV.glob("lib/python*/site-packages/*.dist-info") if is_damaged(record)]


def is_damaged(record: Path) -> bool:
    """Whether a file that a package's record names is missing; compiled files come and go."""
    try:
        files = [row[0] for row in csv.reader((record / "RECORD").read_text(encoding="utf-8").splitlines()) if row]
    except OSError:
        return True
    there = (os.path.exists(record.parent / file) for file in files if not file.endswith(".pyc"))
    return not (record / "INSTALLER").is_file() or not all(there)


def install_torch() -> None:
    index = os.environ.get("TORCH_INDEX_URL")
    step(2, "torch" + (" (from TORCH_INDEX_URL)" if index else ""))
    pip("torch", *(["--index-url", index] if index else []))


def install_dependencies() -> None:
    """All but sam2, which would bring torchvision: useless here, and broken beside a CPU build of torch."""
    step(3, "the other packages, some 100" if ONLY_BACKEND else "Label Studio and the other packages, some 200")
    import tomllib  # Python 3.11, which is certain here

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = ["setuptools", "wheel", *project["dependencies"], *SAM2_NEEDS]
    if not ONLY_BACKEND:
        wanted += [*extras["demo"], *extras["test"]]
    pip(*(name for name in wanted if not name.startswith(("sam2", "pam-studio"))))


def install_project() -> None:
    """sam2 is built here: without isolation, so that the build uses the torch of step 2 and not one more."""
    step(4, "sam2 and PAM Studio")
    os.environ["SAM2_BUILD_CUDA"] = "0"
    pip("--no-deps", "--no-build-isolation", "sam2", "--editable", str(ROOT))


def pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--constraint", str(CONSTRAINTS)]
    with LOG.open("a", encoding="utf-8") as log:
        process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, errors="replace")
        for line in process.stdout or ():
            log.write(line)
            show(line.strip())
    show("")
    if process.wait() != 0:
        print("".join(LOG.read_text(encoding="utf-8").splitlines(keepends=True)[-TAIL:]), file=sys.stderr)
        fail(
            f"pip could not install that: the reason stands above, more in {LOG}. Without a network, connect it (or "
            "point pip at a mirror); then rerun, it goes on from here"
        )


def show(line: str) -> None:
    """What is being done, in one line that the next one replaces; nothing where that is no terminal."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)


def run_quietly(*command: object) -> str | None:
    """What a command prints, or None where it cannot be run or fails."""
    try:
        result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    except OSError:
        return None
    return result.stdout if result.returncode == 0 else None


def step(number: int, what: str) -> None:
    print(f"setup: [{number}/{STEPS}] {what}", flush=True)


def fail(message: str) -> None:
    sys.exit(f"setup: {message}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nsetup: stopped; a rerun goes on from here")
