"""A mask in the shapes that Label Studio and COCO keep it in, and back.

Everywhere here a mask is bool (H, W), and a coordinate is a pixel of it: x to the right, y down, the origin at the top
left corner of the top left pixel, whose centre therefore is (0.5, 0.5).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from label_studio_sdk.converter import brush
from pycocotools import mask as coco
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import find_contours

from backend.errors import BackendError
from model.prompt import Box

MAX_BRUSH_RLE_BYTES = 2 << 20
"""Longest brush RLE that is decoded. A 12-megapixel mask with a ragged edge of 100 000 pixels stays under it."""

_HALF_COVERED = 128
_BYTE_WORDS = 7  # five bits of the RLE's head: bits a value has, less one
_EIGHT_CONNECTED = np.ones((3, 3), dtype=int)


class MaskError(BackendError):
    """A mask that is damaged, empty or of another size than its image."""

    status, code = 422, "bad_mask"


def bounding_box(mask: np.ndarray) -> Box:
    """The smallest box that holds every pixel of `mask`; x1 and y1 are exclusive. Raises MaskError when it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise MaskError("the mask is empty: it has no bounding box")
    return Box(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def to_brush_rle(mask: np.ndarray) -> list[int]:
    """Label Studio's own RLE (bytes as ints) of `mask`: four channels of one value per pixel, 0 or 255."""
    return brush.mask2rle(mask.astype(np.uint8) * np.uint8(255))


def from_brush_rle(rle: Sequence[int], height: int, width: int) -> np.ndarray:
    """The mask in a brush RLE; a pixel that the brush's soft edge covers by half or more belongs to it.

    Raises MaskError when the RLE is damaged, too long, or not of an image of `height` x `width` pixels.
    """
    if len(rle) > MAX_BRUSH_RLE_BYTES:
        raise MaskError(f"the brush RLE has {len(rle)} bytes, more than the {MAX_BRUSH_RLE_BYTES} that are decoded")
    if not all(type(byte) is int and 0 <= byte <= 255 for byte in rle):
        raise MaskError("the brush RLE must be a list of whole numbers from 0 to 255")
    # The decoder allocates what the first four bytes announce: nothing may reach it before they are checked.
    announced = int.from_bytes(bytes(rle[:4]), "big")
    if announced != height * width * 4:
        raise MaskError(
            f"the brush RLE holds {announced} values, expected {height * width * 4} (an image of {width} x {height} "
            "pixels, four channels)"
        )
    if len(rle) < 5 or rle[4] >> 3 != _BYTE_WORDS:
        raise MaskError("the brush RLE is damaged: its values are not bytes")
    return _brush_values(bytes(rle)).reshape(height, width, 4)[:, :, 3] >= _HALF_COVERED


def to_polygons(mask: np.ndarray, tolerance: float) -> list[np.ndarray]:
    """One closed ring, float (N, 2) of x, y, for each connected part of `mask`, largest part first.

    A hole is cut open: a seam runs from the outer ring to the hole, round it, and back the same way, so that filling
    the ring leaves the hole out. `tolerance` is how far, in pixels, the ring may leave the mask's edge; holes narrower
    than that are closed, parts never vanish. With 0, `from_polygons` gives back the very same mask.
    """
    parts, count = ndimage.label(mask, structure=_EIGHT_CONNECTED)
    boxes = ndimage.find_objects(parts)
    rings = []
    for number in range(1, count + 1):
        rows, columns = boxes[number - 1]
        part = np.pad(parts[rows, columns] == number, 1)
        # The contour's frame has pixel centres at whole numbers, and the padding moved it by one more.
        offset = np.array([columns.start - 0.5, rows.start - 0.5])
        rings.append((int(part.sum()), _ring(part, tolerance) + offset))
    rings.sort(key=lambda sized: -sized[0])
    return [ring for _, ring in rings]


def to_one_polygon(mask: np.ndarray, tolerance: float) -> np.ndarray:
    """All of `mask` as one closed ring, float (N, 2): its parts joined by seams, largest first; see `to_polygons`.

    For formats that keep one ring for one object. Raises MaskError when `mask` is empty.
    """
    polygons = to_polygons(mask, tolerance)
    if not polygons:
        raise MaskError("the mask is empty: it has no outline")
    return functools.reduce(_with_seam, polygons)


def from_polygons(polygons: Iterable[np.ndarray], height: int, width: int) -> np.ndarray:
    """The mask of every pixel whose centre lies in one of `polygons` (each float (N, 2), N >= 3; even-odd rule).

    What lies outside of the image is left out. Raises MaskError when a polygon is not one.
    """
    mask = np.zeros((height, width), dtype=bool)
    for polygon in polygons:
        points = np.asarray(polygon, dtype=float)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
            raise MaskError(f"a polygon needs three or more finite points (x, y), got an array of {points.shape}")
        _fill(mask, points)
    return mask


def to_coco_rle(mask: np.ndarray) -> str:
    """The `counts` of COCO's compressed RLE; its `size` is [H, W]."""
    return coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"].decode("ascii")


def from_coco_rle(counts: str, height: int, width: int) -> np.ndarray:
    """The mask in the `counts` of a COCO RLE of `size` [height, width]. Raises MaskError when they do not fit."""
    # pycocotools leaves uninitialised memory in the mask where the counts end early, so they are added up first.
    total = sum(_coco_runs(counts))
    if total != height * width:
        raise MaskError(f"the COCO RLE covers {total} pixels, expected {height * width} ({width} x {height})")
    try:
        return coco.decode({"size": [height, width], "counts": counts.encode("ascii")}).astype(bool)
    except ValueError as error:
        raise MaskError("the COCO RLE is damaged") from error


def _brush_values(rle: bytes) -> np.ndarray:
    """The bytes that a brush RLE, whose head was checked, stands for: uint8 (N,).

    Head: how many, in 32 bits; the bits of a value less one, in 5; four sizes less one, in 4 each. Then runs: a bit
    that says whether one value is repeated, two bits that choose the size of the length, the length less one, and the
    value or values (@thi.ng/rle-pack, which Label Studio packs with). Six times as fast as the SDK's `decode_rle`,
    which reads bit by bit, and the same.
    """
    bits = bin(int.from_bytes(b"\x01" + rle, "big"))[3:]
    values = np.zeros(int(bits[:32], 2), dtype=np.uint8)
    sizes = [int(bits[at : at + 4] or "0", 2) + 1 for at in range(37, 53, 4)]
    at, done = 53, 0
    while done < values.size:
        length_at = at + 3
        first = length_at + sizes[int(bits[at + 1 : length_at] or "0", 2)]
        count = int(bits[length_at:first] or "0", 2) + 1
        is_repeated = bits[at : at + 1] == "1"
        at = first + 8 * (1 if is_repeated else count)
        if at > len(bits) or not is_repeated and count > values.size - done:
            raise MaskError("the brush RLE is damaged: it ends before the mask does, or runs past it")
        packed = int(bits[first:at], 2).to_bytes((at - first) // 8, "big")
        values[done : done + count] = np.frombuffer(packed, dtype=np.uint8)
        done += count
    return values


def _ring(part: np.ndarray, tolerance: float) -> np.ndarray:
    """The ring round one connected part, holes cut open, in the frame of the contours."""
    contours = [contour[:-1, ::-1] for contour in find_contours(part, 0.5, fully_connected="high")]
    contours.sort(key=lambda contour: -abs(_signed_area(contour)))
    outer, *holes = contours
    simpler = _simplified(outer, tolerance)
    ring = simpler if len(simpler) >= 3 else outer
    for hole in holes:
        simpler = _simplified(hole, tolerance)
        if len(simpler) >= 3:
            ring = _with_seam(ring, simpler)
    return ring


def _simplified(contour: np.ndarray, tolerance: float) -> np.ndarray:
    if tolerance <= 0:
        return contour
    return cv2.approxPolyDP(contour.astype(np.float32), tolerance, closed=True)[:, 0].astype(float)


def _with_seam(ring: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`ring` with a seam to `other` where the two are nearest, round it, and back along the seam.

    A hole runs the other way round than an outer ring, so every fill rule agrees on what is inside.
    """
    distances, nearest = cKDTree(ring).query(other)
    start = int(distances.argmin())
    at = int(nearest[start])
    there_and_back = np.concatenate([np.roll(other, -start, axis=0), other[start : start + 1], ring[at : at + 1]])
    return np.concatenate([ring[: at + 1], there_and_back, ring[at + 1 :]])


def _signed_area(contour: np.ndarray) -> float:
    x, y = contour.T
    return 0.5 * float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def _fill(mask: np.ndarray, points: np.ndarray) -> None:
    """Add to `mask` the pixels whose centres lie in the polygon: an edge toggles all that is to its right.

    OpenCV's and Pillow's fills also paint what the outline touches; this one is exact, and a seam cancels itself.
    """
    height, width = mask.shape
    first = np.clip(np.ceil(points.min(axis=0) - 0.5), 0, (width, height)).astype(int)
    last = np.clip(np.ceil(points.max(axis=0) - 0.5), 0, (width, height)).astype(int)
    toggles = np.zeros((last[1] - first[1], last[0] - first[0] + 1), dtype=bool)
    for (xa, ya), (xb, yb) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if ya > yb:  # an edge must give the same pixels whichever way it is walked
            xa, ya, xb, yb = xb, yb, xa, ya
        top, bottom = np.clip(np.ceil(np.array([ya, yb]) - 0.5), first[1], last[1]).astype(int)
        if top < bottom:
            rows = np.arange(top, bottom)
            crossings = xa + (rows + 0.5 - ya) * ((xb - xa) / (yb - ya))
            columns = np.clip(np.ceil(crossings - 0.5), first[0], last[0]).astype(int)
            toggles[rows - first[1], columns - first[0]] ^= True
    mask[first[1] : last[1], first[0] : last[0]] |= np.logical_xor.accumulate(toggles, axis=1)[:, :-1]


def _coco_runs(counts: str) -> list[int]:
    """The run lengths in COCO's compressed counts: six bits a character, the sixth says that more follow, and from the
    third run on each is the difference to the last but one."""
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise MaskError("the COCO RLE is damaged: it holds a character or a number that no RLE has")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        if runs[-1] < 0:
            raise MaskError("the COCO RLE is damaged: it holds a run of negative length")
        value = shift = 0
    if shift:
        raise MaskError("the COCO RLE is damaged: it ends in the middle of a number")
    return runs
