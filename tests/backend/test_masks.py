"""Masks survive every format they are kept in, and damaged ones are refused before they cost memory."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from label_studio_sdk.converter import brush
from scipy import ndimage
from skimage import data

from backend import masks

CAPTURES = Path(__file__).parents[1] / "data" / "captures"

noise = hnp.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))


@st.composite
def drawn(draw: st.DrawFn) -> np.ndarray:
    """Ellipses added and taken away: several parts, holes, parts in holes, shapes that run off the image."""
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    y, x = np.mgrid[:height, :width] + 0.5
    mask = np.zeros((height, width), dtype=bool)
    for adds in draw(st.lists(st.booleans(), min_size=1, max_size=8)):
        cx, cy = draw(st.integers(-5, 65)), draw(st.integers(-5, 65))
        rx, ry = draw(st.integers(1, 40)), draw(st.integers(1, 40))
        mask[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] = adds
    return mask


def _named(name: str) -> np.ndarray:
    mask = np.zeros((40, 50), dtype=bool)
    match name:
        case "one pixel":
            mask[7, 9] = True
        case "one pixel in the corner":
            mask[39, 49] = True
        case "the whole image":
            mask[:] = True
        case "a ring":
            mask[5:30, 5:30], mask[10:20, 10:20] = True, False
        case "a part in the hole of another":
            mask[5:30, 5:30], mask[10:25, 10:25], mask[15:18, 15:18] = True, False, True
        case "two parts that touch at a corner":
            mask[5:10, 5:10], mask[10:15, 10:15] = True, True
        case "a hole at the border":
            mask[:, :], mask[0, 20:25] = True, False
        case "five holes":
            mask[2:38, 2:48] = True
            mask[5:9, 5:45:9] = False
            mask[20:22, 10:40] = False
    return mask


NAMES = [
    "one pixel", "one pixel in the corner", "the whole image", "a ring", "a part in the hole of another",
    "two parts that touch at a corner", "a hole at the border", "five holes",
]  # fmt: skip


def _edge_distance(mask: np.ndarray) -> np.ndarray:
    """How far each pixel's centre is from the nearest pixel of the other kind; outside of the image nothing is."""
    padded = np.pad(mask, 1)
    distance = ndimage.distance_transform_edt(padded) + ndimage.distance_transform_edt(~padded)
    return distance[1:-1, 1:-1]


@pytest.mark.parametrize("name", NAMES)
def test_a_polygon_without_tolerance_is_the_mask(name):
    mask = _named(name)
    assert np.array_equal(masks.from_polygons(masks.to_polygons(mask, 0), *mask.shape), mask)


@given(st.one_of(noise, drawn()))
def test_polygons_give_back_any_mask(mask):
    """Holes, parts and single pixels of any shape come back through rings that know no holes."""
    polygons = masks.to_polygons(mask, 0)
    assert len(polygons) == ndimage.label(mask, np.ones((3, 3)))[1]
    assert np.array_equal(masks.from_polygons(polygons, *mask.shape), mask)


@given(st.one_of(noise, drawn()), st.sampled_from([0.5, 1.0, 2.0, 5.0]))
@settings(max_examples=200)
def test_simplified_polygons_stay_by_the_edge(mask, tolerance):
    """Simplifying may move the edge by the tolerance and no further, and loses no part."""
    polygons = masks.to_polygons(mask, tolerance)
    assert len(polygons) == ndimage.label(mask, np.ones((3, 3)))[1]
    differs = masks.from_polygons(polygons, *mask.shape) != mask
    # A pixel's centre lies up to 0.71 from the edge that runs by it.
    assert _edge_distance(mask)[differs].max(initial=0) <= tolerance + 1.0


@given(st.one_of(noise, drawn()).filter(lambda mask: mask.any()))
def test_one_polygon_holds_every_part(mask):
    """Label Studio keeps one ring for one region: what is in several parts must still be one object."""
    assert np.array_equal(masks.from_polygons([masks.to_one_polygon(mask, 0)], *mask.shape), mask)


def test_the_outline_of_coins_gets_few_points_and_keeps_its_shape():
    mask = ndimage.binary_opening(data.coins() > 120, iterations=2)
    polygons = masks.to_polygons(mask, 1.0)
    back = masks.from_polygons(polygons, *mask.shape)
    assert (mask & back).sum() / (mask | back).sum() > 0.96
    assert sum(map(len, polygons)) < 0.25 * sum(map(len, masks.to_polygons(mask, 0)))
    areas = [masks.from_polygons([polygon], *mask.shape).sum() for polygon in polygons]
    assert areas[0] == max(areas), "the first ring carries the words: it must be the largest"


def test_what_lies_outside_of_the_image_is_left_out():
    """A polygon of an annotator may leave the image; it must neither fail nor wrap round."""
    square = np.array([[-1e6, -1e6], [3.0, -1e6], [3.0, 1e6], [-1e6, 1e6]])
    mask = masks.from_polygons([square], 5, 8)
    assert mask[:, :3].all() and not mask[:, 3:].any()
    assert not masks.from_polygons([square + 2e6], 5, 8).any()


@pytest.mark.parametrize("points", [[[0, 0], [1, 1]], [[0, 0], [1, 1], [np.nan, 2]], [[0, 0, 0]] * 3, []])
def test_a_polygon_that_is_none_is_refused(points):
    with pytest.raises(masks.MaskError, match="three or more finite points"):
        masks.from_polygons([np.array(points)], 5, 5)


