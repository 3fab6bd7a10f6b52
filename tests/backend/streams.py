"""Servers of live streams that go away and come back: over HTTP, and over RTSP (RFC 2326) with MPEG-TS in RTP (RFC
2250) on the same connection."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

PACKET = 7 * 188
_SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=live\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track0\r\n"


class _Http(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        asked = [self.rfile.readline()]
        while asked[-1].strip():
            asked.append(self.rfile.readline())
        head = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n"
        part = self.server.visit()  # type: ignore[attr-defined]
        self.wfile.write(b"HTTP/1.1 503 Gone\r\nContent-Length: 0\r\n\r\n" if part is None else head + part)


class _Rtsp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            method, number = line.split()[0].decode(), "0"
            while field := self.rfile.readline().strip():
                if field.lower().startswith(b"cseq:"):
                    number = field[5:].strip().decode()
            if method == "TEARDOWN":
                return
            self._answer(method, number)
            if method == "PLAY":
                self._play(self.server.visit())  # type: ignore[attr-defined]
                return

    def _answer(self, method: str, number: str) -> None:
        more, body = {
            "OPTIONS": ("Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n", ""),
            "DESCRIBE": ("Content-Type: application/sdp\r\n", _SDP),
            "SETUP": ("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n", ""),
        }.get(method, ("Session: 1\r\n", ""))
        size = f"Content-Length: {len(body)}\r\n" if body else ""
        self.wfile.write(f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{more}{size}\r\n{body}".encode())

    def _play(self, part: bytes | None) -> None:
        for index, start in enumerate(range(0, len(part or b""), PACKET)):
            payload = (part or b"")[start : start + PACKET]
            header = struct.pack("!BBHII", 0x80, 33, index & 0xFFFF, 90 * index, 7)
            self.wfile.write(b"$\0" + struct.pack("!H", len(header) + len(payload)) + header + payload)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True
    parts: list[bytes]

    def visit(self) -> bytes | None:
        """What the next visitor gets, before the line goes dead; None where nothing is left."""
        return self.parts.pop(0) if self.parts else None


@contextmanager
def live(scheme: str, parts: Sequence[bytes]) -> Iterator[str]:
    """The address of a stream of MPEG-TS that breaks off after each part, and stays away after the last."""
    with _Server(("127.0.0.1", 0), _Rtsp if scheme == "rtsp" else _Http) as server:
        server.parts = list(parts)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"{scheme}://ann:secret@127.0.0.1:{server.server_address[1]}/live.ts"
        finally:
            server.shutdown()
