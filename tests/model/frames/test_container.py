"""Video files: every frame has its own number, whatever the file does to it, and what is no video says so."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from model.errors import VideoError
from model.frames import FrameLimits, container, open_frames
from tests.model.frames.clips import marked, number_in, numbered, write

COUNT = 30
CODINGS = {
    "B-frames.mp4": {"bf": "3", "g": "12"},
    "open groups.mkv": {"bf": "3", "g": "8", "x264-params": "open-gop=1"},
    "one group.mp4": {"g": "300"},
    "stream.ts": {"bf": "2", "g": "10"},
    "no times.h264": {"bf": "2", "g": "10"},
    "old.avi": {"codec": "mpeg4", "g": "10"},
    "web.webm": {"codec": "libvpx-vp9", "g": "12", "deadline": "realtime", "cpu-used": "8"},
}


def numbered_clip(count: int = COUNT) -> list[np.ndarray]:
    return [numbered(i) for i in range(count)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with B-frames and three groups of pictures."""
    folder = tmp_path_factory.mktemp("clip")
    return write(folder / "clip.mp4", numbered_clip(), bf="3", g="12", container={"movflags": "faststart"})


@pytest.mark.parametrize("name", CODINGS)
def test_every_frame_has_its_number(tmp_path: Path, name: str):
    """Forward, backward, in strides and one by one: what is in the picture is its number."""
    with open_frames(write(tmp_path / name, numbered_clip(), **CODINGS[name])) as frames:
        assert len(frames) == COUNT
        for way in (range(COUNT), range(COUNT - 1, -1, -1), range(4, 25, 7), range(25, 4, -7)):
            found = [(frame.index, number_in(frame.image)) for frame in frames.walk(way.start, way.stop, way.step)]
            assert found == [(i, i) for i in way]
        assert [number_in(frames.read(i).image) for i in (17, 3, 29)] == [17, 3, 29]
        some = [0, 1, 5, 11, 13, 24, 25, 29]
        assert [(frame.index, number_in(frame.image)) for frame in frames.pick(some)] == [(i, i) for i in some]
        assert frames.missing == 0


def test_long_groups_backward_in_bounded_memory(clip: Path, monkeypatch: pytest.MonkeyPatch):
    """A group of pictures that is larger than what may be kept is decoded in parts."""
    monkeypatch.setattr(container, "BACKWARD_BYTES", 3 * 3 * 96 * 160)
    frames = open_frames(clip)
    assert [number_in(frame.image) for frame in frames.walk(28, 5, -1)] == list(range(28, 5, -1))


