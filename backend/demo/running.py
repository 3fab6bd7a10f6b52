"""The demo as a whole: from nothing, or from where it was killed, to two servers and a project."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backend.demo import studio
from backend.demo.servers import LOOPBACK, DemoError, Server, check_port_is_free

LABEL_CONFIG = Path(__file__).resolve().parents[2] / "label_config" / "image.xml"
FIRST_START_SECONDS = 600.0
BACKEND_SECONDS = 120.0
LOCK_SECONDS = 15.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Demo:
    """A demo that is up: its folder and servers, and the id and token that its project is reached with."""

    data_dir: Path
    label_studio: Server
    backend: Server
    project: int
    token: str = field(repr=False)

    def check_alive(self) -> None:
        """Raise DemoError if one of the servers has stopped."""
        self.label_studio.check_alive()
        self.backend.check_alive()


@contextmanager
def running(data_dir: Path, port: int, backend_port: int, say: Say = print) -> Iterator[Demo]:
    """Start Label Studio and PAM Studio over what `data_dir` holds, and stop both on the way out.

    Raises DemoError.
    """
    data_dir = data_dir.absolute()
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(data_dir) as lock:
        check_port_is_free(port, "Label Studio", "choose another with `make demo DEMO_PORT=8081`")
        check_port_is_free(backend_port, "PAM Studio", "choose another with `make demo DEMO_BACKEND_PORT=9091`")
        token = _token(data_dir / "token")
        label_studio, backend = _servers(data_dir, port, backend_port, token)
        try:
            with _finished_database(data_dir / "label-studio", say):
                label_studio.start([lock])
                backend.start([lock])
                backend.wait_until_healthy(BACKEND_SECONDS)
                label_studio.wait_until_healthy(FIRST_START_SECONDS, _every_ten_seconds(say))
            with studio.DemoProject(label_studio.url, token) as project:
                number = project.ensure(LABEL_CONFIG.read_text())
                project.connect(number, backend.url)
                _import_photographs(project, number, data_dir / "photographs.imported", say)
            yield Demo(data_dir, label_studio, backend, number, token)
        finally:
            label_studio.ask_to_stop()
            backend.stop()
            label_studio.stop()


def _import_photographs(project: studio.DemoProject, number: int, done: Path, say: Say) -> None:
    """Import them once into a project: those that a person deletes afterwards stay away."""
    if done.exists() and done.read_text() == str(number):
        return
    if imported := project.import_photographs(number):
        say(f"imported {imported} photographs")
    done.write_text(str(number))


def _servers(data_dir: Path, port: int, backend_port: int, token: str) -> tuple[Server, Server]:
    """Label Studio and PAM Studio, not started."""
    programs = Path(sys.executable).parent
    inherited = _reach_this_machine_directly(os.environ)
    logs = data_dir / "logs"
    label_studio = Server(
        "Label Studio",
        studio.command(str(programs / "label-studio"), port),
        studio.environment(inherited, data_dir / "label-studio", token),
        port,
        logs / "label-studio.log",
    )
    ours = {"LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": token}
    serve = [str(programs / "pam-studio"), "serve", "--host", LOOPBACK, "--port", str(backend_port)]
    serve += ["--data-dir", str(data_dir), "--out", str(data_dir / "regions")]
    # Label Studio would not know the password that another backend of this person's asks for.
    open_to_all = {name: value for name, value in inherited.items() if not name.startswith("PAM_STUDIO_BASIC_AUTH")}
    return label_studio, Server("PAM Studio", serve, open_to_all | ours, backend_port, logs / "pam-studio.log")


@contextmanager
def _finished_database(folder: Path, say: Say) -> Iterator[None]:
    """Give the start inside a database that no earlier start was killed in the middle of making.

    Only one that is marked as unfinished is removed: Label Studio never came up with it, so nobody has worked in it.
    """
    unfinished = folder.with_suffix(".unfinished")
    if unfinished.exists():
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        say("Label Studio makes its database: about a minute, the first time only")
        unfinished.touch()
        folder.mkdir()
    yield
    unfinished.unlink(missing_ok=True)


def _every_ten_seconds(say: Say) -> Callable[[float], None]:
    told = 0.0

    def waiting(seconds: float) -> None:
        nonlocal told
        if seconds - told >= 10:
            told = seconds
            say(f"  … {seconds:.0f} s")

    return waiting


@contextmanager
def _locked(data_dir: Path) -> Iterator[int]:
    """Hold `data_dir` for one demo. The servers inherit the lock, so a killed demo's are waited for until they end."""
    with (data_dir / "lock").open("a") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DemoError(
                        f"another demo runs on {data_dir}: stop it with Ctrl-C, or choose another folder with "
                        "`make demo DEMO_DIR=…`"
                    ) from None
                time.sleep(0.25)
        yield file.fileno()


def _token(path: Path) -> str:
    """The token that the demo's user is created with: made once, readable by its owner only."""
    if path.is_file() and len(token := path.read_text().strip()) == 40:
        return token
    token = secrets.token_hex(20)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    draft.replace(path)
    return token


def _reach_this_machine_directly(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment with 127.0.0.1 taken out of what goes through a proxy."""
    others = inherited.get("no_proxy") or inherited.get("NO_PROXY")
    direct = ",".join(filter(None, ["127.0.0.1", "localhost", others]))
    return {**inherited, "no_proxy": direct, "NO_PROXY": direct}
