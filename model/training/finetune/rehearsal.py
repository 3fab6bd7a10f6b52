"""Old things among new ones, so that nano does not forget them: drawn scenes and clips, as it was taught."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model.fields import TASK_OF_FIELD, video_question
from model.prompt import Prompt
from model.region import FIELDS
from model.sam import preprocess
from model.training import prompts
from model.training.clip_data import before, piece
from model.training.clips import draw_clip
from model.training.data import PHOTO_SHARE
from model.training.finetune.items import Item, Said, Sight, clip_item, picture_item, tokens_of
from model.training.scenes import Scene, SceneObject, draw_scene, photo_scene
from model.training.words import taught

SERIES = 700_000
"""Number of the first series of drawn scenes that is rehearsed; those that anything is measured on are others."""

CLIP_EVERY, DRAWN_FRAMES, MOST_FRAMES = 4, 8, 6
"""Steps from one drawn clip to the next, and what is drawn and shown of one: frames are what takes time."""


def rehearse(
    seed: int, step: int, count: int, tokenizer: PreTrainedTokenizerBase, sight: Sight
) -> Iterator[Callable[[], Item]]:
    """The `count` items of a step, made when they are called: things, none of them twice, and now and then a clip."""
    if count and step % CLIP_EVERY == 0:
        count -= 1
        yield partial(_clip, seed, step, tokenizer, sight)
    scene = 0
    while count:
        drawn = _scene(seed, step, scene)
        pixels = preprocess(drawn.image, sight.side)  # one tensor for all of its things: it is encoded once
        rng = np.random.default_rng((seed, step, scene, 31))
        for place in rng.permutation(len(drawn.objects))[:count]:
            count -= 1
            yield partial(_thing, drawn, drawn.objects[place], pixels, tokenizer, sight, (seed, step, scene, place))
        scene += 1


def _scene(seed: int, step: int, number: int) -> Scene:
    rng = np.random.default_rng((seed, step, number, 37))
    series, index = seed + SERIES, int(rng.integers(1 << 31))
    if rng.random() < PHOTO_SHARE:
        return photo_scene(series, index)
    # The nameless things of plain scenes are what a new name is most easily taken for.
    return draw_scene(series, index, photographed=rng.random() < 0.5)


def _thing(
    scene: Scene,
    thing: SceneObject,
    pixels: Tensor,
    tokenizer: PreTrainedTokenizerBase,
    sight: Sight,
    number: tuple[int, ...],
) -> Item:
    rng = np.random.default_rng((*number, 41))
    click = prompts.first_click(thing.mask, rng)
    tasks = tuple(f"{TASK_OF_FIELD[field]}_en" for field in FIELDS)
    said = Said(taught(tokenizer, thing.facts), tasks, thing.facts.category)
    return picture_item(scene.image, thing.mask, Prompt((click,)), said, sight, rng, pixels)


def _clip(seed: int, step: int, tokenizer: PreTrainedTokenizerBase, sight: Sight) -> Item:
    """The caption of a drawn clip. It counts among those of regions: one clip would drown in no kind of its own."""
    rng = np.random.default_rng((seed, step, 47))
    clip = draw_clip(seed + SERIES, step, DRAWN_FRAMES)
    frames = piece(clip.seen, rng, MOST_FRAMES)
    story = clip.story(frames)
    previous = before(story, clip.category, rng)
    sample = tokens_of(tokenizer, [(video_question("en", previous), story.caption(previous))], sight)
    said = Said((sample,), (f"{TASK_OF_FIELD['caption']}_en",), "")
    return clip_item([(clip.frames[i], clip.masks[i]) for i in frames], said, sight, rng)
