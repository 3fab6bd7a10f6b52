"""A backend with nano, and a Label Studio that serves photographs, for the tests of `backend`."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from skimage import data

import model
from backend.app import create_app
from backend.assembly import Backend, assemble
from backend.settings import Settings
from model import PAM
from tests.backend.label_studio_double import LEGACY, Asked, Double, Reply, label_studio_double

CAPTURES = Path(__file__).parents[1] / "data" / "captures"


def capture(name: str) -> dict[str, Any]:
    """A request that Label Studio 1.23.2 once sent."""
    return json.loads((CAPTURES / f"{name}.json").read_text())


class Photos:
    """Uploads that Label Studio serves to whoever has the token: path to content. A cleared `gate` makes it wait."""

    def __init__(self, studio: Double):
        self.url = studio.url
        self.files: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        studio.rule(self._serve)

    def _serve(self, asked: Asked) -> Reply | None:
        if asked.authorization != f"Token {LEGACY}" or asked.path not in self.files:
            return None
        self.fetched.append(asked.path)
        self.gate.wait(20)
        return Reply(body=self.files[asked.path], headers={"Content-Type": "image/jpeg"})


@pytest.fixture
def photos() -> Iterator[Photos]:
    """A Label Studio with photographs."""
    with label_studio_double() as studio:
        yield Photos(studio)


@pytest.fixture(scope="session")
def coins() -> bytes:
    """The photograph behind the captures, 384 x 303, as a JPEG."""
    file = io.BytesIO()
    Image.fromarray(data.coins()).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture(scope="session")
def nano() -> PAM:
    """The model that comes with the package."""
    return model.load("nano", threads=1)


@pytest.fixture
def make_backend(tmp_path: Path, photos: Photos, nano: PAM) -> Iterator[Callable[..., Backend]]:
    """Makes backends over one data directory, connected to the photo server; takes settings and `load`."""
    made: list[Backend] = []

    def make(load: Callable[[], PAM] = lambda: nano, **settings: Any) -> Backend:
        defaults = {"data_dir": tmp_path / "data", "label_studio_url": photos.url, "label_studio_api_key": LEGACY}
        made.append(assemble(Settings(**(defaults | settings)), load))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def backend(make_backend: Callable[..., Backend]) -> Backend:
    """A backend whose model is loaded."""
    return ready(make_backend())


def ready(backend: Backend) -> Backend:
    """Wait until the model is loaded."""
    pause = threading.Event()
    for _ in range(6000):
        if backend.engine.ready:
            return backend
        pause.wait(0.01)
    raise AssertionError(f"the model did not load: {backend.engine.failure}")


@pytest.fixture
def client(backend: Backend) -> FlaskClient:
    """A client of that backend."""
    return create_app(backend).test_client()
