"""More outlines: things of every day that photographs show, and odd ones that have no name."""

from __future__ import annotations

import cv2
import numpy as np

from model.training.sheet import Sheet, around


def apple(s: Sheet) -> np.ndarray:
    wide = s.rng.uniform(0.5, 0.6)
    for side in (-1, 1):
        s.ellipse(side * 0.3, 0.15, wide, 0.75)
    s.ellipse(0, -0.75, 0.2, 0.2, value=0)
    s.polygon(np.array([[-0.05, -0.5], [0.05, -0.5], [0.16, -1], [0.05, -1]]))
    if s.rng.random() < 0.6:
        s.polygon(np.array([[0.08, -0.75], [0.35, -1], [0.65, -0.9], [0.4, -0.7]]))
    glint = 0.6 * np.exp(-((s.u + 0.35) ** 2 + (s.v + 0.15) ** 2) * 20)
    return np.where(s.v < -0.55, 0.45, 1.1 - 0.3 * (s.u**2 + s.v**2) + glint)


def bird(s: Sheet) -> np.ndarray:
    side = s.rng.choice([-1, 1])
    s.ellipse(0, 0.1, 0.6, s.rng.uniform(0.32, 0.42))
    s.ellipse(side * 0.55, -0.35, 0.26, 0.26)
    s.polygon(np.array([[side * 0.75, -0.45], [side * 1.0, -0.32], [side * 0.75, -0.22]]))
    s.polygon(np.array([[-side * 0.4, -0.1], [-side * 1.0, s.rng.uniform(-0.4, 0.3)], [-side * 0.4, 0.3]]))
    for x in (-0.12, 0.12):
        s.polygon(np.array([[x - 0.03, 0.4], [x + 0.03, 0.4], [x + 0.03, 0.95], [x - 0.03, 0.95]]))
    wing = ((s.u + side * 0.1) / 0.4) ** 2 + ((s.v - 0.1) / 0.2) ** 2 < 1
    eye = (s.u - side * 0.6) ** 2 + (s.v + 0.4) ** 2 < 0.004
    return np.where(eye | (s.v > 0.5), 0.25, np.where(wing, 0.65, 1.05))


def car(s: Sheet) -> np.ndarray:
    top, nose = s.rng.uniform(-0.5, -0.4), s.rng.uniform(0.85, 1.0)
    s.polygon(np.array([[-0.95, 0.3], [-0.95, -0.05], [nose, -0.05], [nose, 0.3]]))
    s.polygon(np.array([[-0.65, 0], [-0.4, top], [0.3, top], [0.6, 0]]))
    wheels = np.zeros(s.u.shape, bool)
    for x in (-0.52, 0.52):
        s.ellipse(x, 0.3, 0.22, 0.22)
        wheels |= (s.u - x) ** 2 + (s.v - 0.3) ** 2 < 0.22**2
    pane = s.inside(np.array([[-0.5, -0.05], [-0.34, top + 0.08], [0.25, top + 0.08], [0.45, -0.05]]))
    return np.where(wheels, 0.2, np.where(pane & (np.abs(s.u + 0.05) > 0.03), 1.6, 1.0))


def clock(s: Sheet) -> np.ndarray:
    s.ellipse(0, 0, 1, 1)
    distance, angle = np.hypot(s.u, s.v), np.arctan2(s.u, -s.v)
    face = np.where(distance < 0.8, s.rng.uniform(1.5, 1.8), 0.8)
    ticks = (distance > 0.62) & (distance < 0.76) & (np.abs(np.sin(6 * angle)) < 0.25)
    hands = np.zeros(s.u.shape, bool)
    for length in (0.4, 0.62):
        turn = s.rng.uniform(0, 2 * np.pi)
        along, across = s.u * np.sin(turn) - s.v * np.cos(turn), s.u * np.cos(turn) + s.v * np.sin(turn)
        hands |= (along > -0.08) & (along < length) & (np.abs(across) < 0.05)
    return np.where(ticks | hands, 0.2, face)


