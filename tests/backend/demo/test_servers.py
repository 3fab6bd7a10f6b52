"""The demo's servers: waited for, and when something is wrong, said in words that help."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import httpx
import pytest

from backend.demo.servers import DemoError, Server, check_port_is_free

HEALTHY = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
DYING = "import sys; print('disk quota exceeded'); sys.exit(3)"


def server(code: str, port: int, log: Path) -> Server:
    return Server("Sample", [sys.executable, "-c", code, str(port)], os.environ, port, log)


def test_becomes_healthy_and_frees_its_port(free_port: int, tmp_path: Path) -> None:
    sample = server(HEALTHY, free_port, tmp_path / "logs" / "sample.log")
    sample.start()
    try:
        sample.wait_until_healthy(20)
        assert httpx.get(f"{sample.url}/health", trust_env=False).status_code == 200
        sample.check_alive()
    finally:
        sample.stop()
    check_port_is_free(free_port, "the test", "")


def test_a_server_that_dies_is_reported_with_its_last_words(free_port: int, tmp_path: Path) -> None:
    sample = server(DYING, free_port, tmp_path / "sample.log")
    sample.start()
    with pytest.raises(DemoError, match=r"Sample stopped by itself \(exit status 3\)") as raised:
        sample.wait_until_healthy(20)
    assert "disk quota exceeded" in str(raised.value) and str(tmp_path / "sample.log") in str(raised.value)


def test_a_server_that_never_answers_is_given_up(free_port: int, tmp_path: Path) -> None:
    waited: list[float] = []
    sample = server("import time; time.sleep(600)", free_port, tmp_path / "sample.log")
    sample.start()
    try:
        with pytest.raises(DemoError, match="Sample did not answer within 1 s"):
            sample.wait_until_healthy(1, waited.append)
    finally:
        sample.stop()
    assert waited == sorted(waited) and len(waited) >= 2


def test_stopping_what_was_never_started_is_no_error(free_port: int, tmp_path: Path) -> None:
    server(HEALTHY, free_port, tmp_path / "sample.log").stop()


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_busy_port_is_named_with_a_remedy(address: str) -> None:
    with socket.socket() as other:
        other.bind((address, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(DemoError, match=rf"port {port}, wanted for the test, .* or take another one"):
            check_port_is_free(port, "the test", "take another one")
