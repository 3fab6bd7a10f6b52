"""Short clips: which frames are seen, clips of any length, and clips that are none."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from model import PAM
from model.clip import ask_clip, describe_clip, describe_track, perceive_clip, tell_track
from model.errors import ImageError, PromptError, TrackError
from model.fields import video_question
from model.language import DecodingOptions, Question
from model.prompt import Box, Point, Prompt
from model.reading import CHOSEN, choose_frames
from model.speaker import WordOptions
from tests.model.tracking.conftest import Pictures

BOX = Prompt(box=Box(150, 80, 420, 330))


def moving(photograph: np.ndarray, count: int) -> list[np.ndarray]:
    return [np.roll(photograph, -7 * i, axis=1) for i in range(count)]


class Says(Collection[np.ndarray]):
    """A clip that says it has `said` frames, and reads them one by one."""

    def __init__(self, frames: list[np.ndarray], said: int):
        self.frames, self.said, self.read = frames, said, 0

    def __len__(self) -> int:
        return self.said

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in self.frames:
            self.read += 1
            yield frame

    def __contains__(self, item: Any) -> bool:
        raise NotImplementedError


@pytest.mark.parametrize("count", [1, 5, 18])
def test_clips_of_any_length(nano: PAM, coffee: np.ndarray, count: int):
    """A mask for every frame, tokens for those that are seen; under 16 frames too, which the official code refuses."""
    clip = perceive_clip(nano, moving(coffee, count), BOX)
    assert len(clip.masks) == len(clip.scores) == len(clip.object_scores) == count
    assert {mask.shape for mask in clip.masks} == {coffee.shape[:2]}
    assert {mask.dtype for mask in clip.masks} == {np.dtype(bool)}
    assert all(0 <= score <= 1 for score in (*clip.scores, *clip.object_scores))
    assert clip.chosen == choose_frames(count)
    seen = len(clip.chosen)
    assert len(clip.visual) == 36 + 35 * seen + (seen > 1)


def test_frames_are_read_once_and_in_order(nano: PAM, coffee: np.ndarray):
    """A clip need not be in memory: what can say its length and be gone through is enough."""
    frames = Says(moving(coffee, 3), 3)
    clip = perceive_clip(nano, frames, BOX)
    assert frames.read == 3
    assert torch.equal(clip.visual, perceive_clip(nano, moving(coffee, 3), BOX).visual)


def test_words_about_a_clip(nano: PAM, coffee: np.ndarray):
    """Questions about a clip are answered in one batch, each as if it were alone."""
    clip = perceive_clip(nano, moving(coffee, 3), BOX)
    asked = [video_question("en"), video_question("zh", "一只杯子"), video_question("en", "A cup stands still.")]
    questions = [*map(Question, asked), "Does it move?"]
    short = DecodingOptions(max_new_tokens=8)
    together = ask_clip(nano, clip, questions, short)
    assert [u.text for u in together] == [ask_clip(nano, clip, [q], short)[0].text for q in questions]


@pytest.mark.parametrize("kind", ["nano", "remembering"])
def test_words_about_what_was_followed(kind: str, request: pytest.FixtureRequest, coffee: np.ndarray):
    """All fields, of a clip and of masks that are known; the category from a list where there is one."""
    pam = request.getfixturevalue(kind)
    small = np.ascontiguousarray(coffee[::3, ::3])
    frames = Pictures(moving(small, 20))
    clip = perceive_clip(pam, moving(small, 20), Prompt(box=Box(50, 27, 140, 110)))
    masks = dict(enumerate(clip.masks))
    short = WordOptions(decoding=DecodingOptions(max_new_tokens=6))
    for words in (
        describe_clip(pam, clip, ["cup", "cat"], short, "A cup."),
        describe_track(pam, frames, masks, ["cup", "cat"], short),
    ):
        assert words.category in ("cup", "cat")
        assert words.caption
    free = describe_track(pam, frames, masks, None, short)
    assert free.category and tell_track(pam, frames, masks, short) == free.caption
    assert frames.read_so_far <= 4 * CHOSEN


def test_nothing_to_describe(nano: PAM, coffee: np.ndarray):
    """Masks that are all empty."""
    with pytest.raises(TrackError, match="on none of the frames"):
        describe_track(nano, Pictures([coffee]), {0: np.zeros(coffee.shape[:2], bool)})


def broken(coffee: np.ndarray) -> dict[str, tuple[Any, Prompt, type[Exception], str]]:
    two = moving(coffee, 2)
    return {
        "no frames": ([], BOX, TrackError, "no frames"),
        "fewer than it says": (Says(two, 3), BOX, TrackError, "says that it has 3 frames, and gave 2"),
        "more than it says": (Says(two, 1), BOX, TrackError, "says that it has 1 frames, and gave more"),
        "another size": ([two[0], two[1][:100]], BOX, ImageError, r"frame 1 of the clip is \(100, 600\)"),
        "not uint8": ([two[0], two[1] / 255], BOX, ImageError, "float64"),
        "grey": ([two[0][..., 0]], BOX, ImageError, "expected uint8"),
        "a click beside it": (two, Prompt(points=(Point(900, 1),)), PromptError, "outside"),
        "no prompt": (two, Prompt(), PromptError, "needs a positive click"),
    }


@pytest.mark.parametrize("name", list(broken(np.zeros((400, 600, 3), np.uint8))))
def test_clips_that_are_none(nano: PAM, coffee: np.ndarray, name: str):
    """Each is refused by name, whenever it is noticed."""
    frames, prompt, error, says = broken(coffee)[name]
    with pytest.raises(error, match=says):
        perceive_clip(nano, frames, prompt)
