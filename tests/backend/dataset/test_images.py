"""A trainer that opens an exported image reads what the annotator saw; wherever they tell that, the original bytes."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from backend import pictures
from backend.dataset.images import ImagePool, perceptual_hash
from backend.dataset.splits import NEAR
from backend.errors import PictureError
from tests.backend.annotated_project import MEGAPIXEL, photograph


@pytest.mark.parametrize(
    "format, suffix", [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("BMP", "bmp"), ("TIFF", "tiff")]
)
def test_an_upright_file_is_stored_byte_for_byte(tmp_path: Path, format: str, suffix: str) -> None:
    """Re-encoding would cost quality; the suffix tells what the bytes are, whatever the address said."""
    file = photograph("chelsea", format)
    store = ImagePool(tmp_path, MEGAPIXEL)
    image = store.add(file)
    assert (image.height, image.width) == (300, 451)
    assert image.name == f"{hashlib.sha256(file).hexdigest()[:16]}.{suffix}"
    assert (tmp_path / image.name).read_bytes() == file
    assert store.add(file) == image and len(list(tmp_path.iterdir())) == 1
    assert (as_a_trainer_reads(tmp_path / image.name) == pictures.decode(file, MEGAPIXEL)).all()


def as_a_trainer_reads(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.getexif().get(0x0112, 1) == 1
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "AVIF", "WEBP"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_file_on_its_side_is_stored_upright(tmp_path: Path, format: str, orientation: int) -> None:
    """Every orientation that EXIF knows: the stored pixels are what the annotator saw, and say so of themselves."""
    turns = {2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (3, 1), 6: (3, 0), 7: (1, 1), 8: (1, 0)}
    # No browser turns a WebP.
    quarter_turns, mirrored = (0, 0) if format == "WEBP" else turns[orientation]
    upright = np.rot90(data.chelsea(), quarter_turns)
    upright = upright[:, ::-1] if mirrored else upright
    original = photograph("chelsea", format, orientation)
    image = ImagePool(tmp_path, MEGAPIXEL).add(original)
    content = (tmp_path / image.name).read_bytes()
    assert image.name == f"{hashlib.sha256(content).hexdigest()[:16]}.png"
    pixels = as_a_trainer_reads(tmp_path / image.name)
    assert (image.height, image.width) == pixels.shape[:2] == upright.shape[:2]
    assert np.abs(pixels.astype(int) - upright).mean() < 6
    assert (pixels == pictures.decode(original, MEGAPIXEL)).all()


def test_a_turn_that_xmp_asks_for_is_not_passed_on(tmp_path: Path) -> None:
    """Pillow obeys it where EXIF says nothing, browsers do not."""
    asks = b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    file = saved(Image.fromarray(data.chelsea()), "JPEG", xmp=asks)
    with Image.open(io.BytesIO(file)) as image:
        assert image.getexif()[0x0112] == 6
    stored = ImagePool(tmp_path, MEGAPIXEL).add(file)
    assert (as_a_trainer_reads(tmp_path / stored.name) == pictures.decode(file, MEGAPIXEL)).all()


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def with_alpha(mode: str) -> Image.Image:
    image = Image.fromarray(data.chelsea()).convert(mode.rstrip("A"))
    image.putalpha(Image.fromarray((np.indices((300, 451))[1] // 2).astype(np.uint8)))
    return image


CAT = Image.fromarray(data.chelsea())
GREY = data.camera()[:90, :90]
GREY_16 = GREY.astype(np.uint16) * 117 + 1000
AS_SEEN_ONLY_WHEN_WRITTEN_ANEW = {
    "16-bit grey png": lambda: saved(Image.fromarray(GREY_16), "PNG"),
    "16-bit grey tiff": lambda: saved(Image.fromarray(GREY_16), "TIFF"),
    "32-bit grey tiff": lambda: saved(Image.fromarray(GREY.astype(np.int32) * 1000), "TIFF"),
    "float tiff": lambda: saved(Image.fromarray(GREY.astype(np.float32) / 255), "TIFF"),
    "palette with a hole": lambda: saved(CAT.quantize(32), "PNG", transparency=CAT.quantize(32).getpixel((0, 0))),
    "gif with a hole": lambda: saved(CAT.quantize(32), "GIF", transparency=CAT.quantize(32).getpixel((0, 0))),
    "grey with a hole": lambda: saved(Image.fromarray(GREY), "PNG", transparency=int(GREY[0, 0])),
    "RGB with a hole": lambda: saved(CAT, "PNG", transparency=CAT.getpixel((0, 0))),
    "alpha": lambda: saved(with_alpha("RGBA"), "PNG"),
    "alpha webp": lambda: saved(with_alpha("RGBA"), "WEBP", lossless=True, exact=True),
    "grey with alpha": lambda: saved(with_alpha("LA"), "PNG"),
}
AS_SEEN_BY_PILLOW = {
    "palette": lambda: saved(CAT.quantize(64), "PNG"),
    "1-bit": lambda: saved(Image.fromarray(data.horse()), "PNG"),
    "gif": lambda: saved(CAT, "GIF"),
    "cmyk jpeg, inverted as Adobe does": lambda: saved(CAT.convert("CMYK"), "JPEG"),
    "cmyk tiff": lambda: saved(CAT.convert("CMYK"), "TIFF"),
    "YCbCr tiff": lambda: saved(CAT.convert("YCbCr"), "TIFF"),
    "Lab tiff": lambda: saved(CAT.convert("LAB"), "TIFF"),
}


@pytest.mark.parametrize(
    "file", [*AS_SEEN_ONLY_WHEN_WRITTEN_ANEW.items(), *AS_SEEN_BY_PILLOW.items()], ids=lambda f: f[0]
)
def test_what_readers_disagree_about_is_stored_as_it_was_seen(tmp_path: Path, file: tuple) -> None:
    """A mask was drawn on what the screen showed: the same must reach the model that learns from it."""
    name, make = file
    original = make()
    seen = pictures.decode(original, MEGAPIXEL)
    with Image.open(io.BytesIO(original)) as image:
        differs = (np.asarray(image.convert("RGB")) != seen).any()
    assert differs == (name in AS_SEEN_ONLY_WHEN_WRITTEN_ANEW)
    image = ImagePool(tmp_path, MEGAPIXEL).add(original)
    assert image.name.endswith(".png")
    with Image.open(tmp_path / image.name) as stored:
        assert (stored.mode, stored.has_transparency_data) == ("RGB", False)
    assert (as_a_trainer_reads(tmp_path / image.name) == seen).all()


def test_a_16_bit_grey_of_30000_stays_dark(tmp_path: Path) -> None:
    """On screen it is 117; `convert("RGB")` makes 255 of it, and so a white picture of most microscope images."""
    image = ImagePool(tmp_path, MEGAPIXEL).add(saved(Image.fromarray(np.full((4, 4), 30_000, np.uint16)), "PNG"))
    assert (as_a_trainer_reads(tmp_path / image.name) == 117).all()


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\0\0\0\x08\0\x05", b"Exif\0\0no TIFF header", b"\xff" * 40])
def test_damaged_exif_data_is_not_passed_on(tmp_path: Path, exif: bytes) -> None:
    """What a browser, Pillow and OpenCV make of it differs; the stored image leaves nothing to make of."""
    image = ImagePool(tmp_path, MEGAPIXEL).add(saved(CAT, "JPEG", exif=exif, quality=90))
    assert (image.height, image.width) == (300, 451)
    assert as_a_trainer_reads(tmp_path / image.name).shape == (300, 451, 3)


@pytest.mark.parametrize("file", [b"", b"no image", photograph("chelsea")[:2000]])
def test_what_is_no_image_is_refused_and_not_stored(tmp_path: Path, file: bytes) -> None:
    """An error page behind an image's address must not end up in a data set."""
    store = ImagePool(tmp_path, MEGAPIXEL)
    with pytest.raises(PictureError):
        store.add(file)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_near_duplicates_have_near_hashes(name: str) -> None:
    """A photograph that was encoded again, scaled, or made brighter or darker stays within reach; another does not."""
    photo = Image.fromarray(getattr(data, name)())
    others = {other: getattr(data, other)() for other in ("astronaut", "coffee", "chelsea", "rocket") if other != name}
    original = perceptual_hash(np.asarray(photo))
    for changed in (
        Image.open(io.BytesIO(saved(photo, "JPEG", quality=30))),
        photo.resize((photo.width // 2, photo.height // 2)),
        photo.point(lambda value: min(255, int(value * 1.2))),
        photo.point(lambda value: int(value * 0.7)),
    ):
        assert (original ^ perceptual_hash(np.asarray(changed.convert("RGB")))).bit_count() <= NEAR
    assert all((original ^ perceptual_hash(other)).bit_count() > 2 * NEAR for other in others.values())
