"""A contact sheet: the sessions that began worst and best, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from benchmarks.segment.annotator import SHOWN, Session
from benchmarks.segment.targets import picture

TILE = 220
COLUMNS = 8
TRUTH, MASK, POSITIVE, NEGATIVE = (0, 255, 0), (0, 0, 255), (255, 200, 0), (255, 0, 255)
"""BGR."""


def draw(sessions: Sequence[Session], count: int = 24) -> np.ndarray:
    """uint8 (H, W, 3) BGR: the `count` worst and the `count` best by the first click, after it and after the last."""
    ranked = sorted(sessions, key=lambda s: s.ious[0])
    shown = ranked[:count] + [s for s in ranked[-count:] if s not in ranked[:count]]
    tiles = [_tile(s, after) for s in shown for after in (1, SHOWN)]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    return np.vstack([np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)])


def _tile(session: Session, clicks: int) -> np.ndarray:
    image, truth = picture(session.target.picture), session.target.truth
    mask = session.masks[0 if clicks == 1 else 1]
    x, y, w, h = cv2.boundingRect((truth | mask).astype(np.uint8))
    margin = max(w, h) // 4 + 5
    window = slice(max(0, y - margin), y + h + margin), slice(max(0, x - margin), x + w + margin)
    ratio = TILE / max(image[window].shape[:2])
    shown = cv2.resize(np.ascontiguousarray(image[window][..., ::-1]), None, fx=ratio, fy=ratio)[:TILE, :TILE]
    for region, colour in ((truth, TRUTH), (mask, MASK)):
        scaled = cv2.resize(region[window].astype(np.uint8), shown.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        cv2.drawContours(shown, cv2.findContours(scaled, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0], -1, colour, 1)
    for p in session.points[:clicks]:
        centre = int((p.x + 0.5 - window[1].start) * ratio), int((p.y + 0.5 - window[0].start) * ratio)
        cv2.circle(shown, centre, 3, POSITIVE if p.positive else NEGATIVE, -1)
    tile = np.zeros((TILE + 20, TILE + 4, 3), np.uint8)
    tile[: shown.shape[0], : shown.shape[1]] = shown
    caption = f"{session.target.name[:18]} {clicks}: {session.iou_after(clicks):.2f}"
    cv2.putText(tile, caption, (2, TILE + 15), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    return tile
