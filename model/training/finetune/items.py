"""What a step of training reads: regions as a model of some size will see them, and old things among them.

Item number j of step i of a seed is always the same, whichever process makes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as coco_mask
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from model import close_up, trajectory
from model.config import PAMConfig
from model.errors import RecordError
from model.fields import TASK_OF_FIELD
from model.prompt import Box, Point, Prompt
from model.region import FIELDS
from model.sam import mask_logits, preprocess, prompt_tensors
from model.training import prompts
from model.training.conversation import Sample, answers_alone, tokenise
from model.training.data import PHOTO_SHARE
from model.training.finetune.records import RegionRecord
from model.training.scenes import Scene, draw_scene, photo_scene
from model.training.words import taught

MOST_POINTS = 4
"""Clicks of a prompt, as the official trainer draws them."""

SERIES = 700_000
"""Number of the first series of drawn scenes that is rehearsed; those that anything is measured on are others."""

THINGS_A_SCENE = 4
"""That are rehearsed: to draw a scene, and to encode it, takes longer than to learn of another thing on it."""

ROUGH_SIDE = 512
"""Longest side at which masks are roughened, in pixels."""


@dataclass(frozen=True)
class Sight:
    """How a model looks, and what of a conversation it learns.

    side: of its square input, in pixels. close_up, proposals: see PAMConfig. answers: whether answers alone are
    learned, as nano was trained, or the marks of turns too, as the published models were.
    """

    side: int
    close_up: int
    proposals: bool
    answers: bool

    @classmethod
    def of(cls, config: PAMConfig, side: int) -> Sight:
        """That of a PAM whose SAM 2 takes squares of `side` pixels."""
        return cls(side, config.close_up, config.proposals, answers=bool(config.close_up))


@dataclass(frozen=True, eq=False)
class Item:
    """One region with all that is said of it.

    pixels: float32 (3, S, S), as SAM 2 takes it. points, labels: (1, P, 2) and (1, P), see sam.prompt_tensors.
    rough:  float32 (1, S/4, S/4), the logits of a mask prompt, or None.
    close, close_rough, outline: the same of its close-up, and the outline of the mask prompt, or None.
    mask:   float32 (1, S/4, S/4), the share of each cell that the true mask covers, or None where it is not known.
    close_mask: the same of the close-up.
    samples, tasks: conversations in tokens, and the task of each. category: what it was called, or "".
    later, later_rough: of a clip, float32 (F, 3, S, S) and (F, 1, S/4, S/4), the frames after the first, which is
            `pixels`, with their mask prompts. The close-up then is of the frame that shows most of the object.
    way:    of a clip, float32 (trajectory.LENGTH,).
    """

    pixels: Tensor
    points: Tensor
    labels: Tensor
    rough: Tensor | None
    close: Tensor | None
    close_rough: Tensor | None
    outline: Tensor | None
    mask: Tensor | None
    close_mask: Tensor | None
    samples: tuple[Sample, ...]
    tasks: tuple[str, ...]
    category: str
    later: Tensor | None = None
    later_rough: Tensor | None = None
    way: Tensor | None = None


@dataclass(frozen=True)
class _Said:
    """What an Item says."""

    samples: tuple[Sample, ...]
    tasks: tuple[str, ...]
    category: str


@dataclass(frozen=True)
class Plan:
    """Which regions a step reads.

    regions: how many there are. batch: how many a step reads, `rehearsed` of them drawn scenes of old things.
    """

    seed: int
    steps: int
    regions: int
    batch: int
    rehearsed: int

    def step(self, number: int) -> list[int]:
        """Numbers of regions; -1 for a drawn one. Each region comes once before any comes again."""
        fresh = self.batch - self.rehearsed
        found = []
        for place in range(number * fresh, (number + 1) * fresh):
            lap, position = divmod(place, self.regions)
            found.append(int(np.random.default_rng((self.seed, lap, 23)).permutation(self.regions)[position]))
        return found + [-1] * self.rehearsed


class Items(Dataset[list[Item]]):
    """The items of each step that are this process's: every `world`-th one from `rank` on."""

    def __init__(
        self,
        plan: Plan,
        regions: Sequence[RegionRecord],
        tokenizer: PreTrainedTokenizerBase,
        sight: Sight,
        rank: int = 0,
        world: int = 1,
    ):
        self.plan, self.regions, self.tokenizer, self.sight = plan, regions, tokenizer, sight
        self._mine = slice(rank, None, world)

    def __len__(self) -> int:
        return self.plan.steps

    def __getitem__(self, step: int) -> list[Item]:
        """Raises RecordError where a picture is gone or damaged."""
        cv2.setNumThreads(1)
        numbered = list(enumerate(self.plan.step(step)))
        return [self._item(step, place, number) for place, number in numbered[self._mine]]

    def _item(self, step: int, place: int, number: int) -> Item:
        rng = np.random.default_rng((self.plan.seed, step, place, 29))
        if number >= 0:
            return seen(self.regions[number], self.tokenizer, self.sight, rng)
        index = step * self.plan.rehearsed + place - (self.plan.batch - self.plan.rehearsed)
        return rehearsed(self.plan.seed, index, self.tokenizer, self.sight, rng)


