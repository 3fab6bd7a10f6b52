"""The pixels that the model gets are those that the annotator sees, in Chromium."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from backend.pictures import decode
from tests.backend.test_pictures import PICTURES, cat, saved

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

DRAW = """async (uri) => {
  const image = new Image();
  image.src = uri;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  let bytes = "";
  for (const value of pixels) bytes += String.fromCharCode(value);
  return [canvas.height, canvas.width, btoa(bytes)];
}"""

XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "this test needs Chromium: `.ci/run` installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser.new_page()
        browser.close()


def seen(page: Page, file: bytes) -> np.ndarray:
    """uint8 (H, W, 3): the picture as the browser draws it on white."""
    kind = Image.MIME[Image.open(io.BytesIO(file)).format or ""]
    height, width, pixels = page.evaluate(DRAW, f"data:{kind};base64,{base64.b64encode(file).decode()}")
    return np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(height, width, 4)[..., :3]


def turned(format: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(cat()), format, exif=exif)


FILES = {name: file for name, (file, _, _) in PICTURES.items() if "tiff" not in name} | {
    "turned jpeg": lambda: turned("JPEG"),
    "turned png": lambda: turned("PNG"),
    "turned webp": lambda: turned("WEBP"),
    "turned avif": lambda: turned("AVIF"),
    "jpeg turned by xmp": lambda: saved(Image.fromarray(cat()), "JPEG", xmp=XMP),
}


@pytest.mark.parametrize("name", FILES)
def test_the_model_sees_what_the_annotator_sees(page, name):
    """Were it turned or scaled otherwise, every click would land elsewhere than it was made."""
    file = FILES[name]()
    shown, decoded = seen(page, file), decode(file, 1_000_000)
    assert decoded.shape == shown.shape
    assert np.abs(decoded.astype(int) - shown).max() <= 2, "codecs may round otherwise, and no more"
