"""Any picture that a task may point at is fetched within its limits, and decoded as the annotator sees it."""

from __future__ import annotations

import base64
import io
import struct
import time
import zlib
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from backend.errors import BackendError, PictureError
from backend.label_studio import LabelStudio
from backend.pictures import FetchLimits, decode, fetch
from tests.backend.label_studio_double import LEGACY, PAT, Double, Reply, label_studio_double, slowly

LIMITS = FetchLimits(max_bytes=200_000, seconds=1.0)
MEGAPIXEL = 1_000_000


@cache
def cat() -> np.ndarray:
    return data.chelsea()[:200, :300]


@cache
def jpeg() -> bytes:
    return saved(Image.fromarray(cat()), "JPEG")


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.fixture
def double() -> Iterator[Double]:
    with label_studio_double() as server:
        yield server


@pytest.fixture
def stranger() -> Iterator[Double]:
    with label_studio_double() as server:
        server.rule(lambda asked: Reply(200, jpeg(), {"Content-Type": "image/jpeg"}))
        yield server


def studio(double: Double, api_key: str | None = LEGACY) -> LabelStudio:
    return LabelStudio(double.url, api_key, 1.0, backoff=0.01)


def serves(double: Double, path: str, body: bytes | None = None, **headers: str) -> None:
    """Give `body` to whoever brings a token that opens the server."""

    def rule(asked):
        open_to = asked.path == path and asked.authorization in (f"Token {LEGACY}", *double.granted_headers)
        return Reply(200, jpeg() if body is None else body, headers) if open_to else None

    double.rule(rule)


@pytest.mark.parametrize("api_key", [LEGACY, PAT])
@pytest.mark.parametrize("address", ["/data/upload/1/a.jpg", "data/upload/1/a.jpg", "{url}/data/upload/1/a.jpg"])
def test_a_file_on_label_studio_is_fetched_with_the_token(double, api_key, address):
    serves(double, "/data/upload/1/a.jpg")
    assert fetch(address.format(url=double.url), 1, studio(double, api_key), LIMITS) == jpeg()


def test_a_local_file_keeps_its_query(double):
    serves(double, "/data/local-files/")
    assert fetch("/data/local-files/?d=photos/a%20b.jpg", 1, studio(double), LIMITS) == jpeg()
    assert double.asked[-1].query == {"d": "photos/a b.jpg"}


@pytest.mark.parametrize(
    "address", ["s3://bucket/a b.jpg", "gs://bucket/ключ?.png", "azure-blob://container/a.jpg", "redis://x"]
)
def test_a_cloud_uri_is_resolved_by_label_studio_for_the_task(double, stranger, address):
    """Label Studio answers with a signed URL elsewhere; what it signs needs no token and must not get one."""
    signed = f"{stranger.url}/signed?X-Signature=abc"
    double.rule(lambda asked: Reply(303, headers={"Location": signed}) if asked.path == "/tasks/7/resolve/" else None)
    assert fetch(address, 7, studio(double), LIMITS) == jpeg()
    assert base64.urlsafe_b64decode(double.asked[0].query["fileuri"]).decode() == address
    assert double.asked[0].authorization == f"Token {LEGACY}"
    assert [asked.authorization for asked in stranger.asked] == [None]


@pytest.mark.parametrize("api_key", [LEGACY, PAT, None])
def test_a_picture_elsewhere_is_fetched_without_the_token(double, stranger, api_key):
    assert fetch(f"{stranger.url}/a.jpg?size=1", 1, studio(double, api_key), LIMITS) == jpeg()
    assert [asked.authorization for asked in stranger.asked] == [None]