def house(s: Sheet) -> np.ndarray:
    wide, eaves = s.rng.uniform(0.65, 0.85), s.rng.uniform(-0.25, 0.0)
    s.polygon(np.array([[-wide, eaves], [wide, eaves], [wide, 0.95], [-wide, 0.95]]))
    roof = np.array([[-wide - 0.15, eaves], [s.rng.uniform(-0.1, 0.1), -0.95], [wide + 0.15, eaves]])
    s.polygon(roof)
    door = (np.abs(s.u - s.rng.uniform(-0.2, 0.2)) < 0.14) & (s.v > 0.4)
    panes = (np.abs(np.abs(s.u) - 0.45) < 0.13) & (np.abs(s.v - eaves - 0.3) < 0.13)
    return np.where(s.inside(roof), 0.65, np.where(door, 0.35, np.where(panes, 1.7, 1.05)))


def person(s: Sheet) -> np.ndarray:
    shoulder, hip, apart = s.rng.uniform(0.24, 0.32), s.rng.uniform(0.16, 0.24), s.rng.uniform(0.02, 0.25)
    s.ellipse(0, -0.8, 0.15, 0.19)
    s.polygon(np.array([[-shoulder, -0.58], [shoulder, -0.58], [hip, 0.15], [-hip, 0.15]]))
    for side in (-1, 1):
        reach, drop = s.rng.uniform(0.3, 0.65), s.rng.uniform(-0.6, 0.2)
        hand = np.array([side * reach, drop])
        s.polygon(np.array([[side * shoulder, -0.58], hand + 0.06, hand - 0.06, [side * (shoulder - 0.1), -0.4]]))
        foot = side * (hip * 0.5 + apart)
        s.polygon(np.array([[side * hip, 0.1], [0, 0.1], [foot - 0.06, 1], [foot + 0.09, 1]]))
    return np.where(s.v < -0.62, 1.35, np.where(s.v > 0.12, s.rng.uniform(0.45, 0.7), 1.0))


def spoon(s: Sheet) -> np.ndarray:
    wide = s.rng.uniform(0.2, 0.28)
    s.ellipse(0, -0.65, wide, 0.34)
    s.polygon(np.array([[-0.05, -0.4], [0.05, -0.4], [0.08, 1], [-0.08, 1]]))
    hollow = (s.u / wide) ** 2 + ((s.v + 0.65) / 0.34) ** 2
    return np.where(hollow < 0.65, 0.75 + 0.3 * (s.u / wide), 1.1)


def odd(s: Sheet) -> np.ndarray:
    """A blob, an irregular polygon, a piece torn out of something, or two of these stuck together."""
    for _ in range(int(s.rng.choice([1, 1, 2]))):
        (_blob, _splinter, _torn)[int(s.rng.integers(3))](s)
    tilt = s.rng.uniform(-1, 1, 2)
    light = 1.05 - 0.25 * (s.u * tilt[0] + s.v * tilt[1])
    if s.rng.random() < 0.4:
        cells = int(s.rng.integers(3, 9))
        light = light * (1 + s.rng.uniform(0.1, 0.4) * np.sign(s.noise(cells)))
    return light


def _blob(s: Sheet) -> None:
    waves = [(k, s.rng.uniform(0.05, 0.3) / k**0.5, s.rng.uniform(0, 2 * np.pi)) for k in range(2, 7)]
    outline = around(lambda a: 0.62 + sum(w * np.cos(k * a + p) for k, w, p in waves))
    outline[:, 0] *= s.rng.uniform(0.5, 1.0)
    s.polygon(np.clip(outline, -1.05, 1.05))


def _splinter(s: Sheet) -> None:
    corners = int(s.rng.integers(4, 9))
    angle = np.sort(s.rng.uniform(0, 2 * np.pi, corners))
    radius = s.rng.uniform(0.3, 1.0, corners)
    s.polygon(np.stack([radius * np.sin(angle), -radius * np.cos(angle)], 1))


def _torn(s: Sheet) -> None:
    high = (s.noise(int(s.rng.integers(3, 6))) > s.rng.uniform(-0.3, 0.4)) & (np.hypot(s.u, s.v) < 1)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(high.astype(np.uint8))
    if count > 1:
        s.outline[labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())] = 255