def seen(region: RegionRecord, tokenizer: PreTrainedTokenizerBase, sight: Sight, rng: np.random.Generator) -> Item:
    """A recorded region, by one of the prompts that would mean it, or an object through a clip, by its masks."""
    samples = tuple(_sample(tokenizer, one.turns, sight) for one in region.said)
    said = _Said(samples, tuple(one.task for one in region.said), region.category.casefold())
    if region.frames:
        return _clip(list(read_frames(region)), said, sight, rng)
    image = read_image(region)
    mask = read_mask(region, image)
    return _item(image, mask, _some_prompt(region.points, region.box, rng), said, sight, rng)


def rehearsed(
    seed: int, index: int, tokenizer: PreTrainedTokenizerBase, sight: Sight, rng: np.random.Generator
) -> Item:
    """A thing of a drawn scene, as nano was taught it, so that it is not forgotten."""
    scene, pixels = _scene(seed, index // THINGS_A_SCENE, sight.side)
    order = np.random.default_rng((seed, index // THINGS_A_SCENE, 31)).permutation(len(scene.objects))
    thing = scene.objects[int(order[index % THINGS_A_SCENE % len(order)])]
    click = prompts.first_click(thing.mask, rng)
    tasks = tuple(f"{TASK_OF_FIELD[field]}_en" for field in FIELDS)
    said = _Said(taught(tokenizer, thing.facts), tasks, thing.facts.category)
    return _item(scene.image, thing.mask, Prompt((click,)), said, sight, rng, pixels)


@lru_cache(maxsize=2)
def _scene(seed: int, index: int, side: int) -> tuple[Scene, Tensor]:
    """A scene to rehearse, and its picture as SAM 2 takes it, one tensor for all of its things."""
    rng, series = np.random.default_rng((seed, index, 37)), seed + SERIES
    if rng.random() < PHOTO_SHARE:
        scene = photo_scene(series, index)
    else:
        # The nameless things of plain scenes are what a new name is most easily taken for.
        scene = draw_scene(series, index, photographed=rng.random() < 0.5)
    return scene, preprocess(scene.image, side)


def _sample(tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]], sight: Sight) -> Sample:
    sample = tokenise(tokenizer, turns)
    return answers_alone(tokenizer, sample) if sight.answers else sample


def read_frames(region: RegionRecord) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The frames of a clip that show its object, uint8 (H, W, 3) RGB, and its masks there, bool (H, W).

    Raises RecordError, where it is on none of them, too.
    """
    shown = 0
    for path, rle in region.frames:
        frame = replace(region, image=path, rle=rle)
        image = read_image(frame)
        if (mask := read_mask(frame, image)) is not None:
            shown += 1
            yield image, mask
    if not shown:
        raise RecordError(f"the masks of clip {region.id} are empty: export the data set anew")


def read_image(region: RegionRecord) -> np.ndarray:
    """uint8 (H, W, 3) RGB. Raises RecordError."""
    try:
        with Image.open(region.image) as file:
            return np.asarray(file.convert("RGB"))
    except FileNotFoundError as error:
        raise RecordError(
            f"{region.image} is gone: the data set was moved or removed while it was trained on; put it back and start "
            "again, it goes on from here"
        ) from error
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise RecordError(f"{region.image} is no picture: {error}") from error


def read_mask(region: RegionRecord, image: np.ndarray) -> np.ndarray | None:
    """The true mask, bool (H, W), where the data set has one. Raises RecordError for one of another size."""
    if region.rle is None:
        return None
    try:
        counts = str(region.rle["counts"]).encode()
        mask = coco_mask.decode({"size": list(region.rle["size"]), "counts": counts}).astype(bool)
    except (KeyError, ValueError, TypeError) as error:
        raise RecordError(f"the mask of region {region.id} of {region.image} is no RLE: {error}") from error
    if mask.shape != image.shape[:2]:
        raise RecordError(f"the mask of region {region.id} is {mask.shape}, {region.image} is {image.shape[:2]}")
    return mask if mask.any() else None


def _some_prompt(points: Sequence[Point], box: Box | None, rng: np.random.Generator) -> Prompt:
    """Clicks or the box, as the official trainer chooses: by a coin, and one to MOST_POINTS of the clicks."""
    on = [p for p in points if p.positive]
    if box is not None and (not on or rng.random() < 0.5):
        return Prompt(box=box)
    first = on[int(rng.integers(len(on)))]
    others = [p for p in points if p is not first]
    count = min(int(rng.integers(MOST_POINTS)), len(others))
    return Prompt((first, *(others[i] for i in rng.permutation(len(others))[:count])))


def _item(
    image: np.ndarray,
    mask: np.ndarray | None,
    prompt: Prompt,
    said: _Said,
    sight: Sight,
    rng: np.random.Generator,
    pixels: Tensor | None = None,
    guess: np.ndarray | None = None,
) -> Item:
    height, width = image.shape[:2]
    points, labels = prompt_tensors(prompt, height, width, sight.side, torch.device("cpu"), torch.float32)
    cells = (sight.side // 4, sight.side // 4)
    rough = close = close_rough = outline = close_mask = None
    if sight.proposals or sight.close_up:
        if guess is None:
            guess = _rough(image, mask, rng) if mask is not None else _proposed(image, prompt)
        rough = mask_logits(guess, cells) if sight.proposals else None
        if sight.close_up:
            close, close_rough, outline = close_up.cut(image, guess, sight.close_up)
            if mask is not None:
                x0, y0, x1, y1 = close_up.window(guess)
                close_mask = _coverage(mask[y0:y1, x0:x1], sight.close_up // 4)
    truth = None if mask is None else _coverage(mask, sight.side // 4)
    pixels = preprocess(image, sight.side) if pixels is None else pixels
    return Item(
        pixels, points, labels, rough, close, close_rough, outline, truth, close_mask,
        said.samples, said.tasks, said.category,
    )  # fmt: skip


def _clip(frames: Sequence[tuple[np.ndarray, np.ndarray]], said: _Said, sight: Sight, rng: np.random.Generator) -> Item:
    """An object through a clip, as `model.reading` reads it."""
    guesses = [_rough(image, mask, rng) for image, mask in frames]
    best = max(range(len(frames)), key=lambda i: int(frames[i][1].sum()))
    seen = _item(*frames[best], Prompt(mask=guesses[best]), said, sight, rng, guess=guesses[best])
    pixels = torch.stack([preprocess(image, sight.side) for image, _ in frames])
    rough = torch.stack([mask_logits(guess, (sight.side // 4, sight.side // 4)) for guess in guesses])
    mask = _coverage(frames[0][1], sight.side // 4)
    if len(frames) == 1:
        return replace(seen, pixels=pixels[0], rough=rough[0], mask=mask)
    way = torch.from_numpy(trajectory.describe([trajectory.spot(guess) for guess in guesses]))
    return replace(seen, pixels=pixels[0], rough=rough[0], mask=mask, later=pixels[1:], later_rough=rough[1:], way=way)


def _coverage(mask: np.ndarray, cells: int) -> Tensor:
    return torch.from_numpy(cv2.resize(mask.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA))[None]


def _rough(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The true mask as proposals would have it: nearly right. Large pictures are looked at smaller, for time."""
    scale = min(1.0, ROUGH_SIDE / max(mask.shape))
    if scale < 1:
        size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
        small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
        if not small.any():
            return mask
        view = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        guess = prompts.rough_mask(view, small, prompts.first_click(small, rng), rng)
        return cv2.resize(guess.astype(np.uint8), mask.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
    return prompts.rough_mask(image, mask, prompts.first_click(mask, rng), rng)


def _proposed(image: np.ndarray, prompt: Prompt) -> np.ndarray:
    """What the model itself would show for the prompt: the data set has no mask."""
    from model import proposals  # larger models do without it

    return proposals.propose(proposals.prepare(image), prompt, 1)[0].mask
