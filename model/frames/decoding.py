"""PyAV, told to trust nothing: opening a source, finding its pictures, and turning them upright."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream

from model.errors import VideoError
from model.frames.frame import FrameLimits

CONTAINERS = ",".join(
    (
        "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,ogg,gif,asf,h264,hevc,m4v,mjpeg,ivf,apng",
        "mxf,obu,av1,dv,rm,webp,swf,wtv,yuv4mpegpipe,live_flv,mp3,wav,flac,aac",
    )
)
"""Formats of a local file that FFmpeg may see in it: none that is a list of other files or addresses to open, which
someone else's upload could use to read what is not theirs."""

HD_HEIGHT = 720
"""From here on a video that does not name its colours is taken for BT.709, as browsers do."""

UNNAMED_COLOURS = 2
"""FFmpeg's AVCOL_SPC_UNSPECIFIED."""

_IDENTITY = (1, 0, 0, 1)


@contextmanager
def opened(source: str, *, local: bool, **options: Any) -> Iterator[InputContainer]:
    """The container at a path or address.

    local: a file, and nothing but this file. Raises VideoError, and turns errors of FFmpeg inside the block into it.
    """
    safe = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"} if local else {}
    try:
        with av.open(source, options=safe | options.pop("options", {}), metadata_errors="replace", **options) as found:
            yield found
    except av.error.FFmpegError as error:
        raise VideoError(f"{named(source)} cannot be read as a video: {reason(error)}") from error


def reason(error: av.error.FFmpegError) -> str:
    """What went wrong, for people: FFmpeg's own message, and what it usually means."""
    said = (error.strerror or str(error)).lower()
    if isinstance(error, av.error.InvalidDataError):
        return f"{said} (it is no video, or was cut off before its index: save or upload it again)"
    return said


def named(source: str) -> str:
    """A source in a message: without the user name, password and query that an address may hold."""
    scheme, found, rest = source.partition("://")
    if not found:
        return source
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def pictures(container: InputContainer, name: str, limits: FrameLimits) -> VideoStream:
    """The stream of moving pictures. Raises VideoError where there is none, or its size is beyond the limits."""
    # A song's cover is a video stream to FFmpeg.
    found = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not found:
        sounds = " but sound" if container.streams.audio else ""
        raise VideoError(f"{name} has no pictures: it holds nothing{sounds} that can be shown")
    stream = found[0]
    context = stream.codec_context
    if context is None:
        raise VideoError(f"{name} is coded in a way that this build of FFmpeg cannot decode: convert it to H.264")
    limits.check(name, context.height or 1, context.width or 1)
    context.options = {"max_pixels": str(limits.max_pixels)}
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    return stream


class Upright:
    """Turns decoded frames into pictures as a browser shows them; one for each run through a source."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def __call__(self, frame: VideoFrame, size: tuple[int, int] | None = None) -> np.ndarray:
        """uint8 (H, W, 3) RGB, turned and mirrored as the file says.

        size: height and width that the picture must have, for sources that change theirs; None for its own.
        """
        transposed, across, down = _turn(_matrix(frame))
        height, width = (frame.height, frame.width) if size is None else size[::-1] if transposed else size
        colours = frame.colorspace
        if colours == UNNAMED_COLOURS:
            colours = Colorspace.ITU709 if min(frame.height, frame.width) >= HD_HEIGHT else Colorspace.ITU601
        # More threads than one are started and ended for every frame.
        scaled = self._scaler.reformat(frame, width, height, "rgb24", src_colorspace=int(colours), threads=1)
        image = scaled.to_ndarray()
        if transposed:
            image = image.transpose(1, 0, 2)
        return np.ascontiguousarray(image[:: -1 if down else 1, :: -1 if across else 1])


def _matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """The display matrix's linear part, each entry -1, 0 or 1: x' = a x + c y, y' = b x + d y, y down."""
    side: Any = frame.side_data.get("DISPLAYMATRIX")
    if side is None:
        return _IDENTITY
    a, b, _, c, d = np.frombuffer(bytes(side), np.int32)[:5] / 65536.0
    # Browsers know quarter turns only.
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (-1 if a < 0 else 1), 0, 0, (-1 if d < 0 else 1)
    return 0, (-1 if b < 0 else 1), (-1 if c < 0 else 1), 0


def _turn(matrix: tuple[int, int, int, int]) -> tuple[bool, bool, bool]:
    """Whether a picture is transposed, and after that flipped across and down."""
    a, b, c, d = matrix
    return (False, a < 0, d < 0) if b == 0 else (True, c < 0, b < 0)
