"""Captions of clips are learned: read with their masks, seen as a model reads clips, judged by what it says of them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import model
from backend.dataset.region import ImageRegions
from backend.masks import to_coco_rle
from model import PAM
from model.errors import RecordError
from model.reading import CHOSEN, Reading
from model.training.clips import draw_clip
from model.training.finetune import learner, parts
from model.training.finetune.clips import read_clips
from model.training.finetune.files import read_frames
from model.training.finetune.items import Sight, seen
from model.training.finetune.judging import judge
from model.training.finetune.run import Options, run
from tests.backend.dataset.formats.samples import photographs, region, stored, write

SAID = {"train": "The kite sinks.", "validation": "The kite climbs."}


def film(split: str, index: int) -> list[tuple[ImageRegions, bytes]]:
    """Twenty frames of a drawn clip on which one thing can be seen, with one caption all through."""
    clip, items = draw_clip(21, index, 20, 128), []
    for i in clip.seen:
        file = io.BytesIO()
        Image.fromarray(clip.frames[i]).save(file, "PNG")
        image = stored(file.getvalue(), split, video=f"{split}{index}", frame=100 + i)
        said = region(clip.masks[i], 100 * index + i, ("kite", "", SAID[split]), track="k")
        items.append(((image, (said,)), file.getvalue()))
    return items


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of a data set: photographs, two clips to train on, and one that validates."""
    folder = tmp_path_factory.mktemp("films") / "v0001"
    shards = {
        "train-0": photographs()["train-0"],
        "train-1": [*film("train", 0), *film("train", 1)],
        "validation-all": film("validation", 3),
    }
    write(folder, shards, ["pam_jsonl", "coco", "video"])
    return folder


def test_clips_are_read_with_their_masks(films: Path):
    """Sixteen frames of each, with the masks that were drawn; the caption is that of the record."""
    found = read_clips(films, "train")
    assert not found.left_out
    assert len(found.regions) == 2
    for clip in found.regions:
        assert len(clip.frames) == CHOSEN
        assert clip.said[0].task == "video_cap_en"
        assert clip.said[0].answer == SAID["train"]
        assert all(mask.any() and mask.shape == image.shape[:2] for image, mask in read_frames(clip))
    (judged,) = read_clips(films, "validation").regions
    drawn = draw_clip(21, 3, 20, 128)
    _, mask = next(read_frames(judged))
    assert np.array_equal(mask, drawn.masks[drawn.seen[0]])


def test_training_sees_what_answers_are_made_of(films: Path, monkeypatch: pytest.MonkeyPatch):
    """The tokens of a clip in training are those that the model reads when it is asked about these masks."""
    monkeypatch.setattr("model.training.finetune.items._rough", lambda image, mask, rng: mask)
    pam = model.load("nano", threads=1)
    clip = read_clips(films, "train").regions[0]
    item = seen(clip, pam.tokenizer, Sight.of(pam.config, pam.image_size), np.random.default_rng(0))
    asked = Reading(pam)
    for image, mask in read_frames(clip):
        asked.add(image, mask)
        asked.show(image, mask)
    trained, _ = parts.words(pam, 0, ("kite",))
    with torch.no_grad():
        whole = learner.decoded(pam, [item])
        looks = pam.looks(whole.image, whole.tokens, trained._near([item]))
        (visual,) = trained._with_later(pam.in_sequence(looks), [item])
    torch.testing.assert_close(visual[None], asked.visual(), atol=1e-4, rtol=1e-3)


def test_large_models_read_the_first_frame_in_full(films: Path, remembering: PAM):
    """And the others at a quarter, each with the newline that ends a frame."""
    clip = read_clips(films, "train").regions[0]
    sight = Sight.of(remembering.config, remembering.image_size)
    item = seen(clip, remembering.tokenizer, sight, np.random.default_rng(0))
    asked = Reading(remembering)
    for image, mask in read_frames(clip):
        asked.add(image, mask)
    trained = learner.Learner(remembering)
    with torch.no_grad():
        whole = learner.decoded(remembering, [item])
        looks = remembering.looks(whole.image, whole.tokens, None)
        (visual,) = trained._with_later(remembering.in_sequence(looks), [item])
    assert visual.shape == asked.visual()[0].shape


def test_a_run_learns_clips_and_judges_them(films: Path, options: Callable[..., Options]):
    """Beside pictures, each once: the loss of clips is shown, the caption of the validation clip is compared."""
    report = run(options(data=films, steps=2, batch=24, judged=20))
    assert len(report["validation"]["fields"]["caption"]["before"]) >= 1
    events = EventAccumulator(str(options().out / "tensorboard" / "words")).Reload()
    assert all(np.isfinite(row.value) for row in events.Scalars("video_cap_en"))


def test_what_a_model_says_of_a_clip_is_judged(films: Path, nano: PAM):
    """By the likeness of its caption alone: nothing else of it is known."""
    (one,) = judge(nano, read_clips(films, "validation").regions, lambda: None)
    assert one.caption is not None and 0 <= one.caption <= 1
    assert one.mask is one.category is one.explanation is None


def test_what_cannot_be_learned_from_is_counted(films: Path, tmp_path: Path):
    """Records that are no clips, and clips whose masks are gone; a masklet file that is damaged is named."""
    folder = tmp_path / "v0001"
    (folder / "video" / "train").mkdir(parents=True)
    (folder / "datasets_video.yaml").write_text((films / "datasets_video.yaml").read_text())
    lines = (films / "video" / "train" / "video_cap_en.jsonl").read_text().splitlines()
    spoilt = [
        {"type": "image"},
        json.loads(lines[0]) | {"frames": []},
        json.loads(lines[0]) | {"bbox": [[0, 0, "x", 5]]},
        json.loads(lines[0]) | {"conversations": [{"from": "human", "value": "<image>\nWhat?"}]},
        json.loads(lines[0]) | {"id": "another"},
    ]
    rows = [*map(json.dumps, spoilt), lines[1]]
    (folder / "video" / "train" / "video_cap_en.jsonl").write_text("\n".join(rows))
    masklets = sorted((films / "video" / "train").glob("*_manual.json"))
    (folder / "video" / "train" / masklets[0].name).write_text(masklets[0].read_text())
    found = read_clips(folder, "train")
    assert found.left_out["a line that is no clip"] == 1
    assert found.left_out["a clip without frames or without a prompt that means something"] == 2
    assert found.left_out["a record whose conversation is not questions and answers in turn"] == 1
    assert found.left_out["a clip whose masks are not in the data set"] == 2
    (folder / "video" / "train" / masklets[0].name).write_text("{")
    with pytest.raises(RecordError, match="holds no masklets"):
        read_clips(folder, "train")


def test_masks_that_are_empty_are_an_error(films: Path):
    """Never a clip without an object."""
    clip = read_clips(films, "train").regions[0]
    height, width = clip.frames[0][1]["size"]
    nothing = {"size": [height, width], "counts": to_coco_rle(np.zeros((height, width), bool))}
    with pytest.raises(RecordError, match="are empty"):
        list(read_frames(replace(clip, frames=tuple((path, nothing) for path, _ in clip.frames))))