def test_the_token_does_not_come_back_after_a_detour(double, stranger):
    """Elsewhere sends back to Label Studio: whoever wrote that link must not choose what our token opens."""
    secret = f"{double.url}/data/upload/1/secret.jpg"
    stranger.rule(lambda asked: Reply(302, headers={"Location": secret}))
    serves(double, "/data/upload/1/secret.jpg")
    with pytest.raises(PictureError, match="answered 401"):
        fetch(f"{stranger.url}/a.jpg", 1, studio(double), LIMITS)
    assert [asked.authorization for asked in double.asked] == [None]


@pytest.mark.parametrize(
    ("location", "says"),
    [("/again", "more than 5 times"), ("file:///etc/passwd", "redirected to file:///etc/passwd")],
)
def test_redirects_are_followed_so_far_and_not_everywhere(double, location, says):
    double.rule(lambda asked: Reply(302, headers={"Location": location}))
    with pytest.raises(PictureError, match=says):
        fetch("/a.jpg", 1, studio(double), LIMITS)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (lambda: Reply(403), "answered 403: the token's owner may not see it"),
        (lambda: Reply(404), "answered 404: it is not there$"),
        (lambda: Reply(500), "answered 500: Label Studio failed; a file that is gone"),
        (lambda: Reply(200), "a.jpg is empty: an address without a host needs LABEL_STUDIO_URL"),
        (lambda: Reply(200, b"<html>login", {"Content-Type": "text/html; charset=utf-8"}), "text/html, not an image"),
        (lambda: Reply(200, jpeg()[:500], length=len(jpeg())), "cannot be fetched: .*incomplete|without sending"),
        (lambda: Reply(200, jpeg(), {"Content-Encoding": "gzip"}), "cannot be fetched: .*header"),
        (lambda: Reply(200, b"", length=10**12), "more than the 200000 bytes"),
        (lambda: Reply(200, slowly(b"x" * 400_000, 1000, 0)), "more than the 200000 bytes"),
        (lambda: Reply(200, slowly(jpeg(), 1, 0.2)), "took longer than 1 s"),
    ],
    ids=["403", "404", "500", "empty", "login page", "cut", "not gzip", "says too much", "is too much", "drips"],
)
def test_a_picture_that_cannot_be_had_says_why(double, reply, says):
    double.rule(lambda asked: reply())
    begun = time.monotonic()
    with pytest.raises(PictureError, match=says):
        fetch("/data/upload/1/a.jpg", 1, studio(double), LIMITS)
    assert time.monotonic() - begun < 20


def test_a_wrong_token_is_named_by_kind_and_not_shown(double):
    with pytest.raises(PictureError, match="refuses a legacy token: set LABEL_STUDIO_API_KEY") as refused:
        fetch("/data/upload/1/a.jpg", 1, studio(double, "f" * 40), LIMITS)
    assert "f" * 40 not in refused.value.message


def test_a_picture_on_another_name_of_the_host_says_why_it_got_no_token(double, stranger):
    """The classic: Label Studio calls itself localhost, and the backend knows it by another name."""
    stranger.rule(lambda asked: Reply(401))
    with pytest.raises(PictureError, match=f"without a token, which is not {double.url}: only Label Studio's own"):
        fetch(f"{stranger.url}/data/upload/1/a.jpg?token=secret", 1, studio(double), LIMITS)


def test_a_signature_is_not_shown(double, stranger):
    stranger.rule(lambda asked: Reply(404))
    with pytest.raises(PictureError) as missing:
        fetch(f"http://user:hush@{stranger.url[7:]}/a.jpg?X-Signature=secret", 1, studio(double), LIMITS)
    assert "secret" not in missing.value.message and "hush" not in missing.value.message


def test_a_local_file_without_a_storage_says_what_is_needed(double):
    with pytest.raises(PictureError, match="404: it is not there .for a local file the project needs a Local Files"):
        fetch("/data/local-files/?d=a.jpg", 1, studio(double), LIMITS)


def test_a_host_that_is_not_there_is_told(double):
    with label_studio_double() as gone:
        pass
    with pytest.raises(PictureError, match=f"{gone.url}/a.jpg cannot be fetched"):
        fetch(f"{gone.url}/a.jpg", 1, studio(double), LIMITS)


