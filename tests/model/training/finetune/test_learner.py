"""What learns and by which loss: that of the reference, in one process or two, whole or through adapters."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import model
from model.checkpoints import save
from model.config import PAMConfig, PerceiverConfig, SamConfig
from model.pam import PAM
from model.prompt import Prompt
from model.sam import preprocess, prompt_tensors
from model.training.conversation import Sample
from model.training.finetune import learner, parts
from model.training.finetune.files import read_image
from model.training.finetune.items import Item, Sight, seen
from model.training.finetune.judging import Judged, Verdict, recalibrated, similarity
from model.training.finetune.records import read_split
from model.training.finetune.run import Options, run
from model.training.finetune.steps import Items, Plan
from model.training.nano import SAM_OVERRIDES
from tests.model.parity.reference import as_prompt, holding

REFERENCE = holding("train_batch.npz")
ROOT = Path(__file__).parents[4]


def test_the_loss_is_the_reference_s():
    """Two samples of the official trainer, one by a click and one by a box, through what `pam-studio train` runs."""
    expected = REFERENCE.arrays("train_batch.npz")
    pam = REFERENCE.pam(REFERENCE.case["towers"][0] if "towers" in REFERENCE.case else "hiera_t")
    image, items = REFERENCE.image(), []
    for i, (ids, labels, mask) in enumerate(
        zip(expected["input_ids"], expected["labels_in"], expected["attention_mask_in"], strict=True)
    ):
        signs = expected.get(f"vp_labels_{i}")
        given = {
            "visual_prompt": expected[f"visual_prompt_{i}"].tolist(),
            "vp_labels": None if signs is None else signs.tolist(),
        }
        items.append(
            item(pam, image, as_prompt(given), Sample(tuple(ids[mask].tolist()), tuple(labels[mask].tolist())))
        )
    model_, _ = parts.words(pam, 0, ())
    with torch.no_grad():
        value, _ = model_(items, {"own": 1 / learner.count_words(items)["own"]})
    np.testing.assert_allclose(float(value), float(expected["loss"].reshape(())), atol=2e-4)


def item(pam: PAM, image: np.ndarray, prompt: Prompt, sample: Sample) -> Item:
    points, labels = prompt_tensors(prompt, *image.shape[:2], pam.image_size, torch.device("cpu"), torch.float32)
    pixels = preprocess(image, pam.image_size)
    return Item(pixels, points, labels, None, None, None, None, None, None, (sample,), ("own",), "")


def test_training_sees_what_answers_are_made_of(version: Path):
    """The tokens of a region in training are those of the same click when the model is asked."""
    pam = model.load("nano", threads=1)
    region = replace(read_split(version, "train").regions[0], rle=None, box=None)
    (click,) = (point for point in region.points[:1])
    one = seen(
        replace(region, points=(click,)), pam.tokenizer, Sight.of(pam.config, pam.image_size), np.random.default_rng(0)
    )
    asked = pam.visual_tokens([pam.segment(pam.encode(read_image(region)), Prompt((click,)))])
    trained, _ = parts.words(pam, 0, ("coin",))
    with torch.no_grad():
        whole = learner.decoded(pam, [one])
        visual = pam.in_sequence(pam.looks(whole.image, whole.tokens, trained._near([one])))
    torch.testing.assert_close(visual, asked, atol=1e-4, rtol=1e-3)


def test_each_part_learns_and_video_s_does_not(version: Path):
    """Perceiver, projectors, newlines, language model, and for nano SAM 2's later stages through the close-up."""
    pam = model.load("nano", threads=1)
    regions = read_split(version, "train").regions
    names = parts.categories(pam, regions)
    trained, _ = parts.words(pam, 0, names)
    items = Items(Plan(0, 1, len(regions), 4, 1), regions, pam.tokenizer, Sight.of(pam.config, pam.image_size))[0]
    counted = learner.count_words(items)
    loss, sums = trained(items, {kind: 1 / count for kind, count in counted.items() if count})
    loss.backward()
    assert set(sums) >= {"recognize_en", learner.CLASS, learner.MASK}
    missing = [name for name, p in trained.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    assert not any(p.requires_grad for p in pam.sam.memory_attention.parameters())  # type: ignore[union-attr]
    blocks = pam.sam.get_submodule("image_encoder.trunk.blocks")
    assert [any(p.requires_grad for p in block.parameters()) for block in blocks.children()] == [False] * 3 + [True] * 4


def test_every_part_has_a_gradient_where_nothing_but_words_is_known(version: Path):
    """No mask, no category, and none that counts in the batch: processes would wait for each other's gradients."""
    pam = model.load("nano", threads=1)
    regions = read_split(version, "train").regions
    one = seen(regions[0], pam.tokenizer, Sight.of(pam.config, pam.image_size), np.random.default_rng(0))
    bare = replace(one, mask=None, close_mask=None, category="")
    trained, _ = parts.words(pam, 0, parts.categories(pam, regions))
    counted = learner.count_words([bare])
    loss, sums = trained([bare], {kind: 1 / count for kind, count in counted.items() if count})
    loss.backward()
    assert loss.isfinite() and not {learner.CLASS, learner.MASK} & set(sums)
    assert [name for name, p in trained.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_masks_that_fill_their_picture_teach_numbers(version: Path, share: float):
    """In half precision, too, where the share of a full mask rounds to one: loss and gradients are finite."""
    pam = model.load("nano", threads=1)
    regions = read_split(version, "train").regions
    one = seen(regions[0], pam.tokenizer, Sight.of(pam.config, pam.image_size), np.random.default_rng(0))
    assert one.close_mask is not None and one.mask is not None
    one = replace(one, close_mask=torch.full_like(one.close_mask, share), mask=torch.full_like(one.mask, share))
    words, _ = parts.words(pam, 0, parts.categories(pam, regions))
    counted = learner.count_words([one])
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = words([one], {kind: 1 / count for kind, count in counted.items() if count})
        of_mask, _ = parts.masks(model.load("nano", threads=1))([one])
    (loss + of_mask).backward()
    assert all(p.grad.isfinite().all() for p in words.parameters() if p.grad is not None)
    assert loss.isfinite() and of_mask.isfinite()


def test_layouts_share_no_pass(version: Path):
    """Clicks beside a box are decoded as each alone, no prompt is padded; and so are the things of one drawn scene,
    whose picture is encoded once."""
    pam = model.load("nano", threads=1)
    regions = read_split(version, "train").regions
    items = Items(Plan(3, 2, len(regions), 9, 4), regions, pam.tokenizer, Sight.of(pam.config, pam.image_size))[1]
    assert len({one.points.shape[1] for one in items}) > 1
    assert 6 <= len({id(one.pixels) for one in items}) < 9
    with torch.no_grad():
        together = learner.decoded(pam, items)
        alone = [learner.decoded(pam, [one]) for one in items]
    torch.testing.assert_close(together.image, torch.cat([one.image for one in alone]), atol=1e-4, rtol=1e-3)


def large(folder: Path) -> Path:
    """A checkpoint that has no close-up and no proposals, as the published ones, but is small."""
    config = PAMConfig(
        "small", SamConfig("sam2.1_hiera_t", SAM_OVERRIDES, decoder_mlp=384), PerceiverConfig(mlp=384),
        model.load("nano").config.language,
    )  # fmt: skip
    torch.manual_seed(0)
    save(PAM(config, model.load("nano").tokenizer), folder, {})
    return folder


def test_adapters_are_merged(options: Callable[..., Options], tmp_path: Path):
    """With LoRA the checkpoint has the tensors of its base and no others; those of language model and perceiver
    changed, SAM 2's did not."""
    base = large(tmp_path / "base")
    chosen = options(base=str(base), rank=2, rehearse=None, steps=2, rate=1e-2)
    run(chosen)
    before, after = model.load(base).state_dict(), model.load(chosen.out / "checkpoint").state_dict()
    assert set(before) == set(after)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {
        "language",
        "perceiver",
        "image_projector",
        "semantic_projector",
        "image_newline",
        "semantic_newline",
    }


def test_the_decoder_learns_masks_where_there_are_no_proposals(options: Callable[..., Options], tmp_path: Path):
    """`--masks` changes SAM 2's mask decoder and nothing else of it, and shows how masks overlap."""
    base = large(tmp_path / "base")
    chosen = options(base=str(base), masks=True, mask_steps=4, steps=1, rehearse=None)
    run(chosen)
    before, after = model.load(base).state_dict(), model.load(chosen.out / "checkpoint").state_dict()
    changed = {name for name in before if name.startswith("sam.") and not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith("sam.sam_mask_decoder") for name in changed)
    history = torch.load(chosen.out / "masks.pt", weights_only=True)["history"]
    assert all(0 <= row["iou"] <= 1 for row in history) and len(history) == 2


def test_two_processes_have_the_loss_of_one(options: Callable[..., Options], version: Path, tmp_path: Path):
    """The same regions, prompts and losses whoever computes them, and weights that agree within rounding."""
    alone = options(out=tmp_path / "one", steps=2, batch=4)
    run(alone)
    both = tmp_path / "two"
    torchrun(
        2, "-m", "backend", "train", "--data", version, "--out", both, "--steps", 2, "--batch", 4, "--rehearse", 0,
        "--judged", 1, "--device", "cpu", "--precision", "float32", "--at-once", 1, "--save-every", 1,
    )  # fmt: skip
    one, two = (torch.load(out / "words.pt", weights_only=True) for out in (alone.out, both))
    assert [row["step"] for row in two["history"]] == [2]
    assert one["history"][-1] == pytest.approx(two["history"][-1], rel=1e-4)
    largest = max(float((one["weights"][name] - two["weights"][name]).abs().max()) for name in one["weights"])
    assert largest < 2e-3, "Adam makes much of gradients that are next to nothing, so steps differ by a rate at most"
    assert json.loads((both / "report.json").read_text())["version"]


def test_shared_weights_learn_as_whole_ones(version: Path, tmp_path: Path):
    """FSDP over two processes: the loss of one, and after a step the same weights, newlines and all."""
    base = large(tmp_path / "base")
    script = Path(__file__).with_name("sharded.py")
    for count in (1, 2):
        torchrun(count, script, base, version, tmp_path / f"{count}.pt")
    one, two = (torch.load(tmp_path / f"{count}.pt", weights_only=True) for count in (1, 2))
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
    torch.testing.assert_close(one["weights"], two["weights"], atol=1e-5, rtol=1e-4)


def torchrun(count: int, *arguments: object) -> None:
    """Run a script, or a module, in so many processes of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "torch.distributed.run", "--nproc-per-node", count, "--master-port", port, *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, env=env, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]


@pytest.mark.parametrize(
    ("said", "wanted", "score"),
    [
        ("A worn coin.", "a worn COIN", 1.0),
        ("a coin", "a worn coin", 0.8),
        ("一枚硬币", "一枚旧硬币", 8 / 9),
        ("", "a coin", 0.0),
    ],
)
def test_similarity_of_texts(said: str, wanted: str, score: float):
    """ROUGE-L, which knows words in English and characters in Chinese."""
    assert similarity(said, wanted) == pytest.approx(score)


def test_scores_are_fitted_to_what_the_model_says_now():
    """A model that is right half of the time however sure it is gets scores of a half; unknown fields keep theirs."""
    regions = [Judged("x", None, float(i % 2), None, None, {"category": -0.01, "explanation": 0.0}) for i in range(60)]
    old = {"category": (1.0, 0.0), "explanation": (2.0, 3.0), "caption": (4.0, 5.0)}
    new = recalibrated(old, Verdict(regions, {}, {}))
    slope, offset = new["category"]
    assert 1 / (1 + np.exp(-(slope * -0.01 + offset))) == pytest.approx(0.5, abs=0.05)
    assert (new["explanation"], new["caption"]) == (old["explanation"], old["caption"])
    assert recalibrated(old, Verdict(regions[:10], {}, {})) == old
