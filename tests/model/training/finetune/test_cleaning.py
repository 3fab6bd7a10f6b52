"""What people left behind is not all fit to be learned from: contradictions, endless texts, single examples."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.checkpoints import NANO, TOKENIZER, load_tokenizer
from model.errors import RecordError
from model.fields import QUESTIONS
from model.prompt import Box, Point
from model.training.finetune.cleaning import Splits, name_of, prepare
from model.training.finetune.records import Conversation, RegionRecord, Regions

TOKENIZER_OF_NANO = load_tokenizer(NANO / TOKENIZER)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures a.png to f.png, none like another; and a.bmp, which is a.png again."""
    for number, name in enumerate("abcdef"):
        pixels = np.random.default_rng(number).integers(0, 256, (5, 5, 3), np.uint8)
        picture = Image.fromarray(pixels).resize((50, 50), Image.Resampling.NEAREST)
        picture.save(tmp_path / f"{name}.png")
    Image.open(tmp_path / "a.png").save(tmp_path / "a.bmp")
    return tmp_path


def region(image: Path, category: str, at: float = 5, caption: str = "A thing.", id: str = "") -> RegionRecord:
    said = [("recognize_en", category), ("brief_cap_en", caption)]
    conversations = tuple(Conversation(task, ((QUESTIONS[task], text),)) for task, text in said if text)
    return RegionRecord(image, id, (Point(at + 2, 9),), Box(at, 5, at + 20, 25), None, conversations)


def cleaned(
    *regions: RegionRecord, validation: tuple[RegionRecord, ...] = (), at_most: int = 9, before: tuple[str, ...] = ()
) -> Splits:
    return prepare(Regions(list(regions)), Regions(list(validation)), TOKENIZER_OF_NANO, at_most, set(before))


def test_contradictions(folder: Path):
    """The majority's name of a thing counts, a tie has none, and what was said besides is kept."""
    judge = (region(folder / "f.png", "x"),)
    found = cleaned(
        *(region(folder / "a.png", name, at, id=str(i)) for i, (name, at) in enumerate(
            [("coin", 5), ("Coin", 5.5), ("button", 5), ("button", 25)]
        )),
        *(region(folder / "b.png", name) for name in ("cup", "mug")),
        validation=judge,
    )  # fmt: skip
    assert Counter(one.category for one in found.train) == {"coin": 1, "Coin": 1, "": 3, "button": 1}
    assert all(one.answer("brief_cap") for one in found.train)
    assert found.left_out == {"a name that contradicts another one of the same thing": 3}


def test_endless_and_odd_texts(folder: Path):
    """10,000 characters are left out, and so is what a tokenizer would take for a command; the name stays."""
    judge = (region(folder / "f.png", "x"),)
    odd = region(folder / "b.png", "cup", caption="<|im_end|> hello")
    found = cleaned(region(folder / "a.png", "coin", caption="word " * 2000), odd, validation=judge)
    assert [[one.task for one in each.said] for each in found.train] == [["recognize_en"]] * 2
    assert sum(found.left_out.values()) == 2
    assert any("512 tokens" in reason for reason in found.left_out) and any("im_end" in r for r in found.left_out)


def test_single_examples_are_named(folder: Path):
    """They are learned from, and a person is told."""
    found = cleaned(region(folder / "a.png", "coin"), region(folder / "b.png", "cup"), region(folder / "c.png", "cup"))
    assert found.single == [name for name in ("coin", "cup") if [r.category for r in found.train].count(name) == 1]


def test_pictures_are_held_out_whole_where_nothing_validates(folder: Path):
    """No picture is on both sides, whatever the order; one picture alone is trained on, and nothing judges."""
    regions = [region(folder / f"{name}.png", "coin", at) for name in "abcdef" for at in (2, 25)]
    found, again = cleaned(*regions), cleaned(*regions[::-1])
    train, held = ({one.image for one in side} for side in (found.train, found.validation))
    assert found.held_out and held and len(train) + len(held) == 6 and not train & held
    assert held == {one.image for one in again.validation}
    alone = cleaned(*regions[:2])
    assert (len(alone.train), alone.validation) == (2, [])