@pytest.mark.parametrize(
    "address",
    ["", "  ", "file:///etc/passwd", "FILE:///etc/passwd", "//evil.org/a.jpg", "C:\\photos\\a.jpg", "\\\\host\\a.jpg"],
)
def test_files_of_this_machine_and_half_addresses_are_refused(double, address):
    with pytest.raises(PictureError, match="is no address that is fetched"):
        fetch(address, 1, studio(double), LIMITS)
    assert double.asked == []


@pytest.mark.parametrize(
    ("address", "task_id", "says"),
    [("/data/upload/1/a.jpg", 1, "set LABEL_STUDIO_URL"), ("s3://b/a.jpg", 1, "set LABEL_STUDIO_URL")],
)
def test_what_only_label_studio_has_needs_label_studio(address, task_id, says):
    with pytest.raises(PictureError, match=says):
        fetch(address, task_id, None, LIMITS)


def test_a_storage_needs_a_task(double):
    with pytest.raises(PictureError, match="opens it for a task"):
        fetch("s3://bucket/a.jpg", None, studio(double), LIMITS)


def test_data_uris_are_decoded():
    encoded = base64.b64encode(jpeg()).decode()
    assert fetch(f"data:image/jpeg;base64,{encoded}", None, None, LIMITS) == jpeg()
    assert fetch(f"DATA:image/jpeg;BASE64,{encoded.replace('+', '%2B')}", None, None, LIMITS) == jpeg()


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("data:image/png;base64,####", "damaged"),
        ("data:image/png;base64,abc", "damaged"),
        ("data:image/png;base64,", "empty"),
        ("data:image/png;base64", "empty"),
        ("data:image/png;base64," + "A" * 300_000, "more than the 200000 bytes"),
    ],
)
def test_data_uris_that_are_none_are_refused(uri, says):
    with pytest.raises(PictureError, match=says):
        fetch(uri, None, None, LIMITS)


MALFORMED = [
    "http://[x/y.jpg", "http://user:hush@[x/y.jpg?X-Signature=secret", "http://[::1]]/a.jpg", "http://",
    "http:///a.jpg", "http:a.jpg", "http://127.0.0.1:99999999/a.jpg", "http://127.0.0.1:65536/a.jpg",
    "http://127.0.0.1:-1/a.jpg", "http://127.0.0.1:x/a.jpg", "http://\u2100.org/a.jpg", "http://хх\u200d/a.jpg",
    "http://\ud800/a.jpg", "http://127.0.0.1:1/\ud800.jpg", "http://127.0.0.1:1/\0.jpg", "http://" + "х" * 70_000,
    "http://127.0.0.1:1/" + "y" * 70_000,
]  # fmt: skip


@pytest.mark.parametrize("address", MALFORMED, ids=lambda address: ascii(address[:30]))
def test_a_malformed_address_is_an_error_of_the_picture(address):
    """Parsers and clients refuse each in its own way; one that slips through stops an export of thousands."""
    with pytest.raises(PictureError) as refused:
        fetch(address, 1, LabelStudio("http://127.0.0.1:1", LEGACY, 0.1), LIMITS)
    shown = refused.value.message
    assert "secret" not in shown and "hush" not in shown
    assert len(shown.encode()) < 1000


@pytest.mark.parametrize("location", ["http://[x/y.jpg", "//[", "http://127.0.0.1:65536/", "http://", "http://\\x/"])
def test_a_redirect_to_a_malformed_address_is_an_error_of_the_picture(double, location):
    double.rule(lambda asked: Reply(302, headers={"Location": location}))
    with pytest.raises(PictureError):
        fetch("/a.jpg", 1, studio(double), LIMITS)


