"""The demo's folder: a token that stays, one demo at a time, and clear words where it cannot start."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from backend.demo import photographs, running, studio
from backend.demo.servers import DemoError

DEMO = [sys.executable, "-m", "backend.demo"]


def test_token_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = running._token(path)
    assert len(token) == 40 and int(token, 16) >= 0
    assert running._token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("left", ["token", "token.draft"])
def test_token_of_a_killed_start_is_made_anew(tmp_path: Path, left: str) -> None:
    (tmp_path / left).write_text("0123")
    assert len(running._token(tmp_path / "token")) == 40
    assert sorted(file.name for file in tmp_path.iterdir()) == ["token"]


def test_one_demo_at_a_time_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LOCK_SECONDS", 0.3)
    with running._locked(tmp_path):
        with pytest.raises(DemoError, match="another demo runs on .* DEMO_DIR"):
            with running._locked(tmp_path):
                pass
    with running._locked(tmp_path):
        pass


def test_lock_lasts_as_long_as_a_server_that_inherited_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the rerun after a kill -9 waits for the old servers to leave their ports."""
    monkeypatch.setattr(running, "LOCK_SECONDS", 0.3)
    with running._locked(tmp_path) as lock:
        heir = subprocess.Popen(["sleep", "600"], pass_fds=[lock])
    with pytest.raises(DemoError), running._locked(tmp_path):
        pass
    heir.send_signal(signal.SIGKILL)
    heir.wait()
    with running._locked(tmp_path):
        pass


def test_only_an_unfinished_database_is_begun_anew(tmp_path: Path) -> None:
    """A finished one is somebody's work, whatever else of the folder is lost."""
    database = tmp_path / "label-studio" / "label_studio.sqlite3"
    with pytest.raises(KeyboardInterrupt), running._finished_database(database.parent, print):
        database.write_text("half")
        raise KeyboardInterrupt
    with running._finished_database(database.parent, print):
        assert not database.exists()
        database.write_text("whole")
    with running._finished_database(database.parent, print):
        assert database.read_text() == "whole"


@pytest.mark.parametrize(("option", "remedy"), [("--port", "DEMO_PORT"), ("--backend-port", "DEMO_BACKEND_PORT")])
def test_busy_port_is_one_sentence_and_leaves_nothing_running(
    tmp_path: Path, free_port: int, option: str, remedy: str
) -> None:
    other = "--backend-port" if option == "--port" else "--port"
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        command = [*DEMO, option, str(port), other, str(free_port), "--data-dir", str(tmp_path)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert f"port {port}" in line and remedy in line
    with running._locked(tmp_path):
        pass


def test_label_studio_gets_none_of_the_settings_of_another_one(tmp_path: Path) -> None:
    inherited = {"PATH": "/bin", "LABEL_STUDIO_DATABASE_NAME": "theirs", "DJANGO_DB": "default", "POSTGRE_HOST": "db"}
    environment = studio.environment(inherited, tmp_path, "f" * 40)
    assert environment["PATH"] == "/bin" and environment["LABEL_STUDIO_BASE_DATA_DIR"] == str(tmp_path)
    assert not {"LABEL_STUDIO_DATABASE_NAME", "DJANGO_DB", "POSTGRE_HOST"} & environment.keys()


def test_a_proxy_is_not_asked_for_this_machine() -> None:
    direct = running._reach_this_machine_directly({"HTTP_PROXY": "http://proxy", "no_proxy": "example.com"})
    assert direct["no_proxy"] == direct["NO_PROXY"] == "127.0.0.1,localhost,example.com"


def test_at_least_six_photographs_come_with_scikit_image() -> None:
    assert len(set(photographs.NAMES)) >= 6
    for name in photographs.NAMES:
        data = photographs.read(name)
        assert data.startswith((b"\x89PNG", b"\xff\xd8")), f"{name} is no picture"
        assert len(data) > 50_000


def test_ports_that_cannot_be_are_refused(tmp_path: Path) -> None:
    result = subprocess.run([*DEMO, "--port", "99999", "--data-dir", str(tmp_path)], capture_output=True, timeout=60)
    assert result.returncode == 2 and os.listdir(tmp_path) == []
