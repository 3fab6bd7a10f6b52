"""Everything of an image without a click: what is kept, and that objects are among it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from benchmarks.segment.annotator import iou
from benchmarks.segment.targets import Set, targets
from model import PAM, EncodedImage, PromptError
from model.everything import EverythingOptions, Found, deepest, select

ALL = EverythingOptions(least_score=0.0, least_stability=0.0, smallest=0.0, largest=1.0)


@pytest.fixture(scope="module")
def bare(nano: PAM) -> PAM:
    """Nano as a model with a decoder of its own is: without classical proposals."""
    pam = PAM(replace(nano.config, proposals=False), nano.tokenizer)
    pam.load_state_dict(nano.state_dict())
    return pam.eval()


def found(y0: int, x0: int, y1: int, x1: int, score: float = 0.9, stability: float = 1.0) -> Found:
    mask = np.zeros((40, 60), bool)
    mask[y0:y1, x0:x1] = True
    return Found(mask, score, stability, mask.copy)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (ALL, [0, 2, 3, 4]),
        (replace(ALL, duplicate=1.0), [0, 1, 2, 3, 4]),
        (replace(ALL, nested=False), [0, 4]),
        (replace(ALL, most=2), [0, 2]),
        (replace(ALL, least_score=0.65), [0, 2]),
        (replace(ALL, least_stability=0.5), [0, 2, 4]),
        (replace(ALL, smallest=0.01), [0, 2, 4]),
        (replace(ALL, largest=0.1), [2, 3, 4]),
    ],
    ids=["duplicates go", "only the same", "flat", "bounded", "score", "stability", "small", "large"],
)
def test_what_is_kept(options: EverythingOptions, kept: list[int]):
    """Each rule takes out what it is there for, and nothing else; the best come first."""
    masks = [
        found(0, 0, 20, 30),
        found(0, 0, 20, 28, score=0.8),
        found(2, 2, 12, 12, score=0.7),
        found(4, 4, 6, 6, score=0.6, stability=0.3),
        found(25, 40, 30, 50, score=0.5),
    ]
    chosen = select(iter(masks), options, 0.0, 0.0)
    assert [masks.index(each) for each in chosen] == kept


@given(
    st.lists(st.tuples(*[st.integers(0, 30)] * 4, st.floats(0, 1)), max_size=30),
    st.floats(0.1, 0.9),
    st.integers(1, 10),
)
def test_no_two_alike_and_no_more_than_asked(boxes: list, duplicate: float, most: int):
    """Whatever comes in."""
    masks = [found(y, x, y + h, x + w, score) for y, x, h, w, score in boxes]
    chosen = select(iter(masks), replace(ALL, duplicate=duplicate, most=most), 0.0, 0.0)
    assert len(chosen) <= most
    assert all(each.area for each in chosen)
    assert [each.score for each in chosen] == sorted((each.score for each in chosen), reverse=True)
    for i, one in enumerate(chosen):
        assert all(iou(one.small, other.small) < duplicate for other in chosen[:i])


@given(st.data())
def test_the_deepest_place_is_in_the_mask(data: st.DataObject):
    """A prompt in the middle of a region must not fall beside it, however the region is shaped."""
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width)))
    mask = mask.reshape(height, width)
    mask[data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))] = True
    point = deepest(mask)
    assert mask[int(point.y), int(point.x)]


@pytest.mark.parametrize(
    "wrong", [{"points_per_side": 0}, {"most": 0}, {"smallest": -0.1}, {"duplicate": 1.1}, {"least_score": 2.0}]
)
def test_options_that_mean_nothing_are_refused(wrong: dict):
    """Before anything is computed."""
    with pytest.raises(PromptError):
        EverythingOptions(**wrong)


def test_objects_of_a_photograph_are_found(nano: PAM, encoded: EncodedImage):
    """The coffee's cup and what is in it are among a bounded number of regions, with masks as large as the picture."""
    regions = nano.segment_everything(encoded)
    assert 0 < len(regions) <= EverythingOptions().most
    assert all(region.mask.shape == (encoded.height, encoded.width) and region.mask.any() for region in regions)
    outlined = {target.name: target.truth for target in targets(Set.TUNING) if target.picture == "coffee"}
    for name in ("cup", "crema", "saucer"):
        assert max(iou(region.mask, outlined[name]) for region in regions) > 0.6, name


def test_the_same_image_gives_the_same_regions(nano: PAM, coffee: np.ndarray, encoded: EncodedImage):
    """A prediction can be made again."""
    first, second = (nano.segment_everything(image) for image in (encoded, nano.encode(coffee)))
    assert [region.score for region in first] == [region.score for region in second]
    assert all(np.array_equal(one.mask, other.mask) for one, other in zip(first, second, strict=True))


def test_coins_are_found(nano: PAM):
    """A picture full of like things: nearly all of them, by a single look."""
    grey = data.coins()
    regions = nano.segment_everything(nano.encode(np.dstack([grey] * 3)), EverythingOptions(most=40))
    best = [max(iou(region.mask, target.truth) for region in regions) for target in targets(Set.COINS)]
    assert np.mean(np.array(best) > 0.75) > 0.7


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 90, 3), (3, 5, 3), (64, 64, 3)])
def test_pictures_without_structure_have_no_regions_and_do_no_harm(nano: PAM, shape: tuple[int, int, int]):
    """Blank and tiny pictures come up in every project."""
    assert nano.segment_everything(nano.encode(np.full(shape, 127, np.uint8))) == []


@pytest.mark.parametrize("shape", [(1, 1500, 3), (4, 2500, 3), (3000, 2, 3)])
def test_strips_a_few_pixels_wide_do_no_harm(nano: PAM, shape: tuple[int, int, int]):
    """On the coarse levels of their pyramid nothing is left of them."""
    strip = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    found = nano.segment_everything(nano.encode(strip))
    assert all(each.mask.shape == shape[:2] for each in found)


def test_a_decoder_is_asked_with_a_grid_of_clicks(bare: PAM, coffee: np.ndarray):
    """As models larger than nano are: no proposals, masks of the decoder at the image's size, and words for each."""
    options = EverythingOptions(points_per_side=5, least_score=0.0, least_stability=0.0, smallest=0.0, most=6)
    regions = bare.segment_everything(bare.encode(coffee), options)
    assert 0 < len(regions) <= 6
    assert all(region.mask.shape == coffee.shape[:2] and region.mask.any() for region in regions)
    described = bare.regions(regions[:2])
    assert all(np.array_equal(one.mask, other.mask) for one, other in zip(described, regions, strict=False))
    assert all(each.words.category and each.embedding is not None for each in described)


def test_weak_masks_of_the_grid_are_left_out(bare: PAM, coffee: np.ndarray):
    """Predicted IoU and stability count for a decoder's masks as for any."""
    encoded = bare.encode(coffee)
    some = EverythingOptions(points_per_side=4, least_score=0.0, least_stability=0.0, smallest=0.0)
    assert len(bare.segment_everything(encoded, some)) > 0
    assert bare.segment_everything(encoded, replace(some, least_score=1.0, least_stability=1.0)) == []
