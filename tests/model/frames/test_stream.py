"""Frames as they come: nothing piles up, nothing hangs, and what goes away may come back."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from model.errors import VideoError
from model.frames import Frame, Stream, open_stream
from model.frames.decoding import named
from tests.model.frames.clips import number_in, numbered, write

WAIT = 60.0


def endless(made: list[int], enough: threading.Event | None = None) -> Iterator[Frame]:
    image = np.zeros((4, 4, 3), np.uint8)
    for index in itertools.count():
        made.append(index)
        if enough is not None and index == 50:
            enough.set()
        yield Frame(index, index / 25, image)


def test_a_source_waits():
    """Back-pressure: no more frames are read than may wait, and none is lost."""
    made: list[int] = []
    with Stream("source", endless(made), live=False, capacity=3) as stream:
        taken = [frame.index for frame in itertools.islice(stream, 20)]
        assert taken == list(range(20))
        assert len(made) <= 20 + 3 + 2
        assert stream.dropped == 0


def test_a_live_source_does_not_wait():
    """The oldest waiting frames are dropped, and counted; numbers tell where."""
    made: list[int] = []
    enough = threading.Event()
    with Stream("source", endless(made, enough), live=True, capacity=3) as stream:
        assert enough.wait(WAIT)
        first = next(iter(stream))
        assert first.index > 10
        assert stream.dropped >= first.index


def test_drop_is_a_choice():
    """A live source waits where it is told to."""
    made: list[int] = []
    with Stream("source", endless(made), live=True, drop=False, capacity=3) as stream:
        assert [frame.index for frame in itertools.islice(stream, 9)] == list(range(9))


def test_errors_come_after_the_frames_before_them():
    """What was read until then counts."""

    def breaks() -> Iterator[Frame]:
        yield Frame(0, 0.0, np.zeros((4, 4, 3), np.uint8))
        raise VideoError("it broke")

    with Stream("source", breaks(), live=False) as stream:
        frames = iter(stream)
        assert next(frames).index == 0
        with pytest.raises(VideoError, match="it broke"):
            next(frames)


def test_closing_ends_the_thread():
    """Whoever is done leaves nothing running."""
    stream = Stream("source", endless([]), live=False, capacity=2)
    next(iter(stream))
    stream.close()
    stream._thread.join(WAIT)
    assert not stream._thread.is_alive()
    assert list(stream) == []


def test_a_file_is_a_stream_too(tmp_path: Path):
    """Read ahead, to its end."""
    path = write(tmp_path / "clip.mp4", [numbered(i) for i in range(9)])
    with open_stream(path) as stream:
        assert stream.length == 9
        assert [number_in(frame.image) for frame in stream] == list(range(9))
        assert not stream.live


class Camera(BaseHTTPRequestHandler):
    """Sends ten frames of MPEG-TS and hangs up; each time the next ten. Refuses every second visit."""

    parts: list[bytes] = []
    visits = 0

    def do_GET(self) -> None:
        Camera.visits += 1
        if Camera.visits % 2 == 0 or not self.parts:
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.end_headers()
        self.wfile.write(self.parts.pop(0))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[str]:
    """The address of a stream that goes away and comes back, twice, and then stays away."""
    Camera.visits = 0
    Camera.parts = [
        write(tmp_path / f"{k}.ts", [numbered(10 * k + i) for i in range(10)], bf="0").read_bytes() for k in range(3)
    ]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/live.ts?token=secret"
    server.shutdown()
    server.server_close()


def test_a_stream_that_drops_and_returns(camera: str):
    """It is tried again; numbers and times go on. When it stays away, the error names it without secrets."""
    with open_stream(camera, drop=False, patience=3) as stream:
        frames = iter(stream)
        seen = list(itertools.islice(frames, 30))
        assert [number_in(frame.image) for frame in seen] == list(range(30))
        assert [frame.index for frame in seen] == list(range(30))
        assert all(a.time < b.time for a, b in itertools.pairwise(seen))
        assert stream.live
        assert stream.reconnects == 2
        with pytest.raises(VideoError, match="did not return within") as raised:
            next(frames)
        assert "secret" not in str(raised.value)


def test_an_address_that_is_none():
    """Said at once: what never was there is not waited for."""
    with open_stream("http://127.0.0.1:9/x.mp4", patience=600) as stream, pytest.raises(VideoError, match="refused"):
        next(iter(stream))


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://user:pass@camera.local/live?key=1", "rtsp://camera.local/live"),
        ("https://host/a@b.mp4?token=x", "https://host/a@b.mp4"),
        ("/data/clip.mp4", "/data/clip.mp4"),
    ],
)
def test_names_without_secrets(source: str, shown: str):
    """What is logged of an address."""
    assert named(source) == shown