@given(
    st.sampled_from(["http://[", "http://127.0.0.1:99999", "http://127.0.0.1:1/"]),
    st.text(st.characters(exclude_characters="@]"), max_size=30),
)
@settings(deadline=None)
def test_whatever_stands_as_a_url_ends_in_an_error_of_the_picture(start, rest):
    with pytest.raises(PictureError) as refused:
        fetch(start + rest, 1, None, LIMITS)
    refused.value.message.encode()


@given(st.text(max_size=60))
def test_whatever_stands_as_an_address_ends_in_an_error_for_the_client(address):
    """Only addresses that reach no network are drawn: http(s) to a port where nobody listens."""
    closed = LabelStudio("http://127.0.0.1:1", None, 0.1)
    with pytest.raises(BackendError) as refused:
        fetch(address if "http" not in address.lower() else "", 1, closed, LIMITS)
    assert 400 <= refused.value.status < 600


def grey16() -> np.ndarray:
    return (data.camera()[:200, :300].astype(np.uint16) << 8) | 0x80


def with_alpha(mode: str) -> Image.Image:
    image = Image.fromarray(cat()).convert("L" if mode == "LA" else "RGB")
    image.putalpha(Image.fromarray((np.indices((200, 300))[1] * 255 // 299).astype(np.uint8)))
    return image


def over_white(image: Image.Image) -> np.ndarray:
    rgba = np.asarray(image.convert("RGBA")).astype(float)
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


def rgb_of(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2).astype(float)


def palette_with_a_hole() -> bytes:
    image = Image.fromarray(cat()).quantize(32)
    return saved(image, "PNG", transparency=image.getpixel((0, 0)))


def animation(format: str, **options: object) -> bytes:
    frames = [Image.fromarray(np.roll(cat(), 40 * shift, axis=1)) for shift in range(3)]
    return saved(frames[0], format, save_all=True, append_images=frames[1:], duration=50, **options)


PICTURES = {
    "jpeg": (jpeg, lambda: cat(), 6),
    "png": (lambda: saved(Image.fromarray(cat()), "PNG"), lambda: cat(), 0),
    "bmp": (lambda: saved(Image.fromarray(cat()), "BMP"), lambda: cat(), 0),
    "tiff": (lambda: saved(Image.fromarray(cat()), "TIFF"), lambda: cat(), 0),
    "webp": (lambda: saved(Image.fromarray(cat()), "WEBP", lossless=True), lambda: cat(), 0),
    "avif": (lambda: saved(Image.fromarray(cat()), "AVIF", quality=95), lambda: cat(), 6),
    "grey": (lambda: saved(Image.fromarray(data.camera()), "PNG"), lambda: rgb_of(data.camera()), 0),
    "16-bit grey png": (lambda: saved(Image.fromarray(grey16()), "PNG"), lambda: rgb_of(grey16() >> 8), 0),
    "16-bit grey tiff": (lambda: saved(Image.fromarray(grey16()), "TIFF"), lambda: rgb_of(grey16() >> 8), 0),
    "float tiff": (
        lambda: saved(Image.fromarray(data.camera()[:90, :90].astype(np.float32) / 7 - 3), "TIFF"),
        lambda: rgb_of(np.interp(c := data.camera()[:90, :90].astype(float), (c.min(), c.max()), (0, 255))),
        1,
    ),
    "1-bit": (
        lambda: saved(Image.fromarray(data.horse()), "PNG"),
        lambda: rgb_of(data.horse() * 255),
        0,
    ),
    "palette": (
        lambda: saved(Image.fromarray(cat()).quantize(64), "PNG"),
        lambda: np.asarray(Image.fromarray(cat()).quantize(64).convert("RGB")),
        0,
    ),
    "palette with a hole": (
        palette_with_a_hole,
        lambda: over_white(Image.open(io.BytesIO(palette_with_a_hole())).convert("RGBA")),
        0,
    ),
    "alpha": (lambda: saved(with_alpha("RGBA"), "PNG"), lambda: over_white(with_alpha("RGBA")), 1),
    "grey with alpha": (lambda: saved(with_alpha("LA"), "PNG"), lambda: over_white(with_alpha("LA")), 1),
    "cmyk jpeg": (lambda: saved(Image.fromarray(cat()).convert("CMYK"), "JPEG", quality=95), lambda: cat(), 12),
    "cmyk tiff": (lambda: saved(Image.fromarray(cat()).convert("CMYK"), "TIFF"), lambda: cat(), 2),
    "gif": (lambda: animation("GIF"), lambda: cat(), 20),
    "animated webp": (lambda: animation("WEBP", lossless=True), lambda: cat(), 0),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_kind_of_picture_is_decoded(name):
    file, expected, tolerance = PICTURES[name]
    decoded = decode(file(), MEGAPIXEL)
    assert decoded.dtype == np.uint8 and decoded.flags.writeable
    assert decoded.shape == expected().shape
    assert np.abs(decoded.astype(float) - expected()).mean() <= tolerance


@pytest.mark.parametrize("format", ["JPEG", "PNG", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_data_says(format, orientation):
    """The eight ways a camera can lie, undone: a picture stored the wrong way round comes out upright."""
    turned = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a), 7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(turned[orientation](cat())))
    options = {} if format == "PNG" else {"quality": 95}
    decoded = decode(saved(stored, format, exif=exif, **options), MEGAPIXEL)
    assert decoded.shape == cat().shape
    assert np.abs(decoded.astype(float) - cat()).mean() < 6


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\xff\xff\xff\xff"])
def test_damaged_exif_data_turns_nothing_and_breaks_nothing(exif):
    assert decode(saved(Image.fromarray(cat()), "JPEG", exif=exif), MEGAPIXEL).shape == cat().shape


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(("width", "height"), [(20_000, 10_000), (2**31 - 1, 2**31 - 1), (1001, 1000)])
def test_too_many_pixels_are_seen_before_they_are_decoded(width, height):
    with pytest.raises(PictureError, match=f"{width} x {height} pixels, more than the 1000000") as refused:
        decode(png_that_claims(width, height), MEGAPIXEL)
    assert (refused.value.status, refused.value.code) == (413, "image_too_large")


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (lambda: jpeg()[: len(jpeg()) // 2], "damaged or cut short"),
        (lambda: saved(Image.fromarray(cat()), "PNG")[:5000], "damaged or cut short"),
        (lambda: saved(Image.fromarray(cat()), "WEBP")[:2000], "damaged or cut short|no image"),
        (lambda: b"", "no image that can be read: it is empty"),
        (lambda: b"\n <!DOCTYPE html><p>Log in", "it is a web page"),
        (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (lambda: b"%PDF-1.7", "begins with b'%PDF-1.7'"),
        (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image that can be read"),
        (lambda: b"\xff\xd8\xff", "no image|damaged"),
    ],
)
def test_what_is_no_picture_says_what_it_is(file, says):
    with pytest.raises(PictureError, match=says):
        decode(file(), MEGAPIXEL)


FORMATS = ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "AVIF", "BMP"]


@cache
def small(format: str) -> bytes:
    return saved(Image.fromarray(cat()[::4, ::4]), format)


@given(st.sampled_from(FORMATS), st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_file_ends_in_a_picture_or_a_picture_error(format, drawn):
    """Bytes changed or cut anywhere, most of all in the headers."""
    file = bytearray(small(format))
    for _ in range(drawn.draw(st.integers(1, 5))):
        near_the_start = drawn.draw(st.booleans())
        at = drawn.draw(st.integers(0, min(len(file), 400 if near_the_start else len(file)) - 1))
        file[at] = drawn.draw(st.integers(0, 255))
    if drawn.draw(st.booleans()):
        del file[drawn.draw(st.integers(1, len(file))) :]
    try:
        assert decode(bytes(file), MEGAPIXEL).ndim == 3
    except PictureError:
        pass
