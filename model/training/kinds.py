"""Shapes without a name, each of which is drawn again and again: what a region has to be recognised by, words aside.

A model that learns two dozen names alone sees nothing but these in whatever it is shown, and its embeddings do not tell
other things apart. So it must also know KINDS numbered shapes from one another, each in many sizes, coats and places,
as one-shot learning is taught (Chen et al., A Closer Look at Few-shot Classification, ICLR 2019).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model.training.sheet import Sheet, around

KINDS = 300

_SERIES = 77


def draw_kind(number: int, s: Sheet) -> np.ndarray:
    """Draw one more of shape `number`, 0..KINDS - 1: never the same twice, as no two leaves are. Gives its relief."""
    kind = np.random.default_rng((_SERIES, number))
    _WAYS[int(kind.integers(len(_WAYS)))](s, kind)
    relief = np.full_like(s.u, s.rng.uniform(0.9, 1.1))
    for _ in range(int(kind.choice([0, 0, 1, 2]))):
        u, v, size, light = (
            kind.uniform(-0.4, 0.4),
            kind.uniform(-0.4, 0.4),
            kind.uniform(0.1, 0.3),
            kind.choice([0.55, 1.5]),
        )
        relief[np.hypot(s.u - u, s.v - v) < size * s.rng.uniform(0.8, 1.2)] = light
    return relief


def _varied(s: Sheet, points: np.ndarray) -> np.ndarray:
    """An outline (N, 2) a little out of shape: stretched, sheared, its corners moved."""
    shear = np.array([[s.rng.uniform(0.8, 1), s.rng.normal(0, 0.08)], [s.rng.normal(0, 0.08), s.rng.uniform(0.8, 1)]])
    return np.clip((points + s.rng.normal(0, 0.025, points.shape)) @ shear, -1.05, 1.05)


def _waves(s: Sheet, kind: np.random.Generator) -> None:
    waves = [(k, kind.uniform(0.05, 0.35) / k**0.5, kind.uniform(0, 2 * np.pi)) for k in range(2, 7)]
    mine = [(k, w * s.rng.uniform(0.85, 1.15), p + s.rng.normal(0, 0.08)) for k, w, p in waves]
    s.polygon(np.clip(around(lambda a: 0.6 + sum(w * np.cos(k * a + p) for k, w, p in mine)), -1.05, 1.05))


def _corners(s: Sheet, kind: np.random.Generator) -> None:
    count = int(kind.integers(4, 11))
    angle = (np.arange(count) + kind.uniform(-0.35, 0.35, count)) * 2 * np.pi / count
    radius = kind.uniform(0.3, 1.0, count)
    s.polygon(_varied(s, np.stack([radius * np.sin(angle), -radius * np.cos(angle)], 1)))


def _spikes(s: Sheet, kind: np.random.Generator) -> None:
    count, inner, flat = int(kind.integers(3, 8)), kind.uniform(0.2, 0.7), kind.uniform(0, 0.35)
    turn, step = kind.uniform(0, 2 * np.pi), 2 * np.pi / count
    angle = np.concatenate([[i - flat, i + flat, i + 0.5] for i in range(count)]) * step + turn
    radius = np.tile([1.0, 1.0, inner], count)
    s.polygon(_varied(s, np.stack([radius * np.sin(angle), -radius * np.cos(angle)], 1)))


def _turned(s: Sheet, kind: np.random.Generator) -> None:
    """Alike on both sides of an axis, as if made on a lathe."""
    count = int(kind.integers(3, 8))
    v = np.linspace(-1, 1, count) + np.pad(kind.uniform(-0.5, 0.5, count - 2) / count, 1)
    half = kind.uniform(0.08, 0.8, count)
    profile = np.stack([half, v], 1)
    s.polygon(_varied(s, np.concatenate([profile, profile[::-1] * [-1, 1]])))


def _joined(s: Sheet, kind: np.random.Generator) -> None:
    for _ in range(int(kind.integers(2, 5))):
        u, v, a, b = *kind.uniform(-0.55, 0.55, 2), *kind.uniform(0.15, 0.5, 2)
        stretch = s.rng.uniform(0.88, 1.12, 2)
        if kind.random() < 0.5:
            s.ellipse(u, v, a * stretch[0], b * stretch[1])
        else:
            box = np.array([[-a, -b], [a, -b], [a, b], [-a, b]])
            turn = kind.uniform(0, np.pi)
            s.polygon(_varied(s, box @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]] + [u, v]))
    if kind.random() < 0.3:
        u, v, a, b = *kind.uniform(-0.4, 0.4, 2), *kind.uniform(0.12, 0.25, 2)
        s.ellipse(u, v, a, b, value=0)


def _strokes(s: Sheet, kind: np.random.Generator) -> None:
    """A bent bar, or some that meet, like a letter."""
    width = kind.uniform(0.1, 0.22) * s.rng.uniform(0.85, 1.15)
    knots = _varied(s, kind.uniform(-0.85, 0.85, (int(kind.integers(3, 6)), 2)))
    for (u0, v0), (u1, v1) in zip(knots, knots[1:], strict=False):
        length = max(float(np.hypot(u1 - u0, v1 - v0)), 1e-3)
        across = np.array([v0 - v1, u1 - u0]) / length * width
        start, end = np.array([u0, v0]), np.array([u1, v1])
        s.polygon(np.array([start + across, end + across, end - across, start - across]))
        for u, v in (start, end):
            s.ellipse(u, v, width, width)


_WAYS: tuple[Callable[[Sheet, np.random.Generator], None], ...] = (
    _waves,
    _corners,
    _spikes,
    _turned,
    _joined,
    _strokes,
)