@given(st.one_of(noise, drawn()))
def test_label_studios_rle_gives_back_any_mask(mask):
    assert np.array_equal(masks.from_brush_rle(masks.to_brush_rle(mask), *mask.shape), mask)


@given(
    st.lists(st.one_of(st.tuples(st.integers(0, 255), st.integers(2, 32)), st.binary(min_size=1, max_size=32))),
    st.lists(st.integers(5, 16), min_size=4, max_size=4),
    st.randoms(),
)
def test_brush_rle_is_decoded_as_the_sdk_does(runs: list[tuple[int, int] | bytes], sizes: list[int], chance: Random):
    """One value again and again, or many values, lengths in any number of bits: value for value the SDK's own."""
    count = sum(len(run) if isinstance(run, bytes) else run[1] for run in runs)
    missing = 4 - count % 4
    bits = f"{count + missing:032b}00111" + "".join(f"{size - 1:04b}" for size in sizes)
    for run in [*runs, bytes(range(200, 200 + missing))]:
        length = len(run) if isinstance(run, bytes) else run[1]
        which = chance.randrange(4)
        bits += f"{isinstance(run, tuple):b}{which:02b}{length - 1:0{sizes[which]}b}"
        bits += "".join(f"{value:08b}" for value in (run if isinstance(run, bytes) else run[:1]))
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    alpha = brush.decode_rle(rle).reshape(1, -1, 4)[:, :, 3]
    assert np.array_equal(masks.from_brush_rle(rle, *alpha.shape[:2]), alpha >= 128)


def test_a_brush_rle_that_label_studio_saved_is_read():
    """The JavaScript side writes the same format with other choices than the Python side."""
    saved = json.loads((CAPTURES / "webhook_annotation_created.json").read_text())["annotation"]["result"][0]
    mask = masks.from_brush_rle(saved["value"]["rle"], saved["original_height"], saved["original_width"])
    box = masks.bounding_box(mask)
    assert 0.5 < mask.sum() / ((box.x1 - box.x0) * (box.y1 - box.y0)) < 0.9, "a disc fills 0.79 of its box"


RING_RLE = masks.to_brush_rle(_named("a ring"))


@pytest.mark.parametrize(
    ("rle", "reason"),
    [
        ([], "holds 0 values"),
        ([255, 255, 255, 255] + RING_RLE[4:], "holds 4294967295 values"),
        (RING_RLE[:20], "damaged"),
        (RING_RLE[:6], "damaged"),
        ([*RING_RLE[:9], 300], "whole numbers from 0 to 255"),
        ([*RING_RLE[:9], -1], "whole numbers from 0 to 255"),
        ([*RING_RLE[:9], 1.5], "whole numbers from 0 to 255"),
        ([*RING_RLE[:9], "1"], "whole numbers from 0 to 255"),
        ([True, *RING_RLE[1:]], "whole numbers from 0 to 255"),
        ([0] * (masks.MAX_BRUSH_RLE_BYTES + 1), "more than"),
    ],
    ids=["empty", "4 GB", "cut", "only a head", "300", "negative", "float", "text", "bool", "too long"],
)
def test_a_damaged_brush_rle_is_refused(rle, reason):
    with pytest.raises(masks.MaskError, match=reason):
        masks.from_brush_rle(rle, 40, 50)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_rle_end_in_a_mask_or_a_mask_error(tail):
    """Whatever follows a well-formed length, the decoder neither hangs nor raises anything else."""
    rle = list((40 * 50 * 4).to_bytes(4, "big") + tail)
    try:
        assert masks.from_brush_rle(rle, 40, 50).shape == (40, 50)
    except masks.MaskError:
        pass


@given(st.one_of(noise, drawn()))
def test_coco_rle_gives_back_any_mask(mask):
    assert np.array_equal(masks.from_coco_rle(masks.to_coco_rle(mask), *mask.shape), mask)


@given(st.text(max_size=30) | st.text("0123456789OPQRSTUVWXYZ`abcdefghijklmno", max_size=30))
def test_counts_that_do_not_add_up_are_refused(counts):
    """pycocotools answers counts that end early with uninitialised memory."""
    try:
        mask = masks.from_coco_rle(counts, 6, 7)
    except masks.MaskError:
        return
    assert np.array_equal(masks.from_coco_rle(masks.to_coco_rle(mask), 6, 7), mask)


@given(st.one_of(noise, drawn()).filter(lambda mask: mask.any()))
def test_the_bounding_box_holds_every_pixel_and_no_smaller_one_does(mask):
    x0, y0, x1, y1 = (int(edge) for edge in masks.bounding_box(mask))
    assert mask[y0:y1, x0:x1].sum() == mask.sum()
    assert mask[y0, x0:x1].any() and mask[y1 - 1, x0:x1].any() and mask[y0:y1, x0].any() and mask[y0:y1, x1 - 1].any()


def test_an_empty_mask_has_no_box_and_no_polygon():
    empty = np.zeros((4, 5), dtype=bool)
    assert masks.to_polygons(empty, 1.0) == []
    with pytest.raises(masks.MaskError, match="empty"):
        masks.to_one_polygon(empty, 1.0)
    with pytest.raises(masks.MaskError, match="empty"):
        masks.bounding_box(empty)
