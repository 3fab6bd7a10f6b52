"""The things that drawn scenes are made of: an outline for each category, and what its inside looks like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from model.training import things
from model.training.kinds import draw_kind
from model.training.sheet import Sheet, around

DEFINITIONS = {
    "coin": "a small flat piece of metal that people use as money.",
    "ball": "a round thing that people throw, kick or roll in games.",
    "ring": "a round band with a hole, worn on a finger or used to join things.",
    "plate": "a flat round dish from which people eat food.",
    "cup": "a small vessel with a handle for hot drinks.",
    "bottle": "a vessel with a narrow neck that holds liquids.",
    "leaf": "the flat green part of a plant that turns light into food.",
    "flower": "the part of a plant with petals that attracts insects.",
    "star": "a shape with five points, used as a sign or an ornament.",
    "heart": "a shape that stands for love and affection.",
    "box": "a container with flat sides in which things are kept.",
    "sign": "a board on a road or a wall that warns or informs people.",
    "stick": "a long thin piece of wood or metal to hold or to point with.",
    "moon": "a crescent, the shape of the moon when it is partly lit.",
    "fish": "an animal with fins that lives in water.",
    "tree": "a tall plant with a trunk and a crown of leaves.",
    "apple": "a round fruit with a stem that grows on trees.",
    "bird": "an animal with wings, feathers and a beak.",
    "car": "a vehicle with four wheels and an engine.",
    "clock": "an instrument with hands that shows the time.",
    "house": "a building with a roof in which people live.",
    "person": "a human being.",
    "spoon": "a tool with a shallow bowl for eating or stirring.",
    "object": "a thing that this small model has no better word for.",
}
"""Category to what it is and is for."""

UNKNOWN = "object"
"""What has no better word."""

CATEGORIES = tuple(DEFINITIONS)


def draw(category: str, side: int, rng: np.random.Generator, kind: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Draw one thing upright in a square.

    kind: the number of the shape that an UNKNOWN thing is to have, see `kinds.py`, or None for any.
    Returns its outline, uint8 (side, side) of 0 and 255, and its relief, float32 (side, side) around 1, by which the
    colour is to be multiplied.
    """
    sheet = Sheet(side, rng)
    relief = PAINTERS[category](sheet) if kind is None else draw_kind(kind, sheet)
    return sheet.outline, np.broadcast_to(relief, sheet.outline.shape).astype(np.float32)


def _coin(s: Sheet) -> np.ndarray:
    s.ellipse(0, 0, 1, s.rng.uniform(0.9, 1.0))
    grain = s.noise(max(4, len(s.u) // 6))
    light = np.roll(grain, 2, axis=(0, 1)) - grain
    distance = np.hypot(s.u, s.v)
    rim = np.where((distance > 0.82) & (distance < 0.92), s.rng.uniform(0.7, 0.9), 1.0)
    return (1 + s.rng.uniform(0.15, 0.35) * light * (distance < 0.8)) * rim


def _ball(s: Sheet) -> np.ndarray:
    s.ellipse(0, 0, 1, 1)
    angle = s.rng.uniform(0, 2 * np.pi)
    d = (s.u - 0.4 * np.cos(angle)) ** 2 + (s.v - 0.4 * np.sin(angle)) ** 2
    return 1.15 - 0.45 * d + 0.8 * np.exp(-d * 25)


def _ring(s: Sheet) -> np.ndarray:
    squash, hole = s.rng.uniform(0.75, 1.0), s.rng.uniform(0.5, 0.75)
    s.ellipse(0, 0, 1, squash)
    s.ellipse(0, 0, hole, squash * hole, value=0)
    return 1.2 - 2.5 * np.abs(np.hypot(s.u, s.v / squash) - (1 + hole) / 2)


def _plate(s: Sheet) -> np.ndarray:
    squash, well = s.rng.uniform(0.55, 1.0), s.rng.uniform(0.6, 0.75)
    s.ellipse(0, 0, 1, squash)
    d = np.hypot(s.u, s.v / squash)
    return np.where(d < well, 0.93, 1.05) - 0.25 * np.exp(-(((d - well) / 0.03) ** 2))


def _cup(s: Sheet) -> np.ndarray:
    top, foot = s.rng.uniform(0.55, 0.7), s.rng.uniform(0.35, 0.55)
    side = s.rng.choice([-1, 1])
    middle = -side * 0.2
    s.ellipse(middle + side * top, 0, 0.42, 0.42)
    s.ellipse(middle + side * top, 0, 0.24, 0.24, value=0)
    s.polygon(np.array([[middle - top, -0.75], [middle + top, -0.75], [middle + foot, 0.8], [middle - foot, 0.8]]))
    s.ellipse(middle, -0.75, top, 0.16)
    mouth = ((s.u - middle) / top) ** 2 + ((s.v + 0.75) / 0.16) ** 2 < 0.75
    return np.where(mouth, 0.5, 1.1 - 0.35 * np.abs(s.u - middle))


def _bottle(s: Sheet) -> np.ndarray:
    body, neck, shoulder = s.rng.uniform(0.3, 0.42), s.rng.uniform(0.1, 0.16), s.rng.uniform(-0.35, -0.05)
    left = [(-neck, -1.0), (-neck, shoulder - 0.2), (-body, shoulder + 0.1), (-body, 0.97)]
    s.polygon(np.array(left + [(-x, y) for x, y in reversed(left)]))
    label = (s.v > 0.2) & (s.v < 0.65)
    glint = 0.5 * np.exp(-(((s.u + body * 0.5) / 0.05) ** 2))
    return np.where(label, 1.3, 1.0) * (1.1 - 0.9 * np.abs(s.u)) + glint


def _leaf(s: Sheet) -> np.ndarray:
    t = np.linspace(-1, 1, 60)
    half = s.rng.uniform(0.35, 0.5) * (1 - t * t) * (1 + 0.3 * t)
    s.polygon(np.concatenate([np.stack([half, t], 1), np.stack([-half, t], 1)[::-1]]))
    ribs = 0.5 + 0.5 * np.cos((s.v + np.abs(s.u)) * 25)
    return 1 - 0.35 * np.exp(-((s.u / 0.03) ** 2)) - 0.15 * ribs


def _flower(s: Sheet) -> np.ndarray:
    petals, depth = int(s.rng.integers(5, 9)), s.rng.uniform(0.2, 0.35)
    s.polygon(around(lambda a: 1 - depth + depth * np.cos(petals * a)))
    d = np.hypot(s.u, s.v)
    return np.where(d < 0.25, 0.45, 0.85 + 0.25 * d)


def _star(s: Sheet) -> np.ndarray:
    angle = np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2 == 0, 1.0, s.rng.uniform(0.36, 0.5))
    s.polygon(np.stack([radius * np.sin(angle), -radius * np.cos(angle)], 1))
    return np.ones_like(s.u)


def _heart(s: Sheet) -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 120)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    s.polygon(np.stack([16 * np.sin(t) ** 3, -y], 1) / 17)
    return 1.05 - 0.2 * s.v


