"""A whole run: read, train, judge, report. Started again with the same folder it goes on where it was."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed

from model.checkpoints import CONFIG, load, save
from model.errors import CheckpointError, RecordError, TrainingError
from model.pam import PAM
from model.training.finetune import learner, parts, rankers, report
from model.training.finetune.cleaning import Splits, name_of, prepare
from model.training.finetune.clips import read_clips
from model.training.finetune.items import Sight
from model.training.finetune.judging import Verdict, recalibrated, verdict
from model.training.finetune.loop import Pace, Stage, train
from model.training.finetune.pictures import draw_curves
from model.training.finetune.records import RegionRecord, read_split
from model.training.finetune.state import ARGUMENTS, Progress, claim, load_state, replace_file, save_state, write_json
from model.training.finetune.steps import Items, Plan
from model.training.precision import fast_dtype

CHECKPOINT, REPORT, MARKDOWN, CURVES, BEFORE = "checkpoint", "report.json", "report.md", "curves.png", "before.json"
RANKER = "ranker.pt"

OLD_SCENES, OLD_CLIPS = 60, 20
"""Drawn scenes and clips on which is seen whether old words were forgotten; scores are fitted on the scenes."""

LEAST_STEPS, LAPS = 500, 3
"""Steps that are worth it however little there is to learn from, and how often all of much is read."""

BATCH, BATCH_WITH_OLD, REHEARSED = 12, 24, 5 / 6
"""Regions a step, without and with old things among them, and the share of those. With 8 of 12, 200 corrections cost
nano 5 points of its old categories, with 20 of 24 they cost it 3 (benchmarks/finetune.py). Smaller steps are no way to
have more of them: on 2331 drawn things, 600 of 16 cost 3.9 points and 500 of 24 cost 1.4 (standard error .7)."""

SEEN = "pictures"
"""Under which a checkpoint says what it, and those that it comes from, were trained on; see cleaning.name_of."""

NOT_DECIDING = ("out", "pace", "device", "sharded", "data", "base")
"""Options that decide nothing of the result, or that are kept in another form."""


@dataclass(frozen=True)
class Options:
    """What is learned, from what, and how long; None is for what suits the model and the data.

    data: see records.read_split. base: see model.load. masks: whether what finds masks learns as well.
    batch: regions a step. rehearse: share of them that are drawn scenes of old things, for nano.
    rank: of adapters, 0 for the whole language model. judged: regions of the final table, at most.
    device: "cpu" or "auto". sharded: whether processes share the weights (FSDP). precision: what matrices are
    multiplied in, "float32", "bfloat16" or "auto": what is fast on the device.
    """

    data: Path
    base: str
    out: Path
    steps: int | None = None
    masks: bool = False
    mask_steps: int = 150
    batch: int | None = None
    rehearse: float | None = None
    seed: int = 0
    rate: float | None = None
    rank: int | None = None
    judged: int = 200
    device: str = "auto"
    sharded: bool = False
    precision: str = "auto"
    pace: Pace = Pace()


def run(
    options: Options,
    show: Callable[[str, int, int], None] = lambda stage, step, steps: None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Train as `options` say, and give the report; `options.out` then holds a checkpoint that `model.load` takes.

    show: told the stage, the steps done and all of them. say: told what a person should know.
    Raises RecordError where the data cannot be learned from, TrainingError where the folder cannot be used,
    CheckpointError where the base cannot be loaded or the disk is full, and loop.Stopped when a signal came.
    """
    done = options.out / REPORT
    if not done.is_file():
        return _Run(options, show, say).whole()
    with suppress(RecordError, CheckpointError):  # it needs its data no more
        _Run(options, show, say)  # raises where it is another run that is done
    say(f"{options.out} is done already")
    return json.loads(done.read_text(encoding="utf-8"))


