"""A source that is somewhere else: a stream or a camera, which may go away and come back."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from typing import Any

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from tenacity import (
    RetryError,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential,
)

from model.errors import VideoError
from model.frames.camera import device, is_camera
from model.frames.decoding import Upright, named, opened, pictures
from model.frames.frame import Frame, FrameLimits

log = logging.getLogger(__name__)

OPEN_TIMEOUT, READ_TIMEOUT = 10.0, 10.0
PROTOCOLS = "http,https,httpproxy,tcp,tls,udp,rtp,srtp,rtmp,rtmps,rtmpt,srt,crypto"
"""None that reads files: an address may lead to a list of others."""

LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "rtp", "tcp")
NEARLY_DONE = 1.0
"""A recording that ends this many seconds before its announced end has ended; before that, the connection broke."""


class Remote:
    """Frames of an address or a camera.

    live:       whether it goes on whether or not anybody looks: known from the address, or for http, once it is open,
                from the lack of a length.
    reconnects: how often it went away and came back.
    """

    def __init__(self, address: str, limits: FrameLimits, patience: float):
        self._address, self._limits, self._patience = address, limits, patience
        self.name = named(address)
        scheme = address.partition("://")[0]
        self.live = is_camera(address) or scheme in LIVE_SCHEMES
        self.reconnects = 0
        self.closed = False
        self._size: tuple[int, int] | None = None
        self._count = 0
        self._duration: float | None = None
        self._seen = -math.inf
        self._began: float | None = None
        self._upright = Upright()
        self._zero: float | None = None

    def frames(self) -> Iterator[Frame]:
        """Frames from now on, numbered as they come. Times are the source's own; over a gap those of the clock.

        Raises VideoError where the source cannot be opened at first, or stays away for longer than the patience.
        """
        session = self._connect()
        while True:
            yield from session
            if self.closed or self._is_over():
                return
            session = self._come_back()
            self.reconnects += 1

    def _come_back(self) -> Iterator[Frame]:
        retry = Retrying(
            stop=stop_after_delay(self._patience),
            wait=wait_exponential(multiplier=0.25, max=4),
            retry=retry_if_exception_type(VideoError) & retry_if_exception(lambda _: not self.closed),
        )
        try:
            return retry(self._connect)
        except RetryError as error:
            last = error.last_attempt.exception()
            raise VideoError(f"{self.name} went away and did not return within {self._patience:g} s: {last}") from last

    def _connect(self) -> Iterator[Frame]:
        """A session that has given its first frame: an address may open and then stay silent."""
        session = self._session()
        first = next(session, None)
        if first is None:
            raise VideoError(f"{self.name} has no frames")
        return self._until_it_breaks(first, session)

    def _until_it_breaks(self, first: Frame, session: Iterator[Frame]) -> Iterator[Frame]:
        yield first
        try:
            yield from session
        except VideoError as error:
            log.warning("%s: after %d frames: %s", self.name, self._count, error)

    def _session(self) -> Iterator[Frame]:
        source, options = self._how()
        with opened(source, local=False, timeout=(OPEN_TIMEOUT, READ_TIMEOUT), **options) as container:
            stream = pictures(container, self.name, self._limits)
            if container.duration and not self.live:
                self._duration = container.duration / av.time_base
            self.live = self.live or self._duration is None
            zero: float | None = None
            for shown in _decoded(container, stream):
                now = time.monotonic()
                self._began = now if self._began is None else self._began
                own = shown.time if shown.time is not None else now
                if zero is None:
                    zero = own - (now - self._began) if self.live or self._zero is None else self._zero
                    self._zero = zero
                at = own - zero
                if at <= self._seen:  # a recording begins anew when it is opened again; clocks of streams may step back
                    if not self.live:
                        continue
                    at = self._seen + 1e-3
                yield self._frame(shown, at)

    def _frame(self, shown: VideoFrame, at: float) -> Frame:
        image = self._upright(shown, self._size)
        if self._size is None:
            self._limits.check(self.name, *image.shape[:2])
            self._size = (image.shape[0], image.shape[1])
        self._seen = at
        self._count += 1
        return Frame(self._count - 1, at, image)

    def _is_over(self) -> bool:
        return not self.live and self._duration is not None and self._seen >= self._duration - NEARLY_DONE

    def _how(self) -> tuple[str, dict[str, Any]]:
        """The source as FFmpeg takes it, and how to open it."""
        if is_camera(self._address):
            name, format = device(self._address)
            return name, {"format": format}
        options = {"protocol_whitelist": PROTOCOLS}
        if self._address.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"  # over UDP lost packets smear the picture
        return self._address, {"options": options}


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            continue  # whoever tunes in late misses the key frame that the first packets need
