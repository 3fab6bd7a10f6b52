"""Real photographs without a download: those that the scikit-image wheel carries."""

from __future__ import annotations

from importlib.resources import files

NAMES = (
    "coins.png",
    "coffee.png",
    "chelsea.png",
    "astronaut.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "camera.png",
    "retina.jpg",
)


def read(name: str) -> bytes:
    """The file `name` of NAMES, as it is."""
    return files("skimage.data").joinpath(name).read_bytes()
