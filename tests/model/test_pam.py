"""PAM's own interface: encode once, prompt many times, get masks in the original's pixels and words."""

from __future__ import annotations

import numpy as np
import pytest

from model import FIELDS, PAM, Box, EncodedImage, ImageError, Point, Prompt, PromptError
from model.fields import QUESTIONS

CUP = Point(300, 170)


def test_a_click_becomes_a_mask_and_three_texts(nano: PAM, encoded: EncodedImage):
    """The whole promise: mask at the original's size that holds the click, words, scores between 0 and 1."""
    region = nano.perceive(encoded, Prompt((CUP,)))
    assert region.mask.shape == (400, 600) and region.mask.dtype == bool
    assert region.mask[170, 300]
    assert region.model_version == nano.version
    for field in FIELDS:
        assert region.words[field]
        assert 0 < region.words.scores[field] <= 1
    assert 0 <= region.score <= 1


def test_prompts_on_one_encoded_image_do_not_disturb_each_other(nano: PAM, coffee: np.ndarray, encoded: EncodedImage):
    """A cache may hand the same encoded image to many clicks."""
    first = nano.perceive(encoded, Prompt((CUP,)))
    nano.perceive(encoded, Prompt(box=Box(10, 10, 90, 120)))
    nano.perceive(encoded, Prompt((CUP, Point(20, 20, positive=False))))
    again, fresh = nano.perceive(encoded, Prompt((CUP,))), nano.perceive(nano.encode(coffee), Prompt((CUP,)))
    for other in (again, fresh):
        assert np.array_equal(first.mask, other.mask)
        assert first.words == other.words


def test_a_negative_click_leaves_the_mask(nano: PAM, encoded: EncodedImage):
    """Refining: what the annotator excludes is excluded."""
    mask = nano.segment(encoded, Prompt((CUP,))).mask
    ys, xs = np.nonzero(mask)
    far = int(np.argmax(np.hypot(xs - CUP.x, ys - CUP.y)))
    refined = nano.segment(encoded, Prompt((CUP, Point(float(xs[far]), float(ys[far]), positive=False))))
    assert refined.mask[170, 300]
    assert not refined.mask[ys[far], xs[far]]


def test_a_mask_is_a_prompt(nano: PAM, encoded: EncodedImage):
    """A brush stroke alone says what is meant."""
    rough = np.zeros((400, 600), bool)
    rough[120:220, 250:350] = True
    mask = nano.segment(encoded, Prompt(mask=rough)).mask
    assert (mask & rough).sum() > 0.5 * rough.sum()


def test_words_depend_on_the_region(nano: PAM, encoded: EncodedImage):
    """The language model looks at the region, not at the picture alone."""
    boxes = (Box(200, 60, 460, 330), Box(5, 5, 70, 80), Box(480, 280, 590, 395))
    captions = {nano.perceive(encoded, Prompt(box=box)).words.caption for box in boxes}
    assert len(captions) == 3


def test_asking_in_one_batch_is_asking_one_by_one(nano: PAM, encoded: EncodedImage):
    """Left padding must not change an answer."""
    segmentation = nano.segment(encoded, Prompt((CUP,)))
    questions = [QUESTIONS[f"{task}_en"] for task in ("recognize", "explain", "brief_cap")]
    together = nano.ask(segmentation, questions)
    alone = [nano.ask(segmentation, [question])[0] for question in questions]
    assert [u.text for u in together] == [u.text for u in alone]
    np.testing.assert_allclose([u.score for u in together], [u.score for u in alone], atol=1e-4)


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (Prompt(), "needs a positive click"),
        (Prompt((Point(10, 10, positive=False),)), "needs a positive click"),
        (Prompt((Point(601, 10),)), r"\(601, 10\) lies outside the image of 600 x 400"),
        (Prompt((Point(float("nan"), 10),)), "lies outside"),
        (Prompt(box=Box(50, 50, 50, 80)), "is empty"),
        (Prompt(box=Box(700, 50, 750, 80)), "outside the image"),
        (Prompt(mask=np.ones((10, 10), bool)), r"expected bool \(400, 600\)"),
        (Prompt(mask=np.zeros((400, 600), bool)), "mask prompt is empty"),
    ],
)
def test_a_prompt_that_means_nothing_is_refused(nano: PAM, encoded: EncodedImage, prompt: Prompt, says: str):
    """The message names what came and what was expected."""
    with pytest.raises(PromptError, match=says):
        nano.segment(encoded, prompt)


@pytest.mark.parametrize(
    "image",
    [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)],
)
def test_what_is_no_rgb_image_is_refused(nano: PAM, image: np.ndarray):
    """The boundary checks shape and dtype."""
    with pytest.raises(ImageError, match="expected uint8"):
        nano.encode(image)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (300, 2, 3)])
def test_odd_images_work(nano: PAM, shape: tuple[int, int, int]):
    """One pixel, one row, two columns: a mask of the image's own shape all the same."""
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    region = nano.perceive(nano.encode(image), Prompt((Point(0.5, 0.5),)))
    assert region.mask.shape == shape[:2] and region.mask[0, 0]