def test_few_that_validate_are_joined_by_others(folder: Path):
    """Too few to tell better from worse: whole pictures come over, a third of them at most, and none of them stays."""
    regions = [region(folder / f"{name}.png", "coin", at) for name in "abcde" for at in (1, 26)]
    judge = (region(folder / "f.png", "coin"),)
    found = cleaned(*regions, validation=judge, at_most=50)
    assert found.held_out == 2 and len(found.validation) == 3 and len(found.train) == 8
    assert not {one.image for one in found.train} & {one.image for one in found.validation}
    assert cleaned(*regions, validation=judge, at_most=1).held_out == 0, "no more are asked for"
    many = tuple(region(folder / "f.png", "coin", at / 10) for at in range(20))
    assert cleaned(*regions, validation=many, at_most=50).held_out == 0, "enough validate"


def test_what_the_base_was_trained_on_judges_nothing(folder: Path):
    """As the data set grows, pictures that were trained on stay on that side, and so do their near-duplicates."""
    few = [region(folder / f"{name}.png", "coin", at) for name in "abcd" for at in (2, 25)]
    first = cleaned(*few)
    before = tuple({name_of(one.image) for one in first.train})
    more = [region(folder / f"{name}.png", "coin", at) for name in "abcdef" for at in (2, 25)]
    second = cleaned(*more, at_most=50, before=before)
    assert second.validation and not {name_of(one.image) for one in second.validation} & set(before)
    again = cleaned(*few, before=tuple(name_of(folder / f"{name}.png") for name in "abcd"))
    assert again.validation == [] and len(again.train) == 8, "nothing judges"
    twin = [region(folder / name, "coin") for name in ("a.bmp", "b.png")]
    known = (name_of(folder / "a.png"),)
    assert {one.image.name for one in cleaned(*twin, region(folder / "a.png", "coin"), before=known).validation} == {
        "b.png"
    }


def test_near_duplicates_are_held_out_together(folder: Path):
    """A picture that was saved again must not judge what was learned from it."""
    names = ("a.png", "a.bmp", "b.png", "c.png", "d.png", "e.png")
    found = cleaned(*(region(folder / name, "coin", at) for name in names for at in (2, 25)), at_most=50)
    held = {one.image.name for one in found.validation}
    assert held and ("a.png" in held) == ("a.bmp" in held)
    burst = cleaned(*(region(folder / name, "coin") for name in (*names[:2], "b.png")), at_most=50)
    assert [one.image.name for one in burst.validation] == ["b.png"], "not most of what there is to learn from"
    alike = cleaned(*(region(folder / name, "coin") for name in names[:2]))
    assert (len(alike.train), alike.validation) == (2, []), "nothing judges"


def test_only_so_many_judge(folder: Path):
    """Drawn by their content: the same ones each time."""
    regions = tuple(region(folder / f"{name}.png", "coin") for name in "abcdef")
    few = [cleaned(regions[0], validation=order, at_most=2).validation for order in (regions, regions[::-1])]
    assert [one.image for one in few[0]] == [one.image for one in few[1]] and len(few[0]) == 2


def test_a_picture_that_breaks_off_is_named(folder: Path):
    """Its head is whole, so it is met only when pictures are compared."""
    path = folder / "a.png"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(RecordError, match="a.png is damaged"):
        cleaned(*(region(folder / f"{name}.png", "coin") for name in "abc"))


def test_what_cannot_be_seen(folder: Path):
    """Pictures that are gone or none, prompts beside the picture; with nothing left it is refused with the reasons."""
    (folder / "a.png").write_bytes(b"no picture")
    bad = [region(folder / "a.png", "coin"), region(folder / "z.png", "coin"), region(folder / "b.png", "coin", at=60)]
    with pytest.raises(RecordError, match="2 x a region whose picture is gone.*1 x a region outside"):
        cleaned(*bad)
    with pytest.raises(RecordError, match="it is empty"):
        cleaned()
