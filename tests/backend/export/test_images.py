"""Images are exported as the trainer must see them: original bytes wherever these agree with the masks."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from backend.errors import PictureError
from backend.export.images import ImageStore
from tests.backend.export.project import photograph


@pytest.mark.parametrize("format, suffix", [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("BMP", "bmp")])
def test_an_upright_file_is_stored_byte_for_byte(tmp_path: Path, format: str, suffix: str) -> None:
    """Re-encoding would cost quality; the suffix tells what the bytes are, whatever the address said."""
    file = photograph("chelsea", format)
    store = ImageStore(tmp_path, 1_000_000)
    image = store.add(file)
    assert (image.height, image.width) == (300, 451)
    assert image.path == f"images/{hashlib.sha256(file).hexdigest()[:16]}.{suffix}"
    assert (tmp_path / image.path).read_bytes() == file
    assert store.add(file) == image and len(store) == 1


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_file_on_its_side_is_stored_upright(tmp_path: Path, orientation: int) -> None:
    """Every orientation that EXIF knows: the stored pixels are what the annotator saw, and say so of themselves."""
    turns = {2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (3, 1), 6: (3, 0), 7: (1, 1), 8: (1, 0)}
    quarter_turns, mirrored = turns[orientation]
    upright = np.rot90(data.chelsea(), quarter_turns)
    upright = upright[:, ::-1] if mirrored else upright
    image = ImageStore(tmp_path, 1_000_000).add(photograph("chelsea", "JPEG", orientation))
    content = (tmp_path / image.path).read_bytes()
    assert image.path == f"images/{hashlib.sha256(content).hexdigest()[:16]}.jpg"
    with Image.open(io.BytesIO(content)) as stored:
        assert stored.getexif().get(0x0112, 1) == 1
        pixels = np.asarray(stored)
    assert (image.height, image.width) == pixels.shape[:2] == upright.shape[:2]
    assert np.abs(pixels.astype(int) - upright).mean() < 6


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\0\0\0\x08\0\x05", b"Exif\0\0no TIFF header", b"\xff" * 40])
def test_damaged_exif_data_is_not_passed_on(tmp_path: Path, exif: bytes) -> None:
    """What a browser, Pillow and OpenCV make of it differs; the stored image leaves nothing to make of."""
    file = io.BytesIO()
    Image.fromarray(data.chelsea()).save(file, "JPEG", exif=exif, quality=90)
    image = ImageStore(tmp_path, 1_000_000).add(file.getvalue())
    assert (image.height, image.width) == (300, 451)
    with Image.open(tmp_path / image.path) as stored:
        assert stored.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("file", [b"", b"no image", photograph("chelsea")[:2000]])
def test_what_is_no_image_is_refused_and_not_stored(tmp_path: Path, file: bytes) -> None:
    """An error page behind an image's address must not end up in a data set."""
    store = ImageStore(tmp_path, 1_000_000)
    with pytest.raises(PictureError):
        store.add(file)
    assert len(store) == 0 and list((tmp_path / "images").iterdir()) == []
