"""Pictures: from the address in a task to the pixels that an annotator sees."""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import io
import re
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

import httpx
import numpy as np
from PIL import Image, UnidentifiedImageError

from backend.errors import PictureError
from backend.label_studio import LabelStudio

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
"""What is decoded; every other parser of Pillow is left out of a stranger's reach."""

_MOST_REDIRECTS = 5
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):")
_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# `decode` has a limit of its own, for each call; Pillow's is one for the process and cannot be raised by a setting.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class FetchLimits:
    """How much one file may cost: bytes, and seconds for all of it, redirects included.

    what: it is, as messages and codes have it.
    """

    max_bytes: int
    seconds: float
    what: str = "image"


def fetch(address: str, task_id: int | None, studio: LabelStudio | None, limits: FetchLimits) -> bytes:
    """The file behind the address that a task holds.

    A path (`/data/upload/…`, `/data/local-files/?d=…`) is one on Label Studio; http and https are taken as they are;
    `data:` is decoded; any other scheme (s3, gs, azure-blob, …) is resolved by Label Studio, which holds the keys of
    its storages, for the task `task_id`. Files of this machine are never read. The token goes to Label Studio's own
    scheme, host and port, and to nobody that it redirects to.

    Raises PictureError, which shows no query of a URL: it may be signed.
    """
    data = bytearray()
    fetch_into(data.extend, address, task_id, studio, limits)
    return bytes(data)


def fetch_into(
    take: Callable[[bytes], object], address: str, task_id: int | None, studio: LabelStudio | None, limits: FetchLimits
) -> None:
    """What `fetch` does, for large files: `take` is called with one part after the other. Raises what it raises."""
    address = address.strip()
    if address[:5].lower() == "data:":
        take(_from_data_uri(address, limits))
        return
    printable = address.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair fits into no message
    url = _url(printable, task_id, studio)
    authorization = studio.headers_for(url) if studio else {}
    try:
        size = asyncio.run(_download(take, url, authorization, studio, limits))
    except TimeoutError as error:
        raise PictureError(
            f"{_shown(url)} took longer than {limits.seconds:g} s", code=f"{limits.what}_timeout"
        ) from error
    except (httpx.RequestError, httpx.InvalidURL, ValueError) as error:
        reason = str(error)[:200] or type(error).__name__
        raise PictureError(f"{_shown(url)} cannot be fetched: {reason}") from error
    if not size:
        raise PictureError(
            f"{_shown(url)} is empty: an address without a host needs LABEL_STUDIO_URL to be Label Studio's own"
        )