def test_what_hangs_on_one_key_frame_is_read_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The file is opened once, however many frames are picked."""
    frames = open_frames(write(tmp_path / "clip.mp4", numbered_clip(), **CODINGS["one group.mp4"]))
    opened, times = container.opened, []
    monkeypatch.setattr(container, "opened", lambda *args, **more: times.append(args) or opened(*args, **more))
    assert len(list(frames.pick(range(0, COUNT, 2)))) == COUNT // 2 and len(times) == 1


def test_variable_frame_rate(tmp_path: Path):
    """A frame is on the screen from its time to the next one's."""
    times = [0.0, 0.04, 0.08, 0.5, 0.54, 1.5, 1.6]
    frames = open_frames(write(tmp_path / "variable.mp4", numbered_clip(len(times)), times=times))
    np.testing.assert_allclose(frames.times, times, atol=2e-3)
    assert [frames.at(t) for t in (-1, 0, 0.039, 0.04, 0.3, 0.5, 1.49, 1.55, 99)] == [0, 0, 0, 1, 2, 3, 4, 5, 6]
    assert frames.rate == pytest.approx(6 / 1.6, rel=1e-2)


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_rotation_as_a_browser_shows_it(tmp_path: Path, angle: int):
    """A phone that was held on its side stores the picture turned, and a flag that turns it back."""
    stored = [np.ascontiguousarray(np.rot90(image, -angle // 90)) for image in numbered_clip(4)]
    frames = open_frames(write(tmp_path / "turned.mp4", stored, rotation=angle))
    assert (frames.height, frames.width) == (96, 160)
    for frame in frames.walk():
        assert marked(frame.image)
        assert number_in(frame.image) == frame.index


def test_two_walks_side_by_side(clip: Path):
    """Walks share nothing."""
    frames = open_frames(clip)
    for ahead, back in zip(frames.walk(), frames.walk(COUNT - 1, None, -1), strict=True):
        assert number_in(ahead.image) + number_in(back.image) == COUNT - 1


def test_a_file_that_was_cut_off(clip: Path, tmp_path: Path):
    """What is there is read, and what is missing counted; without its index a file is refused."""
    whole = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    frames = open_frames(tmp_path / "cut.mp4")
    assert 0 < len(frames) < COUNT
    assert len(frames) + frames.missing == COUNT
    seen = [number_in(frame.image) for frame in frames.walk()]
    assert len(seen) == len(frames)
    assert seen[:4] == list(range(4))
    assert all(number <= index for index, number in enumerate(seen))
    (tmp_path / "no index.mp4").write_bytes(write(tmp_path / "x.mp4", numbered_clip(4)).read_bytes()[:1500])
    with pytest.raises(VideoError, match="cut off"):
        open_frames(tmp_path / "no index.mp4")


def test_a_damaged_middle(clip: Path, tmp_path: Path):
    """A frame that does not decode stands as the one before it: numbers stay right after it."""
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as source:
        hit = next(p for p in source.demux(video=0) if p.pts and p.pts > 0 and not p.is_keyframe)
    data[hit.pos + 4 : hit.pos + hit.size] = bytes(hit.size - 4)
    (tmp_path / "damaged.mp4").write_bytes(data)
    found = list(open_frames(tmp_path / "damaged.mp4").walk())
    assert [frame.index for frame in found] == list(range(COUNT))
    assert number_in(found[0].image) == 0
    assert number_in(found[-1].image) == COUNT - 1


def sound(path: Path) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(bytes(16000))
    return path


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


NO_VIDEO = {
    "missing": (lambda f: f / "none.mp4", "no file or folder"),
    "empty": (lambda f: written(f / "empty.mp4", b""), "cannot be read as a video"),
    "text": (lambda f: written(f / "notes.mp4", "no video " * 99), "cannot be read as a video"),
    "sound": (lambda f: sound(f / "song.wav"), "no pictures.*but sound"),
    "empty folder": (lambda f: f, "no frames"),
}


@pytest.mark.parametrize("name", NO_VIDEO)
def test_what_is_no_video(tmp_path: Path, name: str):
    """Each is refused by name, with what is wrong."""
    make, says = NO_VIDEO[name]
    with pytest.raises(VideoError, match=says):
        open_frames(make(tmp_path))


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ffconcat"])
def test_an_upload_cannot_name_other_files(clip: Path, tmp_path: Path, name: str):
    """FFmpeg would open what a playlist names, whatever the list itself is called."""
    lists = {
        "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{clip}\n#EXT-X-ENDLIST\n",
        "mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{clip}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile {clip}\n",
    }
    with pytest.raises(VideoError, match="cannot be read"):
        open_frames(written(tmp_path / name, lists[name.partition(".")[2]]))


@pytest.mark.parametrize(
    ("limits", "says"), [(FrameLimits(max_pixels=1000), "160 x 96"), (FrameLimits(max_frames=29), "over 29 frames")]
)
def test_limits(clip: Path, limits: FrameLimits, says: str):
    """Absurd sizes and lengths are refused before anything is made of them."""
    with pytest.raises(VideoError, match=says):
        open_frames(clip, limits)


def test_frames_outside(clip: Path):
    """A number that no frame has."""
    frames = open_frames(clip)
    for index in (-1, COUNT):
        with pytest.raises(IndexError, match=f"no frame {index}"):
            frames.read(index)
        with pytest.raises(IndexError, match=f"no frame {index}"):
            next(frames.pick([0, index]))
    with pytest.raises(VideoError, match="no frame 99"):
        next(frames.walk(99))


def test_four_hours(tmp_path: Path):
    """A long file is opened without being decoded, and any frame of it is a group of pictures away."""
    count, every = 3600, 4.0
    path = tmp_path / "long.mp4"
    images = [numbered(i, 32, 64) for i in range(count)]
    write(path, images, codec="mpeg4", g="50", times=[i * every for i in range(count)])
    frames = open_frames(path)
    assert len(frames) == count
    assert frames.duration == pytest.approx(4 * 3600, rel=1e-3)
    assert frames.at(3.5 * 3600 + 1) == 3150
    assert [number_in(frames.read(i).image) for i in (3150, 7)] == [3150, 7]
    assert [number_in(frame.image) for frame in frames.walk(3599, 3590, -1)] == list(range(3599, 3590, -1))
