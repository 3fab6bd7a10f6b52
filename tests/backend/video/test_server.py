"""Videos through the server that people start: bad ones are told over HTTP, and a kill in the middle costs little."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from backend.ledger import Ledger
from benchmarks import moving
from model.prompt import Box
from tests.backend.conftest import Photos
from tests.backend.label_studio_double import LEGACY
from tests.backend.video.conftest import ADDRESS, Clip, keyframe, region, request
from tests.backend.video.test_suggest import KEY, cut, wait_for, without_frames
from tests.e2e.conftest import free_port
from tests.model.frames.clips import numbered, write


@contextmanager
def serving(data: Path, photos: Photos, **settings: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """`pam-studio serve` with its model loaded, in a process group of its own."""
    port = free_port()
    own = {"LABEL_STUDIO_URL": photos.url, "LABEL_STUDIO_API_KEY": LEGACY}
    environment = os.environ | own | {f"PAM_STUDIO_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "backend", "serve", "--port", str(port), "--data-dir", str(data)]
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client:
            wait_for(lambda: is_ready(client))
            yield client, server
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(60)


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/health").json()["ready"]
    except httpx.TransportError:
        return False


def hours(path: Path) -> bytes:
    """Four of them, a frame every eight seconds."""
    images = [numbered(n, 48, 80) for n in range(40)]
    return write(path, [images[n % 40] for n in range(1800)], times=[8.0 * n for n in range(1800)]).read_bytes()


def test_bad_videos_over_http(photos: Photos, clip: Clip, tmp_path: Path) -> None:
    """Truncated, of sound alone, without frames, no video at all, hours long: each is answered, in time and in the one
    shape of errors, by the same server, which then follows an object through a good one."""
    expected: dict[str, tuple[bytes, int, str]] = {
        "cut off": (cut(clip.data), 422, "bad_video"),
        "audio only": (without_frames(tmp_path / "sound.mp4", "audio"), 422, "bad_video"),
        "zero frames": (without_frames(tmp_path / "none.mp4", "nothing"), 422, "bad_video"),
        "a web page": (b"<html>" * 50, 422, "bad_video"),
        "four hours": (hours(tmp_path / "hours.mp4"), 200, ""),
        "a good one": (clip.data, 200, ""),
    }
    with serving(tmp_path / "data", photos, video_frames="15") as (client, _):
        for name, (content, status, code) in expected.items():
            address = f"/data/upload/1/{name.replace(' ', '-')}.mp4"
            photos.files[address] = content
            box = Box(60, 60, 240, 200) if name == "four hours" else clip.boxes[0]
            body = request(region("region1", [keyframe(1, box)]), address=address)
            body["tasks"][0]["id"] = len(photos.files)
            answer = client.post("/predict", json=body)
            assert answer.status_code == status, (name, answer.text)
            if code:
                assert answer.json()["error"]["code"] == code and str(tmp_path) not in answer.text, name
            else:
                assert any(r["type"] == "videorectangle" for r in answer.json()["results"][0]["result"]), name
        assert client.get("/health").json()["status"] == "UP"


def test_killed_in_the_middle(photos: Photos, clip: Clip, tmp_path: Path) -> None:
    """With SIGKILL, as a machine that runs out of memory does it: what was kept is whole, nothing goes on by itself,
    and the next request on the region goes on where it was."""
    there = [frame.image for frame in moving.clip(moving.Path(seed=5, frames=40))]
    frames = [*there, *reversed(there)] * 5
    count = len(frames)
    photos.files[ADDRESS] = write(tmp_path / "long.mp4", frames, rate=25, preset="ultrafast").read_bytes()
    body = request(region("region1", [keyframe(1, clip.boxes[0])]))
    data = tmp_path / "data"
    with serving(data, photos, video_seconds="0.001") as (client, server):
        client.post("/predict", json=body).raise_for_status()
        wait_for(lambda: known(data) >= 1)
        os.killpg(server.pid, signal.SIGKILL)
    with Ledger(data / "ledger.sqlite") as ledger:
        kept, events = list(ledger.tracks.masks(KEY)), ledger.tracks.events.of(KEY)
    assert 1 <= len(kept) < count and [mask.frame for mask in kept] == list(range(len(kept)))
    with serving(data, photos, video_seconds="0.001") as (client, _):
        assert client.get("/jobs").json()["tracks"] == []
        client.post("/predict", json=body).raise_for_status()
        (track,) = client.get("/jobs").json()["tracks"]
        assert track["frames"]["of"] == count - len(kept)
        wait_for(lambda: known(data) > len(kept))
        assert client.delete(f"/jobs/{track['id']}").json()["state"] == "cancelled"
    with Ledger(data / "ledger.sqlite") as ledger:
        assert list(ledger.tracks.masks(KEY))[: len(kept)] == kept
        assert [e.first for e in ledger.tracks.events.of(KEY)][: len(events)] == [e.first for e in events]


def known(data: Path) -> int:
    with Ledger(data / "ledger.sqlite") as ledger:
        return sum(1 for _ in ledger.tracks.masks(KEY))