def _box(s: Sheet) -> np.ndarray:
    w, h, d = s.rng.uniform(0.5, 0.75), s.rng.uniform(0.4, 0.7), s.rng.uniform(0.15, 0.3)
    front = np.array([[-w, -h + d], [w - d, -h + d], [w - d, h], [-w, h]])
    top = np.array([[-w, -h + d], [-w + d, -h], [w, -h], [w - d, -h + d]])
    flank = np.array([[w - d, -h + d], [w, -h], [w, h - d], [w - d, h]])
    relief = np.ones_like(s.u)
    for face, light in ((front, 1.0), (top, 1.25), (flank, 0.65)):
        s.polygon(face)
        relief[s.inside(face)] = light
    return relief


def _sign(s: Sheet) -> np.ndarray:
    corners = int(s.rng.choice([3, 3, 8]))
    angle = np.arange(corners) * 2 * np.pi / corners + (np.pi / 8 if corners == 8 else 0)
    points = np.stack([np.sin(angle), -np.cos(angle)], 1)
    s.polygon(points)
    return np.where(s.inside(points * 0.72), s.rng.choice([0.45, 1.8]), 1.0)


def _stick(s: Sheet) -> np.ndarray:
    half = s.rng.uniform(0.05, 0.12)
    s.polygon(np.array([[-half, -1], [half, -1], [half * 1.2, 1], [-half * 1.2, 1]]))
    return 1.15 - 3 * np.abs(s.u)


def _moon(s: Sheet) -> np.ndarray:
    s.ellipse(0, 0, 1, 1)
    s.ellipse(s.rng.uniform(0.35, 0.6), 0, 0.85, 0.85, value=0)
    return np.ones_like(s.u)


def _fish(s: Sheet) -> np.ndarray:
    height = s.rng.uniform(0.35, 0.5)
    s.ellipse(-0.15, 0, 0.8, height)
    s.polygon(np.array([[0.5, 0], [1, -0.45], [0.85, 0], [1, 0.45]]))
    s.polygon(np.array([[-0.2, -height * 0.8], [0.15, -height * 1.5], [0.3, -height * 0.6]]))
    eye = (s.u + 0.65) ** 2 + (s.v + 0.1) ** 2 < 0.006
    scales = 0.9 + 0.12 * np.cos(s.u * 30) * np.cos(s.v * 30)
    return np.where(eye, 0.1, scales * (1.1 - 0.4 * s.v))


def _tree(s: Sheet) -> np.ndarray:
    trunk = s.rng.uniform(0.07, 0.12)
    s.polygon(np.array([[-trunk, 0], [trunk, 0], [trunk * 1.4, 1], [-trunk * 1.4, 1]]))
    if s.rng.random() < 0.5:
        for _ in range(6):
            s.ellipse(s.rng.uniform(-0.35, 0.35), s.rng.uniform(-0.6, -0.1), 0.38, 0.36)
    else:
        s.polygon(np.array([[0, -1], [0.6, 0.45], [-0.6, 0.45]]))
    crown = 0.95 + 0.1 * s.noise(len(s.u) // 4 + 1)
    return np.where((s.v > 0.4) & (np.abs(s.u) < trunk * 1.5), 0.5, crown)


PAINTERS: dict[str, Callable[[Sheet], np.ndarray]] = {
    "coin": _coin,
    "ball": _ball,
    "ring": _ring,
    "plate": _plate,
    "cup": _cup,
    "bottle": _bottle,
    "leaf": _leaf,
    "flower": _flower,
    "star": _star,
    "heart": _heart,
    "box": _box,
    "sign": _sign,
    "stick": _stick,
    "moon": _moon,
    "fish": _fish,
    "tree": _tree,
    "apple": things.apple,
    "bird": things.bird,
    "car": things.car,
    "clock": things.clock,
    "house": things.house,
    "person": things.person,
    "spoon": things.spoon,
    "object": things.odd,
}
"""Category to what draws its outline on a sheet and returns its relief."""