class _Run:
    def __init__(self, options: Options, show: Callable[[str, int, int], None], say: Callable[[str], None]):
        self.accelerator = _accelerator(options)
        self.main = self.accelerator.is_main_process
        self.data = _begun_with(options) or options.data.resolve()
        self.options, self.say = options, say if self.main else (lambda text: None)
        train_regions, validation = (
            read_split(self.data, split) + read_clips(self.data, split) for split in ("train", "validation")
        )
        pam = self._base()
        self.base_version, self.sight = pam.version, Sight.of(pam.config, pam.image_size)
        self.seen = _seen_by(options.base)
        self.splits = prepare(train_regions, validation, pam.tokenizer, options.judged, self.seen)
        self.tokenizer = pam.tokenizer
        self.rank = options.rank if options.rank is not None else (0 if parts.is_small(pam) else parts.RANK)
        drawn = REHEARSED if pam.config.close_up else 0.0
        share = drawn if options.rehearse is None else options.rehearse
        batch = options.batch or (BATCH_WITH_OLD if share else BATCH)
        if share and not pam.config.close_up:
            raise RecordError(f"only nano learned from drawn scenes: leave --rehearse out for {pam.config.name}")
        rehearsed = min(batch - 1, round(share * batch))
        fresh = batch - rehearsed
        steps = options.steps or max(LEAST_STEPS, -(-LAPS * len(self.splits.train) // fresh))
        self.plan = Plan(options.seed, steps, len(self.splits.train), batch, rehearsed)
        self.mask_steps = self._steps_for_masks(pam)
        if batch < self.accelerator.num_processes:
            raise RecordError(f"--batch {batch} must be at least one region for each process")
        self.categories = parts.categories(pam, self.splits.train)
        self._first = pam
        self.notes = notes(self.splits, options.judged)
        total = self.mask_steps + steps + 2 * self._to_judge
        if self.main:
            claim(options.out, self._arguments())
        self.accelerator.wait_for_everyone()
        self.progress: Callable[[str, int], None] = lambda stage, step: None
        if self.main:
            self.progress = Progress(options.out, total, show)

    def whole(self) -> dict[str, Any]:
        """Everything; the other processes end with an empty report once training has."""
        for note in self.notes:
            self.say(note)
        pam, self._first = self._first, None  # type: ignore[assignment]
        history = {}
        if self.options.masks and (rows := self._train_masks(pam)):
            history["masks"] = rows
        history["words"] = self._train_words(pam)
        del pam
        self.accelerator.free_memory()
        if not self.main:
            return {}
        replace_file(self.options.out / CURVES, partial(draw_curves, history))
        before = self._judged_before()
        pam, after = self._judged_after(self._finished())
        return self._report(pam, before, after)

    def _train_masks(self, pam: PAM) -> list[dict[str, float]]:
        """SAM 2's decoder learns, or for nano, whose masks it does not find, the ranker of proposals."""
        regions = self._masked
        if pam.config.proposals:
            if self.main and load_state(self.options.out / RANKER) is None:
                learned = rankers.learn(pam, regions, self.options.seed, lambda done: self.progress("masks", done))
                save_state(self.options.out / RANKER, {"weights": learned})
            self.accelerator.wait_for_everyone()
            return []
        plan = replace(self.plan, steps=self.mask_steps, regions=len(regions), rehearsed=0)
        model, kinds = parts.masks(pam), (learner.MASK,)
        stage = Stage("masks", model, parts.RATE_MASKS, learner.count_masks, learner.mask_figures, kinds)
        history = self._train(stage, plan, regions, 0)
        _give(pam.sam.get_submodule("sam_mask_decoder"), self.options.out / "masks.pt", "decoder.")
        return history

    def _steps_for_masks(self, pam: PAM) -> int:
        masked = self._masked
        if self.options.masks and not masked:
            raise RecordError(f"{self.data} has no masks to learn from: export it with coco among its formats")
        if not self.options.masks:
            return 0
        return len(rankers.some(masked, self.options.seed)) if pam.config.proposals else self.options.mask_steps

    @property
    def _masked(self) -> list[RegionRecord]:
        """What masks are learned from: pictures, for a clip's frames are among them."""
        return [region for region in self.splits.train if region.rle is not None and not region.frames]

    def _train_words(self, pam: PAM) -> list[dict[str, float]]:
        model, _ = parts.words(pam, self.rank, self.categories)
        kinds = learner.KINDS if self.categories else learner.TASKS
        rate = self.options.rate or (parts.RATE_ADAPTERS if self.rank else parts.RATE_WHOLE)
        stage = Stage("words", model, rate, learner.count_words, learner.word_figures, kinds)
        return self._train(stage, self.plan, self.splits.train, self.mask_steps)

    def _train(self, stage: Stage, plan: Plan, regions: list, before: int) -> list[dict[str, float]]:
        accelerator = self.accelerator
        items = Items(plan, regions, self.tokenizer, self.sight, accelerator.process_index, accelerator.num_processes)
        return train(
            accelerator, stage, items, self.options.pace, self.options.out,
            lambda done: self.progress(stage.name, before + done),
        )  # fmt: skip

    def _judged_before(self) -> Verdict:
        path, start = self.options.out / BEFORE, self.mask_steps + self.plan.steps
        if path.exists():
            return Verdict.from_dict(json.loads(path.read_text(encoding="utf-8")))
        found = self._verdict(self._base(), "judging the old model", start)
        write_json(path, found.to_dict())
        return found

    def _judged_after(self, pam: PAM) -> tuple[PAM, Verdict]:
        """The model as it was saved, with scores that fit what it says now, and what became of it."""
        out, calibration = self.options.out / CHECKPOINT, pam.config.calibration
        pam.config = replace(pam.config, calibration={})
        save(pam, out, self._about())
        raw = load(out, device=self._device())
        start = self.mask_steps + self.plan.steps + self._to_judge
        found = self._verdict(raw, "judging the new model", start)
        raw.config = replace(raw.config, calibration=recalibrated(calibration, found))
        save(raw, out, self._about())
        return raw, found

    @property
    def _to_judge(self) -> int:
        return len(self.splits.validation) + (OLD_SCENES if self.plan.rehearsed else 0)

    def _verdict(self, pam: PAM, stage: str, start: int) -> Verdict:
        done = itertools.count(start + 1)
        scenes, clips = (OLD_SCENES, OLD_CLIPS) if self.plan.rehearsed else (0, 0)
        return verdict(pam, self.splits.validation, scenes, clips, lambda: self.progress(stage, next(done)))

    def _finished(self) -> PAM:
        """The base with what was learned."""
        pam = self._base()
        if self.options.masks and pam.config.proposals:
            rankers.give(pam, _saved(self.options.out / RANKER)["weights"])
        elif self.options.masks:
            parts.masks(pam)
            _give(pam.sam.get_submodule("sam_mask_decoder"), self.options.out / "masks.pt", "decoder.")
        model, adapters = parts.words(pam, self.rank, self.categories)
        _give(model, self.options.out / "words.pt")
        parts.merge(pam, adapters)
        spoken = {one.task.rpartition("_")[2] for region in self.splits.train for one in region.said}
        if "ch" in spoken and "zh" not in pam.config.languages:
            pam.config = replace(pam.config, languages=(*pam.config.languages, "zh"))
        return pam

    def _report(self, pam: PAM, before: Verdict, after: Verdict) -> dict[str, Any]:
        data = {"path": str(self.data), "train": len(self.splits.train), "validation": len(before.regions)}
        found = report.as_json(self.base_version, pam.version, data, before, after, self.notes, self.splits.left_out)
        text = report.as_markdown(found)
        replace_file(self.options.out / MARKDOWN, lambda file: file.write(text.encode()))
        write_json(self.options.out / REPORT, found)
        return found

    def _base(self) -> PAM:
        return load(self.options.base, device=self._device())

    def _device(self) -> str:
        return str(self.accelerator.device)

    def _arguments(self) -> dict[str, Any]:
        """What decides the result of a run, and how it is divided among processes does not."""
        fixed = {key: value for key, value in asdict(self.options).items() if key not in NOT_DECIDING}
        regions = hashlib.sha256(repr([_facts(r) for r in self.splits.train + self.splits.validation]).encode())
        return fixed | {
            "data": str(self.data),
            "content": regions.hexdigest()[:16],
            "base": self.base_version,
            "steps": self.plan.steps,
            "batch": self.plan.batch,
            "rehearsed": self.plan.rehearsed,
            "rank": self.rank,
        }

    def _about(self) -> dict[str, Any]:
        return {
            "trained from": self.base_version,
            **self._arguments(),
            "computed in": self.accelerator.mixed_precision.replace("no", "float32"),
            "torch": torch.__version__,
            "notes": self.notes,
            SEEN: sorted(self.seen | {name_of(region.image) for region in self.splits.train}),
        }


def notes(splits: Splits, at_most: int) -> list[str]:
    """What a person should know of the data."""
    found = []
    if splits.held_out:
        found.append(
            f"few regions validate in the data set: {splits.held_out} of those to train on, on pictures of their own, "
            "were held out"
        )
    if not splits.validation:
        found.append(
            "nothing judges the result: there is no validation split, and all regions are on one picture or its "
            "near-duplicates, or on pictures that the model was trained on before"
        )
    if splits.left_out:
        found.append(f"left out: {', '.join(f'{n} x {reason}' for reason, n in splits.left_out.most_common())}")
    if splits.single:
        found.append(f"one region to learn from: {', '.join(splits.single[:20])}")
    if len(splits.validation) == at_most:
        found.append(f"judged on {at_most} of the validation regions")
    return found


def _seen_by(base: str) -> set[str]:
    """The pictures that a model was trained on by its own account, which it says where it is a folder of ours."""
    path = Path(base) / CONFIG
    if not path.is_file():
        return set()
    said = json.loads(path.read_text(encoding="utf-8"))
    return set(said.get("about", {}).get(SEEN, []))


def _begun_with(options: Options) -> Path | None:
    """The version that an unfinished run began with, where its data is a link that may lead elsewhere by now."""
    path = options.out / ARGUMENTS
    if not path.is_file() or options.data.absolute() == options.data.resolve():
        return None
    try:
        return Path(json.loads(path.read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{path} cannot be read ({error!r}): choose another --out") from error


def _facts(region: Any) -> tuple:
    return (
        region.image.name,
        region.id,
        region.points,
        region.box,
        region.rle and dict(region.rle),
        region.said,
        [(path.name, dict(rle)) for path, rle in region.frames],
    )


def _give(module: torch.nn.Module, path: Path, prefix: str = "") -> None:
    """What a finished stage has learned."""
    weights = {name.removeprefix(prefix): value for name, value in _saved(path)["weights"].items()}
    module.load_state_dict(weights, strict=False)


def _saved(path: Path) -> dict[str, Any]:
    """Raises TrainingError where it is not there."""
    saved = load_state(path)
    if saved is None:
        raise TrainingError(f"{path} is gone: start again with the same --out, that stage begins anew")
    return saved


def _accelerator(options: Options) -> Accelerator:
    set_seed(options.seed)
    cpu = options.device == "cpu" or not torch.cuda.is_available()
    half = options.precision == "bfloat16"
    if options.precision == "auto":
        half = fast_dtype(torch.device("cpu" if cpu else "cuda")) == torch.bfloat16
    plugin = None
    if options.sharded:
        if cpu or torch.cuda.device_count() < 2:
            raise TrainingError("--sharded needs several GPUs, and torchrun to start a process for each: leave it out")
        from accelerate import FullyShardedDataParallelPlugin

        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="transformer_based_wrap",
            transformer_cls_names_to_wrap=["Qwen2DecoderLayer"],
        )  # fmt: skip
    # It is kept for the whole process, and would refuse a second run in another precision.
    AcceleratorState._reset_state()
    # Else plain attention, which is what a CPU learns with, makes float32 of all that comes in bfloat16, and back.
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(cpu)
    return Accelerator(cpu=cpu, mixed_precision="bf16" if half else "no", fsdp_plugin=plugin)
