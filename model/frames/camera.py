"""Cameras and other devices of this machine, as FFmpeg opens them."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from av.format import ContainerFormat

from model.errors import VideoError

FORMATS = ("v4l2", "avfoundation", "dshow", "lavfi")
"""Kinds of devices: of Linux, macOS and Windows, and pictures that FFmpeg makes itself, to try things out."""

_NUMBERED = re.compile(r"camera:(\d{1,2})")
_LINUX = re.compile(r"/dev/video\d{1,2}")
_NAMED = re.compile(rf"({'|'.join(FORMATS)}):(.+)")


def is_camera(address: str) -> bool:
    """Whether an address means a device: "camera:0", "/dev/video0", "v4l2:/dev/video0", "dshow:video=NAME"."""
    return any(pattern.fullmatch(address) for pattern in (_NUMBERED, _LINUX, _NAMED))


def device(address: str, platform: str = sys.platform) -> tuple[str, str]:
    """What FFmpeg is to open for a camera's address, and in which of FORMATS.

    Raises VideoError for a camera that is not there or may not be opened, and for a kind of device that this build of
    FFmpeg, or this system, does not have.
    """
    if (named := _NAMED.fullmatch(address)) is not None:
        format, name = named[1], named[2]
    elif (numbered := _NUMBERED.fullmatch(address)) is None:
        format, name = "v4l2", address
    elif platform == "darwin":
        format, name = "avfoundation", numbered[1]
    elif platform.startswith("linux"):
        format, name = "v4l2", f"/dev/video{numbered[1]}"
    else:
        raise VideoError(f"{address} cannot be told apart here: name the camera, as in dshow:video=NAME")
    try:
        ContainerFormat(format, "r")
    except ValueError as error:
        raise VideoError(f"{address} cannot be opened: this build of FFmpeg knows no {format} devices") from error
    if format == "v4l2":
        _check(Path(name))
    return name, format


def _check(path: Path) -> None:
    if not path.exists():
        there = sorted(map(str, Path("/dev").glob("video[0-9]*")))
        known = f"there is {', '.join(there)}" if there else "this machine shows none (start a container with --device)"
        raise VideoError(f"there is no camera {path}: {known}")
    if not os.access(path, os.R_OK | os.W_OK):
        raise VideoError(f"the camera {path} may not be opened by this user: add the user to the group video")
