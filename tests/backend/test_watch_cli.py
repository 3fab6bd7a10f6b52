"""`pam-studio watch`, as a person would run it: what it writes, and what it says where it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from skimage import data

from backend.masks import from_coco_rle
from tests.backend.streams import live
from tests.model.frames.clips import write

COUNT = 30
BOX = ("40", "40", "140", "120")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coffee cup's photograph that moves a little, a second long."""
    cup = np.ascontiguousarray(data.coffee()[::2, ::2][:180, :260])
    frames = [np.roll(cup, -i, axis=1) for i in range(COUNT)]
    return write(tmp_path_factory.mktemp("watch") / "clip.mp4", frames)


def watch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backend", "watch", *arguments], capture_output=True, text=True, timeout=600
    )


def test_everything_it_writes(clip: Path, tmp_path: Path):
    """Captions, subtitles, masks and video of one run agree with each other."""
    names = {name: tmp_path / f"out.{name}" for name in ("jsonl", "srt", "vtt", "masks", "mp4")}
    done = watch(
        str(clip), "--box", *BOX, "--max-new-tokens", "8", "--captions", str(names["jsonl"]), "--srt",
        str(names["srt"]), "--vtt", str(names["vtt"]), "--masks", str(names["masks"]), "--save", str(names["mp4"]),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (told,) = [json.loads(line) for line in names["jsonl"].read_text().splitlines()]
    assert (told["first"], told["last"], told["reason"]) == (0, COUNT - 1, "end")
    assert told["caption"]
    lines = [json.loads(line) for line in names["masks"].read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(COUNT))
    for line in lines:
        mask = from_coco_rle(line["rle"]["counts"], *line["rle"]["size"])
        assert mask.shape == (180, 260)
        ys, xs = np.nonzero(mask)
        assert line["box"] == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert 0 < line["score"] <= 1
    assert lines[-1]["box"][0] < lines[0]["box"][0] - 15
    srt, vtt = names["srt"].read_text(), names["vtt"].read_text()
    assert srt.startswith("1\n00:00:00,000 --> 00:00:01,160\n" + told["caption"])
    assert vtt.startswith("WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.160\n" + told["caption"])
    with av.open(str(names["mp4"])) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == COUNT
    assert frames[0].shape[0] > 180
    assert frames[0].shape[1] == 260


def test_captions_are_printed(clip: Path, tmp_path: Path):
    """Where no file is named; a click points as well as a box; a folder of frames is as good as a file."""
    with av.open(str(clip)) as video:
        for i, frame in enumerate(video.decode(video=0)):
            frame.to_image().save(tmp_path / f"{i}.png")
    done = watch(
        str(tmp_path), "--click", "90", "80", "--stop-after", "0.4", "--max-new-tokens", "4", "--labels", "cup,cat"
    )
    assert done.returncode == 0, done.stderr
    (told,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert told["category"] in ("cup", "cat")
    assert told["last"] < COUNT - 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("clip.mp4",), "point at the object once"),
        (("clip.mp4", "--box", *BOX, "--click", "1", "1"), "point at the object once"),
        (("clip.mp4", "--box", *BOX, "--masks", "/no/such/folder/m.jsonl"), "there is no folder"),
        (("clip.mp4", "--box", *BOX, "--ends", "never"), "expected fixed or change"),
        (("clip.mp4", "--box", *BOX, "--seconds", "0"), "expected a number above 0"),
    ],
)
def test_what_is_wrong_is_said_at_once(arguments: tuple[str, ...], says: str):
    """Before anything is loaded."""
    done = watch(*arguments)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.replace("│", " ").split())


def test_live_streams_that_drop_and_return(tmp_path: Path):
    """Over HTTP and RTSP: the object is followed on through the gap, under the next numbers; when the stream stays
    away, that is said, the password is not, and what was written stands."""
    with ThreadPoolExecutor(2) as pool:  # each waits for its stream most of the time
        list(pool.map(check_a_stream_that_drops_and_returns, ("http", "rtsp"), (tmp_path / "http", tmp_path / "rtsp")))


def check_a_stream_that_drops_and_returns(scheme: str, tmp_path: Path) -> None:
    tmp_path.mkdir()
    cup = np.ascontiguousarray(data.coffee()[::2, ::2][:180, :260])
    parts = [
        write(tmp_path / f"{k}.ts", [np.roll(cup, -(8 * k + i), axis=1) for i in range(8)], bf="0").read_bytes()
        for k in range(2)
    ]
    masks, captions = tmp_path / "masks.jsonl", tmp_path / "captions.jsonl"
    with live(scheme, parts) as address:
        done = watch(
            address, "--box", *BOX, "--keep", "--patience", "3", "--max-new-tokens", "4",
            "--masks", str(masks), "--captions", str(captions),
        )  # fmt: skip
    assert done.returncode == 1 and "did not return within 3 s" in " ".join(done.stderr.split()), done.stderr
    assert "secret" not in done.stderr
    lines = [json.loads(line) for line in masks.read_text().splitlines()]
    # What RTP had not finished when the line went dead is lost: the last frame of a part.
    assert len(lines) == {"http": 16, "rtsp": 14}[scheme]
    assert [line["frame"] for line in lines] == list(range(len(lines))) and all(line["box"] for line in lines)
    assert lines[-1]["box"][0] < lines[0]["box"][0] - 5
