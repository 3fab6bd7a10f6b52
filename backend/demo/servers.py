"""The two servers of the demo: started, waited for, watched, stopped."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx

LOOPBACK = "127.0.0.1"
LOG_LINES = 15


class DemoError(Exception):
    """Why the demo cannot go on, in words for the person who started it."""


class Server:
    """A child process that serves HTTP on 127.0.0.1, on a leash (see backend.leash).

    name:    as people know it.
    command: program and arguments.
    env:     its whole environment.
    port:    where it listens.
    log:     file that takes its output; added to, so that a restart keeps what went wrong before.
    """

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], port: int, log: Path):
        self.name, self.command, self.env, self.port, self.log = name, tuple(command), dict(env), port, log
        self._process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self, keep_open: Sequence[int] = ()) -> None:
        """Start it; the file descriptors of `keep_open` stay open until it has ended."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "backend.leash", *self.command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                start_new_session=True,
                pass_fds=keep_open,
            )

    def wait_until_healthy(self, seconds: float, waiting: Callable[[float], None] = lambda _: None) -> None:
        """Return once `/health` answers; `waiting` hears the seconds waited so far, four times a second.

        Raises DemoError when the server ends, or takes longer than `seconds`.
        """
        started = time.monotonic()
        with httpx.Client(trust_env=False, timeout=5) as client:
            while (waited := time.monotonic() - started) < seconds:
                self.check_alive()
                try:
                    if client.get(f"{self.url}/health").is_success:
                        return
                except httpx.TransportError:
                    pass  # not listening yet
                waiting(waited)
                time.sleep(0.25)
        raise DemoError(f"{self.name} did not answer within {seconds:.0f} s. {self._end_of_log()}")

    def check_alive(self) -> None:
        """Raise DemoError with the end of the log if the server has stopped."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise DemoError(f"{self.name} stopped by itself (exit status {status}). {self._end_of_log()}")

    def ask_to_stop(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def stop(self) -> None:
        """Stop it and wait for its end; does nothing where it does not run."""
        self.ask_to_stop()
        if self._process is not None:
            self._process.wait()

    def _end_of_log(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:] if self.log.is_file() else []
        return "\n".join([f"The end of its log, {self.log}:", *(f"  {line}" for line in lines)])


def check_port_is_free(port: int, whose: str, remedy: str) -> None:
    """Raise DemoError if something listens on `port` already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise DemoError(
                f"port {port}, wanted for {whose}, cannot be had ({error.strerror}): stop what uses it, or {remedy}"
            ) from None