def decode(data: bytes, max_pixels: int) -> np.ndarray:
    """The picture as a browser shows it: uint8 (H, W, 3) RGB, turned as its EXIF data says.

    What is transparent shows white, as on Label Studio's canvas. 16-bit greys are scaled to 8 bits, whole and float
    numbers of 32 bits stretched from their least to their greatest. Of an animation the first frame counts. Colour
    profiles are not applied.

    Raises PictureError when it is no picture, is damaged or cut short, or has more than `max_pixels`, which is seen
    from its header.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise PictureError(
                    f"the image has {image.width} x {image.height} pixels, more than the {max_pixels} that are read",
                    code="image_too_large",
                    status=413,
                )
            image.load()
            turn = _UPRIGHT.get(_orientation(image))
            colours = _as_rgb(image)
            return np.array(colours if turn is None else colours.transpose(turn))
    except UnidentifiedImageError as error:
        raise PictureError(f"the file is no image that can be read: {_looks_like(data)}") from error
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, RuntimeError, struct.error) as error:
        raise PictureError(f"the image is damaged or cut short: {error}") from error


def _url(address: str, task_id: int | None, studio: LabelStudio | None) -> str:
    scheme = match[1].lower() if (match := _SCHEME.match(address)) else ""
    if scheme in ("http", "https"):
        return address
    if not address or scheme == "file" or "\\" in address or address.startswith("//"):
        raise PictureError(f'"{address[:200]}" is no address that is fetched: give a path on Label Studio, or a URL')
    if studio is None:
        raise PictureError(f'"{address[:200]}" can only be had by way of Label Studio: set LABEL_STUDIO_URL')
    if not scheme:
        return studio.absolute(address)
    if task_id is None:
        raise PictureError(f'"{address[:200]}" lies in a storage: Label Studio opens it for a task, and none is given')
    uri = base64.urlsafe_b64encode(address.encode()).decode()
    return studio.absolute(f"/tasks/{int(task_id)}/resolve/?fileuri={quote(uri)}")


async def _download(
    take: Callable[[bytes], object],
    url: str,
    authorization: dict[str, str],
    studio: LabelStudio | None,
    limits: FetchLimits,
) -> int:
    """How many bytes there were.

    One deadline for all of it: a server that drips a byte a second never meets a limit on each wait.
    """
    async with asyncio.timeout(limits.seconds), httpx.AsyncClient(timeout=None, verify=_tls()) as client:
        for _ in range(_MOST_REDIRECTS + 1):
            _check_host(url)
            headers = {"Accept-Encoding": "identity", "User-Agent": "pam-studio"} | authorization
            async with client.stream("GET", url, headers=headers) as response:
                if not response.has_redirect_location:
                    return await _body(take, response, url, studio, limits)
                url = urljoin(url, response.headers["location"])
            if urlsplit(url).scheme not in ("http", "https"):
                raise PictureError(f"the {limits.what} is redirected to {_shown(url)}, which is not fetched")
            if studio is None or not studio.is_own(url):
                authorization = {}
    raise PictureError(f"{_shown(url)} is redirected more than {_MOST_REDIRECTS} times")


def _check_host(url: str) -> None:
    """A host that cannot be is refused here: what a client makes of one is not always an error of its own family."""
    parsed = httpx.URL(url)
    if not parsed.host or not 0 <= (parsed.port or 0) < 1 << 16:
        raise PictureError(f"{_shown(url)} names no host, or a port beyond 65535: correct the address in the task")


@functools.cache
def _tls() -> ssl.SSLContext:
    """Reading the certificates takes longer than a picture from a near host does."""
    return httpx.create_ssl_context()


async def _body(
    take: Callable[[bytes], object], response: httpx.Response, url: str, studio: LabelStudio | None, limits: FetchLimits
) -> int:
    _check_status(response.status_code, url, studio, limits.what)
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/json"):
        article = "an" if limits.what[0] in "aeiou" else "a"
        raise PictureError(
            f"{_shown(url)} is {kind}, not {article} {limits.what}: a login page, or not the address of a file"
        )
    size = 0
    announced = response.headers.get("content-length", "0")
    too_large = announced.isdecimal() and int(announced[:20]) > limits.max_bytes
    if not too_large:
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if too_large := size > limits.max_bytes:
                break
            take(chunk)
    if too_large:
        raise PictureError(
            f"{_shown(url)} has more than the {limits.max_bytes} bytes that are read",
            code=f"{limits.what}_too_large",
            status=413,
        )
    return size


def _check_status(status: int, url: str, studio: LabelStudio | None, what: str) -> None:
    if status == 200:
        return
    if status in (401, 403):
        if studio is None or not studio.is_own(url):
            ours = f", which is not {studio.url}" if studio else ""
            reason = f"it is asked for without a token{ours}: only Label Studio's own address gets one"
        elif status == 401:
            reason = f"it refuses {studio.token_kind}: set LABEL_STUDIO_API_KEY to a token of this server"
        else:
            reason = "the token's owner may not see it"
    elif status == 404:
        local = " (for a local file the project needs a Local Files storage)" if "/data/local-files/" in url else ""
        reason = f"it is not there{local}"
    elif status >= 500 and studio is not None and studio.is_own(url):
        reason = "Label Studio failed; a file that is gone from its disk looks like this too"
    else:
        reason = "it was not to be had"
    raise PictureError(f"{_shown(url)} answered {status}: {reason}", code=f"{what}_unavailable")


def _from_data_uri(address: str, limits: FetchLimits) -> bytes:
    head, comma, payload = address.partition(",")
    if len(payload) > 4 * (limits.max_bytes // 3 + 1):
        raise PictureError(
            f"the data: URI has more than the {limits.max_bytes} bytes that are read",
            code=f"{limits.what}_too_large",
            status=413,
        )
    try:
        data = unquote_to_bytes(payload)
        if head.lower().rstrip().endswith(";base64"):
            data = base64.b64decode(data, validate=True)
    except (binascii.Error, UnicodeError) as error:
        raise PictureError("the data: URI is damaged: its base64 cannot be read") from error
    if not comma or not data:
        raise PictureError(f"the data: URI is empty: it needs a comma, and the {limits.what} after it")
    return data


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0, neginf=0)
        least, greatest = float(values.min()), float(values.max())
        grey = (values - least) * (255 / (greatest - least)) if greatest > least else values * 0
        return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    shown = Image.new("RGB", image.size, "white")
    shown.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return shown


def _orientation(image: Image.Image) -> int:
    """What Chromium believes: EXIF data, but not that of a WebP, and never XMP, which `Image.getexif` falls back to.

    Damaged EXIF data turns nothing.
    """
    raw = image.info.get("exif")
    exif = Image.Exif()
    try:
        exif.load(raw if isinstance(raw, bytes) and image.format != "WEBP" else b"")
        return int(exif.get(_EXIF_ORIENTATION, 1))
    except (SyntaxError, ValueError, TypeError, struct.error):
        return 1


def _looks_like(data: bytes) -> str:
    start = data[:200].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "it is a web page"
    if start.startswith((b"<svg", b"<?xml")):
        return "it is an SVG drawing, which has no pixels"
    return f"it begins with {data[:8]!r}" if data else "it is empty"


def _shown(url: str) -> str:
    """`url` for a message: of a stranger's URL no query, which may be signed, and no password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return re.split("[?#]", url)[0].rpartition("@")[2][:300]
    host = parts.netloc.rpartition("@")[2]
    query = f"?{parts.query}" if parts.path.endswith(("/local-files/", "/resolve/")) else ""
    return f"{parts.scheme}://{host}{parts.path}{query}"[:300]
